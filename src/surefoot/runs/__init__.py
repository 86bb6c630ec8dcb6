"""What is kept: run folders, metrics, checkpoints, trackers."""
