"""Gymnasium's own tasks: records of what they state, and their physics for the engine `batch`."""
