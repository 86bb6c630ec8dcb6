"""Curves, video and HTML reports of runs and policies."""
