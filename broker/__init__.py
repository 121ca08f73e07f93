"""One process's policy around the data plane."""
