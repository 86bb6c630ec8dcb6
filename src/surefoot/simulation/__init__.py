"""Many at once: engines that step many copies of one task together."""
