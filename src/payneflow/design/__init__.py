"""Which spectra to compute: the first of a new grid, the next of one that has networks, and when to stop."""
