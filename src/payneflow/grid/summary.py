"""What a checked grid holds, in short: a dictionary for grid_summary.json, and the same in lines for a terminal."""

import numpy as np

from payneflow.grid import SpectralGrid, default_names
from payneflow.grid.blocks import for_each_block
from payneflow.grid.explained import measure_explained, said_of
from payneflow.grid.physics import lines_of, measure_physics, warnings_of
from payneflow.grid.reading import VACUUM
from payneflow.grid.sample import Sample
from payneflow.grid.sets import Split
from payneflow.scaling import PUBLISHED_FLUX
from payneflow.wavelength import segments

BINS = 24  # parts of a label's range, in which training spectra are counted
FAR_ULTRAVIOLET = 2500.0  # Angstrom; a median below it is possible, but more often nanometres of the near infrared


def summarise(grid: SpectralGrid) -> dict:
    """What a grid holds, ready for JSON; wavelengths in Angstrom, labels in their units, `notes` for the reader.

    `resolution`, where the file says it: the lowest and the highest R. `files`, of a grid of several, in their order.
    `explained`: how far the labels explain the flux (explained.py); `physics`: how it answers to each
    (physics.py); `warnings`: what of that the user should know.
    Raises GridError where they explain nothing.
    """
    sample = Sample.of(grid)
    explained, physics = measure_explained(grid, sample), measure_physics(grid, sample)
    wavelength = {
        "unit": "Angstrom",
        "medium": "vacuum",
        "medium_of_file": grid.medium,
        "first": float(grid.wavelength[0]),
        "last": float(grid.wavelength[-1]),
        "first_nm": float(grid.wavelength[0]) / 10,
        "last_nm": float(grid.wavelength[-1]) / 10,
        "segments": _segments(grid.wavelength),
    }
    resolution = {"resolution": [float(np.min(grid.resolution)), float(np.max(grid.resolution))]}
    return {
        "path": str(grid.path),
        "sha256": grid.sha256,
        **({"files": _files(grid)} if len(grid.origins.paths) > 1 else {}),
        "n_spectrum": len(grid.labels),
        "n_training": grid.split.n_training,
        "n_test": grid.split.n_test,
        "split": _split_summary(grid.split),
        "n_pixel": len(grid.wavelength),
        "n_label": len(grid.label_names),
        "wavelength": wavelength,
        **(resolution if np.any(grid.resolution) else {}),
        "flux": _flux_summary(grid),
        "labels": [_label_summary(grid, i) for i in range(len(grid.label_names))],
        "explained": explained,
        "physics": physics,
        "notes": [*_notes(grid), *grid.notes],
        "warnings": [*filter(None, [said_of(explained)]), *warnings_of(physics, len(grid.wavelength))],
    }


def _files(grid: SpectralGrid) -> list[dict]:
    """The files of a joined grid: `first` is the number of a file's first spectrum in the grid."""
    return [
        {
            "path": str(path),
            "sha256": digest,
            "first": own.start,
            "n_spectrum": own.stop - own.start,
            "n_training": int(grid.split.trains[own].sum()),
        }
        for (path, own), digest in zip(grid.origins.parts(), grid.sha256_of_files, strict=True)
    ]


def _split_summary(split: Split) -> dict:
    return {"name": split.name, "training": split.said_of(trains=True), "test": split.said_of(trains=False)}


def _flux_summary(grid: SpectralGrid) -> dict:
    lowest, highest = [], []
    for_each_block(grid.flux, lambda _, rows: lowest.append(rows.min()), lambda _, rows: highest.append(rows.max()))
    return {"dtype": str(grid.flux.dtype), "min": float(min(lowest)), "max": float(max(highest))} | {
        "scale": [grid.flux_scale.lowest, grid.flux_scale.highest]
    }


def _segments(wavelength: np.ndarray) -> list[dict]:
    """The runs of pixels between gaps on the axis (detector chips); pixels first to last, both included."""
    return [
        {
            "first_pixel": first,
            "last_pixel": stop - 1,
            "first": float(wavelength[first]),
            "last": float(wavelength[stop - 1]),
        }
        for first, stop in segments(wavelength)
    ]


def _label_summary(grid: SpectralGrid, label: int) -> dict:
    values, scaler = grid.labels[:, label], grid.scaler
    test = values[grid.split.test]
    low, high = float(scaler.x_min[label]), float(scaler.x_max[label])
    return {
        "name": grid.label_names[label],
        "unit": grid.label_units[label],
        "min": float(values.min()),
        "max": float(values.max()),
        "training_min": low,
        "training_max": high,
        "n_test_outside": int(((test < low) | (test > high)).sum()),
        **_coverage(values[grid.split.training]),
    }


def _coverage(training: np.ndarray) -> dict:
    """How the training spectra lie along a label (n_training,): `n_value` different values, the widest `gap` between
    two of them, the `usual_gap`, their median, and `counts` of spectra in BINS equal parts of the range."""
    values = np.unique(training)
    gaps = np.diff(values)
    widest = int(np.argmax(gaps))
    return {
        "n_value": len(values),
        "gap": [float(values[widest]), float(values[widest + 1])],
        "usual_gap": float(np.median(gaps)),
        "counts": np.histogram(training, BINS)[0].tolist(),
    }


def _notes(grid: SpectralGrid) -> list[str]:
    notes = []
    if np.median(grid.wavelength) < FAR_ULTRAVIOLET:
        notes.append("the wavelengths are far ultraviolet if in Angstrom; if they are nanometres, multiply them by 10")
    if grid.label_names == default_names(len(grid.label_names)):
        notes.append("the file does not name its labels: they are called label_1, label_2, ...; store label_names")
    return notes


def summary_text(summary: dict) -> str:
    """The summary that `summarise` made, in lines for a terminal or a log."""
    axis, flux, split = summary["wavelength"], summary["flux"], summary["split"]
    n_segment = len(axis["segments"])
    lines = [
        *_lines_of_files(summary),
        f"SHA-256     {summary['sha256']}",
        f"spectra     {summary['n_spectrum']}: {summary['n_training']} train ({split['training']}), "
        f"{summary['n_test']} test ({split['test']}); split: {split['name']}",
        f"pixels      {summary['n_pixel']} in {n_segment} {'segment' if n_segment == 1 else 'segments'}",
        f"wavelength  {axis['first']:.3f} ... {axis['last']:.3f} {axis['unit']} "
        f"({axis['first_nm']:.2f} ... {axis['last_nm']:.2f} nm), {_medium(axis['medium_of_file'])}",
    ]
    if n_segment > 1:
        lines += [
            f"            {one['first']:.3f} ... {one['last']:.3f} {axis['unit']}, "
            f"pixels {one['first_pixel']} ... {one['last_pixel']}"
            for one in axis["segments"]
        ]
    if "resolution" in summary:
        lines.append(f"resolution  {_resolution_line(*summary['resolution'])}")
    lines.append(f"flux        {_flux_line(flux)}, stored as {flux['dtype']}")
    lines.append(f"labels      {summary['n_label']}")
    lines += [_label_line(label) for label in summary["labels"]]
    lines += lines_of(summary["physics"])
    lines += [f"note        {note}" for note in summary["notes"]]
    lines += [f"warning     {warning}" for warning in summary["warnings"]]
    return "\n".join(lines)


def _lines_of_files(summary: dict) -> list[str]:
    if "files" not in summary:
        return [f"grid        {summary['path']}"]
    lines = [
        f"            {one['path']}: spectra {one['first']} ... {one['first'] + one['n_spectrum'] - 1}, "
        f"{one['n_training']} of them train"
        for one in summary["files"]
    ]
    return [f"grid        {len(lines)} files", *lines]


def _flux_line(flux: dict) -> str:
    if flux["scale"] == [PUBLISHED_FLUX.lowest, PUBLISHED_FLUX.highest]:
        return f"{flux['min']:.4f} ... {flux['max']:.4f}, normalised"
    lowest, highest = flux["scale"]
    return f"{flux['min']:.5g} ... {flux['max']:.5g}, flux scale {lowest:.5g} ... {highest:.5g}"


def _resolution_line(lowest: float, highest: float) -> str:
    return f"R = {lowest:g}" if lowest == highest else f"R = {lowest:g} ... {highest:g}, which differs along the axis"


def _medium(of_file: str) -> str:
    return "in vacuum" if of_file == VACUUM else f"in vacuum, converted from {of_file}"


def _label_line(label: dict) -> str:
    name = f"{label['name']} [{label['unit']}]" if label["unit"] else label["name"]
    line = (
        f"            {name:<14} {label['min']:g} ... {label['max']:g}, "
        f"training set {label['training_min']:g} ... {label['training_max']:g}"
    )
    return line + (f" (test spectra outside it: {label['n_test_outside']})" if label["n_test_outside"] else "")
