"""Pages of payneflow explore: how large, by how much their flux is off, and how fast in a headless Chromium.

    python benchmarks/explore.py NETWORK_FILE ... [--grid GRID]

`off` is the difference from `predict` of what the page plots, at N_LABELS sets of labels drawn evenly from the training
range, the largest and the rms. Times are over these, the shortest and the median: of the networks alone, flux and
derivative by a label, and of all that follows a slider, without what the browser paints afterwards. The grid, where
there is one, is that of the first file.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from payneflow import read_networks
from payneflow.explore.write import write_page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from explore.browser import Browser

N_LABELS = 30
MOVE = """
payneflow.controls.forEach((control, j) => control.set(arguments[0][j]));
payneflow.update();
return [payneflow.timing, [...payneflow.spectrum].map((value) => Number.isFinite(value) ? value : null)];
"""


def measure(browser, networks, grid, directory):
    page = write_page(networks, directory / "page.html", name="networks", grid=grid)
    browser.open(directory / "page.html")
    shares = np.random.default_rng(1).uniform(size=(N_LABELS, len(networks.x_min)))
    off, times = [], []
    for labels in networks.x_min + shares * (networks.x_max - networks.x_min):
        timing, flux = browser.run(MOVE, labels.tolist())
        off.append(np.array(flux, dtype=float) - networks.predict(labels))
        times.append([timing["networks"], sum(timing.values())])
    off = np.array(off)[:, networks.has_network]
    return page, np.abs(off).max(), np.sqrt((off**2).mean()), np.array(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--grid")
    given = parser.parse_args()
    print("| networks | labels | pixels | page | bits | off, largest | off, rms | networks alone | all of a change |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        browser = Browser(Path(scratch) / "profile")
        for path in given.networks:
            networks = read_networks(path)
            grid = networks.read_grid(given.grid) if given.grid and path == given.networks[0] else None
            page, most, rms, times = measure(browser, networks, grid, Path(scratch))
            (alone, whole), (usual, usual_whole) = times.min(axis=0), np.median(times, axis=0)
            print(
                f"| {Path(path).name} | {len(networks.x_min)} | {len(networks.wavelength)} | {page.size / 1e6:.1f} MB "
                f"| {page.bits} | {most:.1e} | {rms:.1e} | {alone:.1f}, {usual:.1f} ms "
                f"| {whole:.1f}, {usual_whole:.1f} ms |",
                flush=True,
            )
        browser.close()


if __name__ == "__main__":
    main()
