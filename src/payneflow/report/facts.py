"""What a report is made of: the results of a run, read and proved to belong together; None for what is not there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from payneflow.chunks.record import COLUMNS
from payneflow.errors import PayneflowError
from payneflow.evaluation import read_evaluation
from payneflow.figures import REPORT_FIGURES
from payneflow.fitting import read_label_errors, read_results
from payneflow.fitting.flags import FitFlag
from payneflow.fitting.label_errors import LabelErrors
from payneflow.fitting.results import digest_of_values
from payneflow.label_names import NO_NOISE, TEST_SNR
from payneflow.network import Networks, read_networks
from payneflow.stored_tables import read_table

SUMMARY, NETWORKS, RECORD = "grid_summary.json", "neural_network.npz", "training_record.ecsv"
EVALUATION, LABEL_ERRORS, FITS = "evaluation.npz", "label_errors.npz", "fits.ecsv"
EXPLORER = "explore.html"


@dataclass(frozen=True)
class Facts:
    """The results of a run in `directory`; a figure is the content of its image file (png)."""

    directory: Path
    summary: dict | None
    networks: Networks | None
    record: Table | None
    evaluation: dict[str, np.ndarray] | None
    label_errors: LabelErrors | None
    fits: Table | None
    figures: dict[str, bytes]
    has_explorer: bool

    @cached_property
    def fits_digest(self) -> str:
        return "" if self.fits is None else digest_of_values([self.fits.itercols()])[1]

    @cached_property
    def grid_digest(self) -> str:
        said = self.summary["sha256"] if self.summary else None
        return str(said or (self.networks.provenance.get("grid_sha256", "") if self.networks else ""))

    @property
    def label_names(self) -> list[str]:
        """Of the networks, or of what else names them."""
        if self.networks is not None:
            return list(self.networks.label_names)
        return list(self.fits.meta["label_names"]) if self.fits is not None else []

    @cached_property
    def succeeded(self) -> np.ndarray | None:
        """(n_row,) which fits gave labels."""
        return None if self.fits is None else (np.asarray(self.fits["flags"]) & FitFlag.FAILED) == 0

    @property
    def of_test_spectra(self) -> bool:
        """Whether the fits are those of the test set, whose labels are known."""
        return self.fits is not None and all(f"{name}_true" in self.fits.colnames for name in self.label_names)

    @property
    def test_snr(self) -> float | None:
        """S/N of the noise of test spectra; None where they have none, or where it is not said."""
        snr = NO_NOISE if self.fits is None else self.fits.meta.get(TEST_SNR, NO_NOISE)
        return None if snr == NO_NOISE else float(snr)

    @cached_property
    def noise(self) -> float | None:
        """Noise of the typical spectrum that was fitted, as a share of its flux: 1 / (median S/N)."""
        if self.fits is None or "SNR" not in self.fits.colnames:
            return None
        snr = np.asarray(self.fits["SNR"], dtype=float)
        snr = snr[np.isfinite(snr) & (snr > 0)]
        return float(1 / np.median(snr)) if len(snr) else None

    @cached_property
    def flux_level(self) -> float:
        """The flux of a typical pixel, in which errors of the flux are to be seen; of normalised spectra nearly 1."""
        level = np.median(np.abs(self.evaluation["example_flux"])) if self.evaluation else 0.0
        return float(level) or 1.0

    def name_of(self, row: int) -> str:
        """What a fitted spectrum is called: by its row in the grid, or its identifier."""
        assert self.fits is not None
        if "identifier" in self.fits.colnames:
            return str(self.fits["identifier"][row])
        return f"spectrum {self.fits['spectrum'][row]}" if "spectrum" in self.fits.colnames else f"row {row}"


def read_facts(directory: Path) -> Facts:
    """Read the results in `directory`. A file that is not there is None; one that is damaged raises PayneflowError.

    So do results that were made with other networks, grid or label errors than those beside them, of which a report
    would say what is not true, and a directory that holds none.
    """
    facts = Facts(
        directory=directory,
        summary=_read(directory / SUMMARY, _read_summary),
        networks=_read(directory / NETWORKS, read_networks),
        record=_read(directory / RECORD, _read_record),
        evaluation=_read(directory / EVALUATION, read_evaluation),
        label_errors=_read(directory / LABEL_ERRORS, read_label_errors),
        fits=_read(directory / FITS, read_results),
        figures=_figures(directory / "figures"),
        has_explorer=(directory / EXPLORER).is_file(),
    )
    if facts.networks is None and facts.fits is None and facts.summary is None:
        raise PayneflowError(
            f"{directory}: no {NETWORKS}, no {FITS} and no {SUMMARY}; expected the results of a run. Run the workflow "
            "first (make run, or snakemake), or name the directory that it wrote to."
        )
    _check_origin(facts)
    return facts


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    return read(path) if path.is_file() else None


def _read_summary(path: Path) -> dict:
    try:
        summary = json.loads(path.read_bytes())
        labels = [(label["name"], label["unit"], label["training_min"]) for label in summary["labels"]]
        known = str(summary["sha256"]) and len(labels) == summary["n_label"] and summary["wavelength"]["segments"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise PayneflowError(f"{path}: not the summary of a grid that payneflow check writes ({error!r}).") from None
    if not known:
        raise PayneflowError(f"{path}: not the summary of a grid that payneflow check writes.")
    return summary


def _read_record(path: Path) -> Table:
    kinds = {int: "i", float: "f", str: "U"}
    columns = {name: kinds[kind] for name, (kind, _, _) in COLUMNS.items()}
    record = read_table(path, PayneflowError, "a training record", columns, {"trunc_diff": (int, float)})
    if not len(record):
        raise PayneflowError(f"{path}: the table has no rows; expected a training record.")
    return record


def _figures(directory: Path) -> dict[str, bytes]:
    paths = {name: directory / f"{name}.png" for name in reversed(REPORT_FIGURES)}  # of labels first
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


_OTHER = {"networks": "other networks", "grid": "another grid", "label_errors": "other label errors"}


def _check_origin(facts: Facts) -> None:
    """Raise PayneflowError where a result says that it was made with others than those beside it."""
    digests = {
        "networks": facts.networks.digest if facts.networks else "",
        "grid": facts.grid_digest,
        "label_errors": facts.label_errors.digest if facts.label_errors else "",
    }
    said: list[tuple[str, dict]] = []
    if facts.networks is not None:
        said.append((NETWORKS, {"grid": facts.networks.provenance.get("grid_sha256")}))
    if facts.label_errors is not None:
        said.append((LABEL_ERRORS, {"networks": facts.label_errors.networks}))
    if facts.evaluation is not None:
        said.append((EVALUATION, {key: str(facts.evaluation.get(key, "")) for key in ("networks", "grid")}))
    for name, table in ((RECORD, facts.record), (FITS, facts.fits)):
        if table is not None:
            said.append((name, dict(table.meta)))
    files = {"networks": NETWORKS, "grid": SUMMARY, "label_errors": LABEL_ERRORS}
    for name, meta in said:
        for key, file in files.items():
            used = meta.get(key)
            if used and digests[key] and used not in (digests[key], "none", "unknown"):
                raise PayneflowError(
                    f"{facts.directory / name}: made with {_OTHER[key]} than {file} beside it has, so that no report "
                    f"can be true. `payneflow verify {facts.directory}` says what is stale; make run, or snakemake, "
                    "makes it again."
                )
