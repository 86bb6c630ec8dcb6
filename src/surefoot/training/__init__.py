"""The loop: collect, update, evaluate, checkpoint, stop."""
