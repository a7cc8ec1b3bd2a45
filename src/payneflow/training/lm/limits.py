"""How much the preparation of the lm trainer does at most: what it costs follows from these, without loading numba."""

VIRTUAL_PER_TRAINING = 0.5  # cross-validated: 1 is within the scatter, and slower
LARGEST_VIRTUAL = 640  # virtual spectra; every one costs an iteration as much as a training spectrum
LARGEST_KRIGING = 2560  # training spectra; the matrix costs their number cubed (2560: some seconds)
N_TEMPLATE = 128  # about 1 s of set-up; 64 were within the scatter of cross-validation
PIXELS_PER_TEMPLATE = 16  # at least; a grid of few pixels has fewer templates, below 16 pixels none
FIT_SPECTRA = 2560  # training spectra that a template is judged by, at most: 52 MB in every rank, not 205 MB for 10 000
TEMPLATE_STARTS, TEMPLATE_ITERATIONS, TEMPLATE_DAMPING = 4, 200, 1e-3  # the few pixels all others start from get more
