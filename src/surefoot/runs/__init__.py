"""Run folders, metrics, checkpoints and trackers."""
