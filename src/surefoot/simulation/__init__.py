"""Engines that step many environments of one task together."""
