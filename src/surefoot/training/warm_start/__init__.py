"""Warm starts: initialise a new run from an earlier one, perhaps of another task or algorithm."""
