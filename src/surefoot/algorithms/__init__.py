"""Learning algorithms: one module each, in the order and the symbols of its paper."""
