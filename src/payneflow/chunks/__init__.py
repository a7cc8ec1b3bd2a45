"""From a grid to networks in pieces: chunks are split off, trained by a job each, and gathered."""
