"""Several runs as one experiment: seeds, sweeps, comparisons."""
