"""Helpers that several test files use; `tests` is on the import path (see pyproject.toml)."""
