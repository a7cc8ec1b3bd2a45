"""The training record: one row a pixel, how its training went and why it ended; and its summary in words."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from payneflow.network import not_learnt
from payneflow.stored_tables import write_table
from payneflow.training.policy import ENDS, Stage
from payneflow.training.trainers import TRAINERS

if TYPE_CHECKING:
    from astropy.table import Table

FEW = 0.01  # part of the pixels
BY_HEART = 10.0  # times the deviation on the training set: a test set so much worse was not learnt

# name: (type, unit, description); the order is that of the columns
COLUMNS = {
    "pixel": (int, None, "index on the grid's wavelength axis"),
    "wavelength": (float, "Angstrom", "wavelength of the pixel"),
    "chunk": (str, None, "chunk that trained it"),
    "trainer": (str, None, "; ".join(f"{entry.name}: {entry.meaning}" for entry in TRAINERS.values())),
    "restarts": (int, None, "new networks after the first"),
    "loops": (int, None, "blocks of training after a trial; sgd: a restart counts one"),
    "steps": (int, None, "iterations (lm) or epochs (sgd) in all"),
    "step_size": (float, None, "final step size (sgd), damping of a loop (lm)"),
    "deviation": (
        float,
        None,
        "largest |predicted - true flux| over the training spectra, normalised or a share of the flux scale",
    ),
    "deviation_test": (float, None, "the same over the test spectra, which training never sees"),
    "median_deviation_test": (float, None, "the median of that over the test spectra"),
    "explained_test": (
        float,
        None,
        "part of the variance of the flux over the test spectra that the network explains; 0 and less: nothing",
    ),
    "end": (str, None, "why training ended: " + "; ".join(f"{end}: {meaning}" for end, meaning in ENDS.items())),
    "seconds": (float, "s", "processor time"),
}


def record_table(columns: dict[str, np.ndarray], settings: dict) -> "Table":
    """The training record of pixels in any order, sorted by pixel; `settings` goes into its header."""
    from astropy.table import Table  # half a second, not for `payneflow status`

    table = Table({name: np.asarray(columns[name], dtype=kind) for name, (kind, _, _) in COLUMNS.items()})
    for name, (_, unit, description) in COLUMNS.items():
        table[name].unit = unit
        table[name].description = description
    table.sort("pixel")
    table.meta["settings"] = json.dumps(settings, sort_keys=True)
    table.meta["trunc_diff"] = settings["trunc_diff"]
    table.meta["failed"] = failure_of(table)
    return table


def failure_of(table: "Table") -> str:
    """Whether training failed as a whole, with the likely cause; "" where it did not.

    It did where most pixels have no network, or one that is not learnt (network.py). A pixel at its noise floor is as
    good as the labels allow, and none of these, unless there is no pixel in which the labels explain anything.
    """
    from payneflow.grid.explained import NOTHING  # numba: not wanted by `payneflow status`

    ends, explained = np.asarray(table["end"]), np.asarray(table["explained_test"])
    broken = ends == Stage.FAILED
    lost = not_learnt(np.asarray(table["deviation_test"]), explained, table.meta["trunc_diff"])
    if np.sum(explained > NOTHING) > FEW * len(table):
        lost &= ends != Stage.NOISE_FLOOR
    lost |= broken
    if 2 * lost.sum() <= len(table):
        return ""
    return (
        f"{lost.sum()} of {len(table)} pixels have no network, or one that explains less than half of how the test "
        f"spectra differ. Likely cause: {_cause(table, lost, broken)}."
    )


def _cause(table: "Table", lost: np.ndarray, broken: np.ndarray) -> str:
    labels = "labels that do not explain the flux (one is missing, they are those of other spectra, or it is noise)"
    if 2 * broken.sum() > lost.sum():
        return "weights that became infinite or undefined, by too large a step, or flux that is no spectrum"
    if 2 * np.sum(np.asarray(table["end"])[lost] == Stage.NOISE_FLOOR) > lost.sum():
        return labels
    training, test = (np.nanmedian(np.asarray(table[name])[lost]) for name in ("deviation", "deviation_test"))
    if test > BY_HEART * training:
        return f"the training spectra were learnt by heart: too few of them, too many neurons, or {labels}"
    if 2 * np.sum(np.asarray(table["end"])[lost] == Stage.STALLED) > lost.sum():
        return f"no trial ever improved: steps that are too large or too few, or {labels}"
    return f"training ended long before it was done: too few epochs, loops or neurons, or {labels}"


def write_record(table: "Table", path: str | Path) -> None:
    """Write the training record as ECSV, which `astropy.table.Table.read` reads with units and descriptions."""
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    write_table(path, [text.getvalue()])


def summary_text(table: "Table", worst: int = 5) -> str:
    """What a user wants to know of a training record, in a few lines; `worst` is how many wavelengths to name."""
    n_pixel = len(table)
    lines = [f"FAILED: {table.meta['failed']}"] if table.meta.get("failed") else []
    lines += [f"{n_pixel} pixels in {len(set(table['chunk']))} chunks, trainer {table['trainer'][0]}"]
    for end, meaning in ENDS.items():
        count = int(np.sum(table["end"] == end))
        if count:
            lines.append(f"  {end:<15}{count:7d}  {100 * count / n_pixel:6.2f} %  {meaning}")
    trunc_diff = table.meta["trunc_diff"]
    below = 100 * np.mean(table["deviation"] <= trunc_diff)
    lines += [
        f"deviation, training set: median {_median(table['deviation'])}, largest {_largest(table['deviation'])}, "
        f"not above {trunc_diff:g} in {below:.2f} % of the pixels",
        f"deviation, test set:     median {_median(table['deviation_test'])}, "
        f"largest {_largest(table['deviation_test'])}",
        f"median absolute deviation, test set: median over pixels {_median(table['median_deviation_test'])}",
        f"worst wavelengths: {_worst(table, worst)}",
        f"restarts {np.sum(table['restarts'])}, loops {np.sum(table['loops'])}, steps {np.sum(table['steps'])}, "
        f"processor time {_duration(float(np.sum(table['seconds'])))}",
    ]
    return "\n".join(lines)


def _median(values: np.ndarray) -> str:
    return f"{np.nanmedian(values):.2e}" if np.isfinite(values).any() else "none"


def _largest(values: np.ndarray) -> str:
    return f"{np.nanmax(values):.2e}" if np.isfinite(values).any() else "none"


def _worst(table: "Table", count: int) -> str:
    deviation = np.where(np.isfinite(table["deviation"]), table["deviation"], np.inf)  # a failed pixel is the worst
    rows = np.argsort(-deviation, kind="stable")[:count]
    return ", ".join(f"{table['wavelength'][row]:.2f} A ({table['deviation'][row]:.2e})" for row in rows)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.2f} h"
