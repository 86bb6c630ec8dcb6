"""What to do: typed settings and tuned recipes."""
