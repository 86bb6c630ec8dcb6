"""Learning algorithms: one module each, with the order and symbols of the paper."""
