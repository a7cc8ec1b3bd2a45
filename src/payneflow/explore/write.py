"""The one file: page.html with the style, the scripts, uPlot and the facts in it, and a checksum at its end."""

import html
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from payneflow.explore.facts import as_json, facts_of
from payneflow.explore.record import read_record_of
from payneflow.explore.stars import Stars, observed_stars, test_stars
from payneflow.files import whole_file
from payneflow.grid import SpectralGrid
from payneflow.network import Networks
from payneflow.sealed import sealed

# In the order in which one needs what is in another
SCRIPTS = ("arrays", "networks", "moves", "coverage", "numbers", "plots", "pixel", "controls", "main")
BUDGET = 15_000_000  # bytes: more is said, not refused


@dataclass(frozen=True)
class Page:
    """A page that was written: its size in bytes, the bits of its weights, the largest error of its flux, and notes."""

    size: int
    bits: int
    error: float
    notes: tuple[str, ...]


def write_page(
    networks: Networks,
    path: str | Path,
    *,
    name: str,
    grid: SpectralGrid | None = None,
    training: np.ndarray | None = None,
    record: str | Path | None = None,
    best_fits: str | Path | None = None,
) -> Page:
    """Write the page of `networks` to `path`, whole or not at all.

    `name`: what they are called in it. `grid`: that they were trained on. `training` (n, n_label): scaled labels of the
    training spectra, where the grid is not given; None: what the networks know of them. `record`: the training record.
    `best_fits`: best-fit spectra (npz, of `payneflow fit --best-fits`). Raises NetworkFileError where the networks are
    of a kind that no page can evaluate, or of another grid, and PayneflowError where a file is not of these networks.
    """
    stars: list[Stars] = []
    if best_fits is not None:
        stars.append(observed_stars(networks, best_fits))
    if grid is not None:
        networks.split_of(grid)
        training = networks.scaler.scale(grid.labels[grid.split.training])
        stars.append(test_stars(networks, grid))
    elif training is None:
        training = _all_training_labels(networks)
    facts = facts_of(
        networks, name, training, grid, None if record is None else read_record_of(networks, record), stars
    )
    content = page_of(facts, networks.digest, "" if grid is None else grid.sha256).encode("utf-8", "backslashreplace")
    whole = sealed(content)
    with whole_file(path) as temporary:
        temporary.write_bytes(whole)
    notes = tuple(facts["notes"])
    if len(whole) > BUDGET:
        notes += (f"the page has {len(whole) / 1e6:.1f} MB, more than {BUDGET / 1e6:.0f}: browsers open it slowly",)
    return Page(len(whole), facts["bits"], facts["error"], notes)


def _all_training_labels(networks: Networks) -> np.ndarray | None:
    """Scaled training labels (n, n_label), where the networks' hull has them all; None where it has not."""
    hull, split = networks.hull, networks.split
    every = hull is not None and split is not None and len(hull) == np.count_nonzero(split.trains)
    return networks.scaler.scale(hull) if every else None


def page_of(facts: dict, networks: str, grid: str) -> str:
    """The page as text, without its checksum; `networks` and `grid`: their digests, "" where there is none."""
    parts = {
        "title": html.escape(f"payneflow explore: {facts['name']}"),
        "networks": networks,
        "grid": grid,
        "style": _text("uplot/uPlot.min.css") + _text("style.css"),
        "uplot_licence": _text("uplot/LICENSE"),
        "uplot": _text("uplot/uPlot.iife.min.js"),
        "script": joined_scripts(),
        "facts": as_json(facts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _text("page.html"))


def joined_scripts() -> str:
    """The modules in one: what one imports of another is there already, because it comes first."""
    modules = [_text(f"{name}.js") for name in SCRIPTS]
    without = [re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE) for text in modules]
    return "\n".join(re.sub(r"^export ", "", text, flags=re.MULTILINE) for text in without)


def _text(name: str) -> str:
    return (files("payneflow.explore") / "page" / name).read_text(encoding="utf-8")
