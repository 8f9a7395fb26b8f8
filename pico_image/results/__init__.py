"""Benchmark results: checking, keeping, statistics, comparison, history and reports."""
