"""Learning to run: a planar body moved by 18 muscles."""
