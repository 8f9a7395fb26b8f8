"""The tasks, by room: each parses its arguments, calls one function and prints its result.

Only these modules import Invoke; no other room imports them. ``tasks.py`` gathers them.
"""
