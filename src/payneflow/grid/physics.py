"""What `payneflow check` says of the grid's physics: how much each label moves the flux, where, and which act alike."""

import numpy as np

from payneflow.grid.answers import CHANCE, Answer, alike, find_answers
from payneflow.grid.sample import Sample, far_apart
from payneflow.grid.spectral_grid import SpectralGrid

STEPS = {"K": 100.0, "dex": 0.1}  # of a label, by its unit, that the answer is given for; others: a tenth of the range
TENTH = 0.1
WHERE = 3  # wavelengths that are named
BOUND = 0.05  # a label of which a smaller part of the standard deviation is free follows from the others
SAME = 0.98  # cosine of two answers from which on they are called the same: 0.90 is usual (vmicro and [Fe/H])
PIXELS_A_LABEL = 10  # fewer, and answers may be alike by chance


def measure_physics(grid: SpectralGrid, sample: Sample | None) -> list[dict]:
    """The answers to the labels in their order, ready for JSON; [] where the spectra are too few.

    `step`: of the label, in its unit, for which `rms` over the pixels and `largest`, at the first of `wavelengths`
    (Angstrom), are the change of the flux, as shares of the flux scale; None where the label follows from the others.
    `p`: the probability of so clear an answer by chance; `answered`: whether that is small; `least`: the smallest
    `largest` that could have been seen. `free`: the part of the label's standard deviation that does not follow from
    the other labels. `like`: the label whose answer is most like it, `cosine`: of the two.
    """
    if sample is None:
        return []
    answers = find_answers(sample.labels, sample.flux, sample.lengths)
    cosines = alike(answers)
    np.fill_diagonal(cosines, 0.0)
    wavelength = grid.wavelength[sample.pixels]
    return [_said(grid, label, answers[label], cosines[label], wavelength) for label in range(len(answers))]


def _said(grid: SpectralGrid, label: int, answer: Answer, cosines: np.ndarray, wavelength: np.ndarray) -> dict:
    span = float(np.ptp(grid.labels[grid.split.training, label]))
    step = STEPS.get(grid.label_units[label], TENTH * span)
    follows, size = answer.free < BOUND, step / span
    where = far_apart(np.abs(answer.slope), WHERE)
    said = {
        "name": grid.label_names[label],
        "unit": grid.label_units[label],
        "step": _short(step),
        "p": answer.p,
        "answered": answer.p <= CHANCE,
        "rms": None if follows else _short(answer.rms * size),
        "largest": None if follows else _short(np.abs(answer.slope).max() * size),
        "least": None if follows else _short(answer.least * size),
        "wavelengths": [float(wavelength[i]) for i in where],
        "free": _short(answer.free),
    }
    if len(cosines) == 1:
        return said
    like = int(np.argmax(np.abs(cosines)))
    return {**said, "like": grid.label_names[like], "cosine": _short(cosines[like])}


def _short(value: float) -> float:
    """Digits that are sure: the last ones of a sum depend on how many threads add."""
    return float(f"{value:.3g}")


def warnings_of(physics: list[dict], n_pixel: int) -> list[str]:
    """What the user should know of the answers that `measure_physics` found, a sentence or two each."""
    found = [_follows(one) for one in physics if one["rms"] is None]
    found += [_unanswered(one) for one in physics if one["rms"] is not None and not one["answered"]]
    if n_pixel < PIXELS_A_LABEL * len(physics):
        return found
    told = {one["name"]: one for one in physics if one["rms"] is not None and one["answered"]}
    pairs: dict[frozenset, dict] = {}
    for one in told.values():
        if one.get("like") in told and abs(one["cosine"]) >= SAME:
            pairs.setdefault(frozenset((one["name"], one["like"])), one)
    return found + [_same(one) for one in pairs.values()]


def _follows(one: dict) -> str:
    return (
        f"{one['name']} follows from the other labels: {100 * one['free']:.1f} % of its spread is free of them. The "
        "spectra cannot tell what it does from what they do, and its fitted values mean nothing of their own. Compute "
        "spectra in which it differs while the others do not, or leave it out"
    )


def _unanswered(one: dict) -> str:
    return (
        f"no pixel answers to {one['name']}: chance alone gives so clear an answer in {100 * one['p']:.0f} of "
        f"100 cases, and one of {100 * one['least']:.2g} % of the flux per {_step(one)} would have been seen. Fitted "
        "values will be its prior or the middle of its range. Does it enter the synthesis? Leave it out, or take "
        "pixels that know it"
    )


def _same(one: dict) -> str:
    other = "moves the flux as" if one["cosine"] > 0 else "moves the flux against"
    return (
        f"{one['name']} {other} {one['like']} does, in all pixels (cosine {one['cosine']:g}): spectra tell a sum of "
        "the two, and hardly either. Hold one of them (fixed, or a prior), leave one out, or take pixels that tell "
        "them apart"
    )


def _step(one: dict) -> str:
    """The step of a label with its unit."""
    return f"{one['step']:g} {one['unit']}".rstrip()


def lines_of(physics: list[dict]) -> list[str]:
    """The answers in lines for a terminal."""
    return [f"{'' if i else 'answers':<12}{_line(one)}" for i, one in enumerate(physics)]


def _line(one: dict) -> str:
    if one["rms"] is None:
        return f"{one['name']:<14} follows from the other labels"
    if not one["answered"]:
        return f"{one['name']:<14} none beyond chance (p = {one['p']:.2f})"
    where = ", ".join(f"{wavelength:.2f}" for wavelength in one["wavelengths"])
    rms, largest = 100 * one["rms"], 100 * one["largest"]
    return f"{one['name']:<14} {rms:.2g} % of the flux (rms) per {_step(one)}, most {largest:.2g} % at {where} A"
