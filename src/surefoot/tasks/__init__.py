"""What is asked: observation, reward and termination of each task."""
