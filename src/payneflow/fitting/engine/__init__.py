"""The arrays around the kernels that fit spectra, and the kernels."""
