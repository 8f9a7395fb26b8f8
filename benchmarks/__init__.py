"""Ratios of executed instructions, all sides counted in one run. Nothing here measures time."""
