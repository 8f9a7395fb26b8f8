"""Ratios of executed instructions, all engines counted in one run. Nothing here measures time."""
