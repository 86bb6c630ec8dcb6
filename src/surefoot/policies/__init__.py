"""What decides: networks, observation normaliser and action bounds in one object and one file."""
