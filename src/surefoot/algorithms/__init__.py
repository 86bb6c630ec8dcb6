"""How it learns: each learning rule readable beside its paper."""
