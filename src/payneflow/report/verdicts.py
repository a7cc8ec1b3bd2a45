"""Is a run good? One rule a question, each with its limits and their reason; what cannot be known is never green.

A rule takes facts and gives a verdict: a colour, a sentence with the number it rests on, and what it concerns by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from payneflow.evaluation import LEAST_KRIGING
from payneflow.fitting.calibration import ASTRAY, RUINOUS
from payneflow.fitting.flags import FLAG_MEANINGS, FitFlag
from payneflow.grid.explained import PIXELS_ABOVE
from payneflow.report.facts import Facts
from payneflow.statistics import bias_and_width
from payneflow.training.policy import ENDS, Stage

NAMED = 5  # pixels, spectra or labels that a verdict names

# Share of the pixels that converged. Errors of labels go with 1 / sqrt(information): were the others lost, these would
# be 2.6 % larger at 0.95. Below a half, training is said to have failed (chunks/record.py).
CONVERGED, HALF = 0.95, 0.5
# Error of the networks over the noise of the spectra. In quadrature, half of the noise widens errors by 12 %; above the
# noise itself, the networks limit what spectra tell.
HALF_OF_NOISE, NOISE = 0.5, 1.0
# Pixels whose error on the test set is above the noise: a hundredth is seen in no label, a tenth is a gap of the axis.
FEW_PIXELS, MANY_PIXELS = 0.01, 0.10
# Error of the networks over that of kriging from the same spectra, an emulator that needs no training. On the grids of
# docs/accuracy.md it is 0.7 to 1.8; below a fifth of the noise, which adds 2 % to errors, it does not matter.
KRIGING, WORSE_THAN_KRIGING, NEGLIGIBLE = 1.5, 3.0, 0.2
# Robust width of pulls, (fitted - true) / error, which honest errors make 1: within a quarter, errors are as good as
# most quoted ones; beyond a factor of 1.6 they mislead. Median pull: half an error shifts a sample, a whole one a star.
WIDTH, BAD_WIDTH = 1.25, 1.6
BIAS, BAD_BIAS = 0.5, 1.0
FEW_PULLS = 20  # of fewer, a width says nothing; as in figures/fit_overview.py
MARGIN = 3.0  # times the sampling error of width (1.17 / sqrt(n)) and median (1.25 / sqrt(n)) is no finding
# A pull that 1e7 spectra with noise would not show: the labels of that spectrum are not its own, or its fit is wrong.
FAR_PULL = 6.0
# Share of the fits that gave nothing to be used, of those with any warning, of those that no labels describe.
USELESS, MANY_USELESS = 0.01, 0.10
WARNED, MANY_WARNED = 0.10, 0.50
# Widest interval without a training spectrum, as a share of the label's range, where it is also WIDER times the usual
# one, as steps of a mesh are not. Of 50 labels drawn at random, one grid in 80 has one of 0.15.
GAP, WIDE_GAP, WIDER = 0.15, 0.30, 3.0
# Share of the fits whose labels lie outside, or far from, those of all training spectra: there networks extrapolate.
OUTSIDE, MANY_OUTSIDE = 0.05, 0.30


class Colour(StrEnum):
    """What a verdict is; `said` in words, for whom colours do not tell apart."""

    GREEN = "green"
    UNKNOWN = "unknown"
    AMBER = "amber"
    RED = "red"

    @property
    def said(self) -> str:
        return {"green": "good", "unknown": "not known", "amber": "look", "red": "bad"}[self]


WORSE = list(Colour)  # from good to bad


@dataclass(frozen=True)
class Verdict:
    """The answer to a question: its colour, why, whom it concerns by name, and by which rule."""

    question: str
    colour: Colour
    said: str
    named: tuple[str, ...] = ()
    rule: str = ""


def judge(facts: Facts) -> list[Verdict]:
    """All verdicts on a run, in the order in which its stages follow each other."""
    rules = (grid, coverage, training, pixels, against_noise, against_kriging, suspicious, label_errors, pulls, fits)
    return [rule(facts) for rule in rules]


def overall(verdicts: Sequence[Verdict]) -> tuple[Colour, str]:
    """The worst colour of all, and a sentence; what is not known is worse than good."""
    colour = max((one.colour for one in verdicts), key=WORSE.index)
    of = {each: [one.question for one in verdicts if one.colour is each] for each in Colour}
    unknown = f" Not known: {', '.join(of[Colour.UNKNOWN])}." if of[Colour.UNKNOWN] else ""
    if colour is Colour.GREEN:
        return colour, f"All {len(verdicts)} checks are good."
    if colour is Colour.UNKNOWN:
        return colour, f"Nothing bad was found, but not all can be known.{unknown}"
    words = {Colour.RED: "Bad", Colour.AMBER: "To look at"}
    return colour, " ".join(f"{word}: {', '.join(of[each])}." for each, word in words.items() if of[each]) + unknown


def _colour(value: float, amber: float, red: float) -> Colour:
    """Green up to `amber`, red above `red`."""
    return Colour.GREEN if value <= amber else Colour.AMBER if value <= red else Colour.RED


def _worst(colours: Sequence[Colour]) -> Colour:
    return max(colours, key=WORSE.index, default=Colour.GREEN)


def _unknown(question: str, why: str, rule: str = "") -> Verdict:
    return Verdict(question, Colour.UNKNOWN, why, rule=rule)


def percent(share: float) -> str:
    """A share in per cent, which is 0 or 100 only where it is just that."""
    digits = 0 if share in (0, 1) else 1 if 0.01 <= share <= 0.99 else 2
    return f"{100 * share:.{digits}f} %"


# ------------------------------------------------------------------------------------------------------------ the grid


def grid(facts: Facts) -> Verdict:
    """Do the labels explain the flux of the grid?"""
    question, rule = "Grid", f"amber where {percent(PIXELS_ABOVE)} of the pixels or more have unexplained flux"
    explained = (facts.summary or {}).get("explained")
    if not explained:
        why = "too few training spectra tell noise from lines" if facts.summary else "there is no grid_summary.json"
        return _unknown(question, f"Whether labels explain the flux is not known: {why}.", rule)
    share = explained["share_above"]
    if share < PIXELS_ABOVE:
        said = "The labels explain the flux of the grid"
        return Verdict(question, Colour.GREEN, f"{said} in {percent(1 - share)} of the pixels.", rule=rule)
    said = f"{percent(share)} of the pixels have flux that the labels do not explain: {explained['noise_above']:.2g} of"
    named = tuple(f"{one['wavelength']:.2f} Å: {one['noise']:.2g}" for one in explained["worst"][:NAMED])
    return Verdict(question, Colour.AMBER, f"{said} the flux scale, noise or a label that is missing.", named, rule)


def coverage(facts: Facts) -> Verdict:
    """Is there a gap in the training labels, and do fitted spectra lie outside them?"""
    question = "Coverage of the labels"
    rule = (
        f"amber, red: an interval without training spectra above {percent(GAP)}, {percent(WIDE_GAP)} of a label's "
        f"range and {WIDER:g} times the usual one; or more than {percent(OUTSIDE)}, {percent(MANY_OUTSIDE)} of the "
        "fits outside the training labels or far from them"
    )
    labels = (facts.summary or {}).get("labels", [])
    if not labels or not all("gap" in label for label in labels):
        return _unknown(question, "Where the training spectra lie is not known: no grid_summary.json says it.", rule)
    colours, named = [], []
    for label in labels:
        (low, high), width = label["gap"], label["training_max"] - label["training_min"]
        share = (high - low) / width
        if share > GAP and high - low > WIDER * label["usual_gap"]:
            colours.append(_colour(share, GAP, WIDE_GAP))
            unit = f" {label['unit']}" if label["unit"] else ""
            named.append(f"{label['name']}: no training spectrum between {low:.5g} and {high:.5g}{unit}")
    gaps = f"{len(named)} of {len(labels)} labels have a gap" if named else "No label has a gap"
    outside = FitFlag.OUTSIDE_TRAINING | FitFlag.FAR_FROM_TRAINING | FitFlag.AT_BOUND
    rows = [] if facts.fits is None else np.flatnonzero(np.asarray(facts.fits["flags"]) & outside)
    beyond = ""
    if facts.fits is not None and len(facts.fits):
        share = len(rows) / len(facts.fits)
        colours.append(_colour(share, OUTSIDE, MANY_OUTSIDE))
        beyond = f"; {len(rows)} of {len(facts.fits)} fits lie outside the training labels or far from them"
        if colours[-1] is not Colour.GREEN:
            named.append(f"fits outside: {_names(facts, rows)}")
    return Verdict(question, _worst(colours), f"{gaps}{beyond}.", tuple(named), rule)


# -------------------------------------------------------------------------------------------------------- the networks


def training(facts: Facts) -> Verdict:
    """Which share of the pixels converged?"""
    question, rule = "Training", f"green from {percent(CONVERGED)}, red below {percent(HALF)} of the pixels"
    record = facts.record
    if record is None:
        return _unknown(question, "How training went is not known: there is no training_record.ecsv.", rule)
    ends = np.array([str(end) for end in record["end"]])
    good = np.isin(ends, (Stage.CONVERGED, Stage.NOISE_FLOOR))
    share = float(good.mean())
    said = f"{percent(share)} of {len(ends)} pixels converged."
    floor = int((ends == Stage.NOISE_FLOOR).sum())
    if floor:
        said = f"{percent(share)} of {len(ends)} pixels converged, {floor} of them to the noise of the grid."
    if record.meta.get("failed"):
        return Verdict(
            question, Colour.RED, f"Training failed: {record.meta['failed']}", _lost(record, ends, good), rule
        )
    colour = _colour(1 - share, 1 - CONVERGED, 1 - HALF)
    return Verdict(question, colour, said, _lost(record, ends, good) if colour is not Colour.GREEN else (), rule)


def _lost(record, ends: np.ndarray, good: np.ndarray) -> tuple[str, ...]:
    """How the other pixels ended, and the worst of each end."""
    deviation = np.asarray(record["deviation"], dtype=float)
    worst_first = np.argsort(-np.where(np.isfinite(deviation), deviation, np.inf), kind="stable")
    named = []
    for end in sorted(set(ends[~good]), key=lambda end: -(ends == end).sum()):
        rows = [row for row in worst_first if ends[row] == end]
        where = ", ".join(f"{record['wavelength'][row]:.2f} Å" for row in rows[:NAMED])
        more = ", ..." if len(rows) > NAMED else ""
        named.append(
            f"{end.replace('_', ' ')}, {len(rows)} pixels ({ENDS.get(end, 'unknown to this version')}): {where}{more}"
        )
    return tuple(named)


def pixels(facts: Facts) -> Verdict:
    """Which pixels are predicted worse than spectra are measured?"""
    question = "Worst pixels"
    rule = f"green up to {percent(FEW_PIXELS)}, red above {percent(MANY_PIXELS)} of pixels without a network or with a "
    rule += "test error above the noise"
    if facts.evaluation is None or facts.noise is None:
        return _unknown(question, _no_error(facts), rule)
    rms, level = facts.evaluation["rms_test"], facts.flux_level
    has_network = np.isfinite(rms)
    bad = ~has_network | (rms / level > facts.noise * NOISE)
    said = f"{int(bad.sum())} of {len(rms)} pixels have a test error above the noise of {facts.noise:.2g}"
    said += f", or no network ({int((~has_network).sum())})." if not has_network.all() else "."
    order = np.argsort(-np.where(has_network, rms, np.inf), kind="stable")[:NAMED]
    wavelength, largest = facts.evaluation["wavelength"], facts.evaluation["largest_test"]
    named = tuple(
        f"{wavelength[i]:.2f} Å: rms {rms[i]:.2g}, largest error {largest[i]:.2g}"
        if has_network[i]
        else f"{wavelength[i]:.2f} Å: no network"
        for i in order
    )
    return Verdict(question, _colour(float(bad.mean()), FEW_PIXELS, MANY_PIXELS), said, named, rule)


def against_noise(facts: Facts) -> Verdict:
    """Is the error of the networks below the noise of the spectra?"""
    question = "Test error and noise"
    rule = f"green up to {HALF_OF_NOISE:g}, red above {NOISE:g} times the noise"
    if facts.evaluation is None or facts.noise is None:
        return _unknown(question, _no_error(facts), rule)
    rms = _rms(facts.evaluation["rms_test"]) / facts.flux_level
    if not np.isfinite(rms):
        return Verdict(question, Colour.RED, "No pixel has a network.", rule=rule)
    share = rms / facts.noise
    said = f"The test error, rms {rms:.2g} of the flux, is {share:.2g} times the noise of the spectra that were fitted"
    said += f" (S/N {1 / facts.noise:.3g})."
    return Verdict(question, _colour(share, HALF_OF_NOISE, NOISE), said, rule=rule)


def against_kriging(facts: Facts) -> Verdict:
    """Are the networks as good as kriging from the same spectra?"""
    question = "Test error and kriging"
    rule = f"green up to {KRIGING:g}, red above {WORSE_THAN_KRIGING:g} times kriging's error; green below "
    rule += f"{NEGLIGIBLE:g} times the noise"
    if facts.evaluation is None or "rms_kriging" not in facts.evaluation:
        why = "there is no evaluation" if facts.evaluation is None else "this evaluation has no kriging, for which "
        why += "" if facts.evaluation is None else f"{LEAST_KRIGING} training spectra are needed"
        return _unknown(question, f"How well kriging does is not known: {why}.", rule)
    own, other = facts.evaluation["rms_test"], facts.evaluation["rms_kriging"]
    known = np.isfinite(own)
    if not known.any():
        return Verdict(question, Colour.RED, "No pixel has a network.", rule=rule)
    rms, of_kriging = _rms(own), _rms(other[known])
    ratio = rms / of_kriging if of_kriging else np.inf
    said = f"The test error, rms {rms:.2g}, is {ratio:.2g} times that of kriging from "
    said += f"{int(facts.evaluation['n_kriging'])} training spectra ({of_kriging:.2g})."
    colour = _colour(ratio, KRIGING, WORSE_THAN_KRIGING)
    if colour is not Colour.GREEN and facts.noise is not None and rms / facts.flux_level <= NEGLIGIBLE * facts.noise:
        colour, said = Colour.GREEN, f"{said[:-1]}, but far below the noise."
    return Verdict(question, colour, said, rule=rule)


def _no_error(facts: Facts) -> str:
    missing = "there is no evaluation.npz" if facts.evaluation is None else "there are no fits with a S/N"
    return f"How the test error compares with the noise is not known: {missing}."


def _rms(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(finite**2))) if len(finite) else np.nan


# ----------------------------------------------------------------------------------------------- spectra of the grid


def suspicious(facts: Facts) -> Verdict:
    """Which spectra of the grid are unlike what their labels say?"""
    question = "Suspicious spectra of the grid"
    rule = (
        f"amber where any is found: labels off by {RUINOUS:g} times the rms of all others (payneflow calibrate), an "
        f"error of the flux {RUINOUS:g} times the median, or a pull beyond {FAR_PULL:g} without a flag; "
        f"red above {percent(USELESS)}"
    )
    named, rows, looked = [], set(), 0
    if facts.label_errors is not None:
        wrong = facts.label_errors.provenance.get("wrong_labels", [])
        looked = max(looked, int(facts.label_errors.provenance.get("fitted", 0)))
        rows |= {int(row) for row in wrong}
        named += [f"spectrum {row}: its labels cannot be those of its flux" for row in wrong]
    if facts.evaluation is not None and "rms_spectrum" in facts.evaluation:
        rms = facts.evaluation["rms_spectrum"]
        looked = max(looked, len(rms))
        for row in np.flatnonzero(rms > RUINOUS * np.median(rms)).tolist():
            rows.add(row)
            named.append(
                f"spectrum {row}: predicted with an rms error of {rms[row]:.2g}, the median is {np.median(rms):.2g}"
            )
    if facts.test_snr is not None and facts.of_test_spectra:
        looked = max(looked, len(facts.fits))
        unflagged = np.asarray(facts.fits["flags"]) == 0  # a fit with a flag may be wrong itself
        for name, pull in pulls_of(facts).items():
            for i in np.flatnonzero((np.abs(pull) > FAR_PULL) & unflagged).tolist():
                rows.add(int(facts.fits["spectrum"][i]))
                named.append(f"{facts.name_of(i)}: {name} is fitted {abs(pull[i]):.1f} errors from its label")
    if not looked:
        why = "neither label errors nor an evaluation nor fits of test spectra are there"
        return _unknown(question, f"Whether labels belong to their spectra is not known: {why}.", rule)
    if not rows:
        return Verdict(question, Colour.GREEN, f"None of up to {looked} spectra that were looked at.", rule=rule)
    more = [f"and {len(named) - 2 * NAMED} more"] if len(named) > 2 * NAMED else []
    said = f"{len(rows)} {'spectrum' if len(rows) == 1 else 'spectra'} of the grid: correct or remove "
    said += "it." if len(rows) == 1 else "them."
    colour = Colour.RED if len(rows) > max(1, USELESS * looked) else Colour.AMBER
    return Verdict(question, colour, said, tuple(named[: 2 * NAMED] + more), rule)


# ------------------------------------------------------------------------------------------------------------ the fits


def label_errors(facts: Facts) -> Verdict:
    """Do errors of labels hold the networks' own part, and was it measured well?"""
    question = "Label errors"
    rule = f"amber where errors are formal, or more than {percent(ASTRAY)} of the fits that measure them end elsewhere"
    errors = facts.label_errors
    if facts.fits is not None and facts.fits.meta.get("label_errors") == "none":
        said = "Errors are formal ones, photon noise alone: too small at high S/N (fit: calibrate)."
        return Verdict(question, Colour.AMBER, said, rule=rule)
    if errors is None:
        return _unknown(question, "The networks' own label errors were not measured: no label_errors.npz.", rule)
    fitted, astray = errors.provenance.get("fitted"), errors.provenance.get("astray", 0)
    said = f"Measured on {int(errors.held_back.sum())} spectra that training never saw."
    if fitted and astray > ASTRAY * fitted:
        said = f"{said[:-1]}; {astray} of {fitted} fits ended in another minimum, from {errors.n_starts} starts."
        return Verdict(question, Colour.AMBER, said, rule=rule)
    return Verdict(question, Colour.GREEN, said, rule=rule)


def pulls_of(facts: Facts) -> dict[str, np.ndarray]:
    """(fitted - true) / error (n_row,) of each label of test spectra that is not held; NaN where a fit failed."""
    found = {}
    assert facts.fits is not None
    for name in facts.label_names:
        fitted, error, true = (np.asarray(facts.fits[f"{name}{ending}"], float) for ending in ("", "_error", "_true"))
        known = np.isfinite(fitted) & np.isfinite(true) & (error > 0)
        if known.any():
            found[name] = np.divide(fitted - true, error, out=np.full(len(error), np.nan), where=known)
    return found


def pulls(facts: Facts) -> Verdict:
    """Are the errors of labels those that fits of spectra with noise have?"""
    question = "Pulls of the labels"
    rule = f"width within {WIDTH:g} times 1 green, beyond {BAD_WIDTH:g} red; median up to {BIAS:g}, {BAD_BIAS:g}; plus "
    rule += f"{MARGIN:g} times what so many spectra leave open"
    if facts.fits is None:
        return _unknown(question, "Whether errors are right is not known: there are no fits.", rule)
    if not facts.of_test_spectra:
        return _unknown(question, "Whether errors are right is not known: observed spectra have no true labels.", rule)
    if facts.test_snr is None:
        said = "Whether errors are right is not known: the test spectra were fitted without noise (fit: test_snr)."
        return _unknown(question, said, rule)
    found = {name: pull[np.isfinite(pull)] for name, pull in pulls_of(facts).items()}
    n = min((len(pull) for pull in found.values()), default=0)
    if n < FEW_PULLS:
        return _unknown(question, f"Whether errors are right is not known: {n} pulls of a label say nothing.", rule)
    colours, named = [], []
    measured = {name: bias_and_width(pull) for name, pull in found.items()}
    for name, (bias, width) in measured.items():
        colour = _colour_of_pull(bias, width, len(found[name]))
        colours.append(colour)
        if colour is not Colour.GREEN:
            named.append(f"{name}: width {width:.2f}, median {bias:+.2f}: {_meaning(width, bias)}")
    widths = [width for _, width in measured.values()]
    said = f"(fitted − true) / error at S/N {facts.test_snr:g} has a width of {min(widths):.2f} to {max(widths):.2f}, "
    said += f"and a median of {max((bias for bias, _ in measured.values()), key=abs):+.2f} at most; honest errors give "
    return Verdict(question, _worst(colours), f"{said}1 and 0.", tuple(named), rule)


def _colour_of_pull(bias: float, width: float, n: int) -> Colour:
    wide, off = MARGIN * 1.17 / np.sqrt(n), MARGIN * 1.25 / np.sqrt(n)
    ratio = max(width - wide, 1 / (width + wide) if width < 1 else 0.0, 1.0)
    return _worst([_colour(ratio, WIDTH, BAD_WIDTH), _colour(abs(bias) - off, BIAS, BAD_BIAS)])


def _meaning(width: float, bias: float) -> str:
    if max(width, 1 / width) < WIDTH:
        return f"fits are {'above' if bias > 0 else 'below'} the truth by a part of their error"
    return f"its errors are too {'small' if width > 1 else 'large'} by a factor of {max(width, 1 / width):.2g}"


def fits(facts: Facts) -> Verdict:
    """Can the fits be used?"""
    question = "Fitted spectra"
    rule = (
        f"amber, red: more than {percent(USELESS)}, {percent(MANY_USELESS)} without labels to be used (failed, not "
        f"converged, at a bound, poor networks), or {percent(WARNED)}, {percent(MANY_WARNED)} with any flag"
    )
    if facts.fits is None or not len(facts.fits):
        return _unknown(question, "There are no fits.", rule)
    flags = np.asarray(facts.fits["flags"])
    bad = FitFlag.FAILED | FitFlag.NOT_CONVERGED | FitFlag.AT_BOUND | FitFlag.POOR_NETWORKS
    useless, warned = (flags & bad) > 0, flags > 0
    colour = _worst(
        [
            _colour(float(useless.mean()), USELESS, MANY_USELESS),
            _colour(float(warned.mean()), WARNED, MANY_WARNED),
        ]
    )
    said = f"{int((~warned).sum())} of {len(flags)} have no flag, {int(useless.sum())} no labels to be used."
    named = [
        f"{flag.name}, {int(rows.sum())} ({meaning}): {_names(facts, np.flatnonzero(rows))}"
        for flag, meaning in FLAG_MEANINGS.items()
        if (rows := (flags & flag) > 0).any()
    ]
    unread = facts.fits.meta.get("unreadable", {})
    named += [f"could not be read: {name}: {problem}" for name, problem in list(unread.items())[:NAMED]]
    return Verdict(question, colour, said, tuple(named), rule)


def _names(facts: Facts, rows: Sequence[int]) -> str:
    more = ", ..." if len(rows) > NAMED else ""
    return ", ".join(facts.name_of(int(row)) for row in rows[:NAMED]) + more
