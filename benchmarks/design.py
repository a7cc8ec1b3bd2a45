"""What it is worth to choose which spectra to compute: errors against their number, chosen in three ways.

    python benchmarks/design.py GRID [GRID ...] [--seeds 10,11,12,13,14] [--pixels 60] [--by kriging|lm]
        [--sizes 150,300,450,600,800,1000]
    python benchmarks/design.py GRID [GRID ...] --twice 150,300,500 [--seeds ...] [--by kriging|lm]
    python benchmarks/design.py GRID --speed
    python benchmarks/design.py --draw PAGE IMAGE

A large grid stands for a synthesis code. Its rows 1, 5, 9, ... are the test set, which nothing else looks at; all
others can be computed. All ways begin with the same 150 spectra, drawn at random by the seed, and add batches of 50:

    random    drawn at random: as many peers draw their grids
    space     each as far as can be from all there are, in scaled labels
    next      as `payneflow design next` chooses, without held-back errors of networks, up to 600

The emulator, kriging or payneflow's networks (lm), learns all of them in evenly spread pixels, and is judged by the
test set: rms, the 99.9th percentile and the largest |error| of normalised flux, means over seeds, of the largest, too.
Each error stands beside the number of random spectra that gives the same, between the numbers that were tried. The
criterion of `next` was chosen with rows 3, 7, 11, ... of hband_abundances as test set, and seeds 0 and 1.

--twice: the error that `payneflow design report` predicts for twice as many random spectra, and what then comes true.
--speed: the time of `payneflow design next`, 100 of 20 000 candidates, 1000 training spectra.
--draw: the curves, from the tables that this command printed and a page holds.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before numpy: one core is measured

import numpy as np
from emulators import by_kriging, by_lm
from trainers import Case

from payneflow.design.choice import choose
from payneflow.design.expected_error import expected_error
from payneflow.design.learning import course
from payneflow.design.next import BEYOND, CANDIDATES
from payneflow.design.region import make_region
from payneflow.design.spread import spread_points
from payneflow.design.stars import Stars
from payneflow.grid import SpectralGrid, read_grid
from payneflow.scaling import LabelScaler
from payneflow.statistics import evenly

TEST = slice(1, None, 4)
START, BATCH, MOST_CHOSEN = 150, 50, 600
WAYS = ("random", "next", "space")
MEASURES = ("rms", "99.9 %", "largest")
EMULATORS = {"kriging": by_kriging, "lm": by_lm}


class Synthesis:
    """What stands for a code: scaled labels (n, n_label) and flux (n, n_pixel) of all rows, `pool` and `test` rows."""

    def __init__(self, grid: SpectralGrid, n_pixel: int):
        self.name = grid.path.stem
        self.test = np.arange(len(grid.labels))[TEST]
        self.pool = np.setdiff1d(np.arange(len(grid.labels)), self.test)
        self.labels = LabelScaler.of_training_labels(grid.labels[self.pool]).scale(grid.labels)
        self.flux = np.asarray(grid.flux[:, evenly(grid.flux.shape[1], n_pixel)], dtype=float)

    def errors(self, rows: np.ndarray, emulator: str) -> np.ndarray:
        """(3,): MEASURES of an emulator that learnt these rows."""
        every = np.arange(self.flux.shape[1])
        case = Case(self.labels[rows], self.flux[rows], self.labels[self.test], self.flux[self.test], every)
        found = EMULATORS[emulator](case).errors(case)
        return np.array([np.sqrt((found**2).mean()), np.percentile(found, 99.9), found.max()])

    def rows(self, way: str, seed: int, sizes: list[int]) -> dict[int, np.ndarray]:
        """The rows that are there at each size."""
        rng = np.random.default_rng(seed)
        rows = rng.permutation(self.pool)
        if way == "random":
            return {size: rows[:size] for size in sizes}
        rows = rows[:START]
        found = {START: rows}
        while len(rows) < max(sizes):
            left = np.setdiff1d(self.pool, rows)
            n = min(BATCH, max(sizes) - len(rows))
            rows = np.append(rows, left[(self.farthest if way == "space" else self.best)(rows, left, n)])
            found[len(rows)] = rows
        return {size: found[size] for size in sizes}

    def farthest(self, rows: np.ndarray, left: np.ndarray, n: int) -> list[int]:
        distance, chosen = np.full(len(left), np.inf), []
        for row in rows:
            distance = np.minimum(distance, ((self.labels[left] - self.labels[row]) ** 2).sum(axis=1))
        for _ in range(n):
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, ((self.labels[left] - self.labels[left[chosen[-1]]]) ** 2).sum(axis=1))
        return chosen

    def best(self, rows: np.ndarray, left: np.ndarray, n: int) -> np.ndarray:
        nothing = np.empty((0, self.labels.shape[1])), np.empty(0)
        return choose(expected_error(self.labels[rows], self.flux[rows], *nothing), self.labels[left], n)


def courses(
    synthesis: Synthesis, emulator: str, seeds: list[int], sizes: list[int]
) -> dict[str, dict[int, np.ndarray]]:
    """Errors (n_seed, 3) at each size of each way."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for way in WAYS:
        own = [size for size in sizes if way != "next" or size <= MOST_CHOSEN]
        chosen = [synthesis.rows(way, seed, own) for seed in seeds]
        found[way] = {size: np.array([synthesis.errors(rows[size], emulator) for rows in chosen]) for size in own}
        show(synthesis, emulator, way, found)


def show(synthesis: Synthesis, emulator: str, way: str, found: dict[str, dict[int, np.ndarray]]) -> None:
    for size, errors in found[way].items():
        mean = errors.mean(axis=0)
        cells = [f"{value:.2e}" for value in mean]
        same = [equal_to(found["random"], i, mean[i]) for i in range(len(MEASURES))] if way != "random" else ["-"] * 3
        print(f"| {' | '.join([synthesis.name, emulator, way, str(size), *cells, *same])} |", flush=True)


def equal_to(random: dict[int, np.ndarray], measure: int, value: float) -> str:
    """How many random spectra have this mean error, between the sizes that were tried."""
    sizes = np.array(list(random), dtype=float)
    errors = np.minimum.accumulate([one[:, measure].mean() for one in random.values()])
    if value < errors[-1]:
        return f"> {sizes[-1]:.0f}"
    if value > errors[0]:
        return f"< {sizes[0]:.0f}"
    return f"{np.exp(np.interp(-np.log(value), -np.log(errors), np.log(sizes))):.0f}"


def rms_of(synthesis: Synthesis, emulator: str, rows: np.ndarray, part: np.ndarray) -> float:
    return float(synthesis.errors(rows[part], emulator)[0])


def show_twice(synthesis: Synthesis, emulator: str, seeds: list[int], sizes: list[int]) -> None:
    """Predicted and true rms error of twice as many spectra."""
    print("| grid | emulator | spectra | seed | rms of half | rms | predicted of twice | true | ratio |")
    print("|" + " --- |" * 9)
    for size in sizes:
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(synthesis.pool)
            rows, twice = order[:size], synthesis.errors(order[: 2 * size], emulator)[0]
            error_of = partial(rms_of, synthesis, emulator, rows)
            curve = course(size, error_of, error_of(np.arange(size)))
            half, predicted = curve.errors[-2], float(curve.at(2 * size))
            cells = [f"{value:.2e}" for value in (half, curve.errors[-1], predicted, twice)]
            named = f"{synthesis.name} | {emulator} | {size} | {seed}"
            print(f"| {named} | {' | '.join(cells)} | {predicted / twice:.2f} |", flush=True)


def show_speed(synthesis: Synthesis) -> None:
    rng = np.random.default_rng(0)
    rows = rng.permutation(synthesis.pool)
    stars = Stars(tuple(map(str, range(synthesis.labels.shape[1]))), synthesis.labels[rows], 0.0, BEYOND)
    candidates = spread_points(make_region(stars.names, [], stars=stars), CANDIDATES, 0)
    nothing = np.empty((0, candidates.shape[1])), np.empty(0)
    begin = time.monotonic()
    error = expected_error(synthesis.labels[rows[:1000]], synthesis.flux[rows[:1000]], *nothing)
    learnt = time.monotonic()
    choose(error, candidates, 100)
    print(
        f"{candidates.shape[1]} labels: expected errors of 1000 spectra {learnt - begin:.0f} s, 100 of {CANDIDATES} "
        f"candidates {time.monotonic() - learnt:.0f} s"
    )


def draw(page: str, image: str) -> None:
    """The tables of a page: a row of panels for each grid and emulator, a panel for each measure."""
    from accuracy_figure import read_rows
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    from payneflow.figures.style import BLUE, ORANGE, PAGE, STYLE, VERMILION

    looks = {"random": (ORANGE, "o"), "space": (BLUE, "s"), "next": (VERMILION, "^")}
    rows = [row for row in read_rows(Path(page)) if row.get("chosen") in looks]
    cases = list(dict.fromkeys((row["grid"], row["emulator"]) for row in rows))
    with rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 1.9 * len(cases)), layout="constrained")
        for axes, case in zip(figure.subplots(len(cases), len(MEASURES), squeeze=False), cases, strict=True):
            for axis, measure in zip(axes, MEASURES, strict=True):
                for way, (colour, marker) in looks.items():
                    own = [row for row in rows if (row["grid"], row["emulator"]) == case and row["chosen"] == way]
                    sizes, errors = ([float(row[key]) for row in own] for key in ("spectra", measure))
                    axis.loglog(sizes, errors, color=colour, marker=marker, ms=3.5, lw=1.2, label=way)
                axis.set_title(f"{case[0]}, {case[1]}: {measure}", fontsize=8)
                axis.set_xticks([150, 300, 600, 1000], labels=["150", "300", "600", "1000"])
                axis.xaxis.set_minor_locator(NullLocator())
            axes[0].set_ylabel("error of flux")
            axes[0].legend()
        figure.savefig(image, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", nargs="*", metavar="GRID")
    parser.add_argument("--seeds", default="10,11,12,13,14", metavar="N,...")
    parser.add_argument("--sizes", default="150,300,450,600,800,1000", metavar="N,...")
    parser.add_argument("--pixels", type=int, default=60, metavar="N")
    parser.add_argument("--by", choices=list(EMULATORS), default="kriging")
    parser.add_argument("--draw", nargs=2, metavar=("PAGE", "IMAGE"))
    parser.add_argument("--twice", metavar="N,...")
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    if given.draw:
        draw(*given.draw)
        return
    if given.speed:
        show_speed(Synthesis(read_grid(given.grids[0]), given.pixels))
        return
    seeds, sizes = ([int(one) for one in text.split(",")] for text in (given.seeds, given.sizes))
    if given.twice:
        for path in given.grids:
            twice = [int(one) for one in given.twice.split(",")]
            show_twice(Synthesis(read_grid(path), given.pixels), given.by, seeds, twice)
        return
    equal = [f"{measure} as of random" for measure in MEASURES]
    print(f"| {' | '.join(['grid', 'emulator', 'chosen', 'spectra', *MEASURES, *equal])} |")
    print("|" + " --- |" * (4 + 2 * len(MEASURES)))
    begin = time.monotonic()
    for path in given.grids:
        synthesis = Synthesis(read_grid(path), given.pixels)
        courses(synthesis, given.by, seeds, sizes)
    print(f"\n{(time.monotonic() - begin) / 60:.0f} min")


if __name__ == "__main__":
    main()
