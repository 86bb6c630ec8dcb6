"""Policies: networks, action distributions, observation normaliser, symmetry, files."""
