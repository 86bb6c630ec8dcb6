"""Recipes: typed settings, tuned TOML files, and their checks."""
