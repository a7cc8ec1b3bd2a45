"""Observed spectra: what a file holds is declared in a layout, read in batches of bounded size, and never guessed.

files -> arrays as stored (formats.py) -> checked spectra -> batches that share one wavelength axis
"""

from payneflow.spectra.layout import SpectraLayout, make_layout
from payneflow.spectra.reading import Spectra, count_spectra, read_spectra
from payneflow.spectra.shards import Shard, find_files, find_shard, plan_shards
from payneflow.spectra.star_shards import StarShard, find_star_shard, plan_star_shards

__all__ = [
    "Shard",
    "Spectra",
    "SpectraLayout",
    "StarShard",
    "count_spectra",
    "find_files",
    "find_shard",
    "find_star_shard",
    "make_layout",
    "plan_shards",
    "plan_star_shards",
    "read_spectra",
]
