"""The tasks, by room: each parses its arguments, calls one function and prints its result.

Nothing but these modules imports Invoke; they stand above every other module, and ``tasks.py``
gathers them.
"""
