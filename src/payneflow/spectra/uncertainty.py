"""What comes with the flux -> its 1 sigma error, infinite where a pixel takes no part, and how many do not and why."""

import numpy as np

from payneflow.spectra.bad_pixels import brightest, good_pixels
from payneflow.spectra.layout import SpectraLayout

LOWEST_SNR, HIGHEST_SNR = 1.0, 5000.0  # median S/N outside looks as if errors were given as another kind
MOST_MASKED = 0.9  # of a file's pixels; with more, the mask is probably the other way round

REASONS = ("masked", "flux not finite", "error not finite and positive", "flux huge", "error huge", "error tiny")


def flux_errors(
    flux: np.ndarray, given: np.ndarray | None, mask: np.ndarray | None, layout: SpectraLayout
) -> tuple[np.ndarray, dict[str, int]]:
    """1 sigma errors (n, n_pixel) of flux (n, n_pixel), inf where a pixel takes no part; and how many, by REASONS.

    `given` (n, n_pixel) is what `layout.uncertainty` says, None for "mask" and "none". A pixel is counted once, under
    the first reason that applies.
    """
    errors, counts = np.empty(flux.shape), dict.fromkeys(REASONS, 0)
    for i, row in enumerate(flux):  # one at a time: the temporary arrays of a spectrum stay in the processor's cache
        error = np.full(len(row), layout.constant_error) if given is None else as_sigma(given[i], layout.uncertainty)
        masked = None if mask is None else is_masked(mask[i], layout.mask_bits)
        usable = good_pixels(row, error, None if masked is None else ~masked)
        errors[i] = error
        if not usable.all():
            out = ~usable
            errors[i, out] = np.inf
            masked = np.zeros(len(row), dtype=bool) if masked is None else masked
            middle = np.median(error[usable]) if usable.any() else 0.0
            _count(counts, row[out], error[out], masked[out], brightest(row[usable], error[usable]), middle)
    return errors, counts


def _count(
    counts: dict[str, int], flux: np.ndarray, error: np.ndarray, masked: np.ndarray, most: float, middle: float
) -> None:
    """Add pixels (n,) that take no part to the counts; `most`: the |flux|, `middle`: an error of those that do."""
    left = ~masked
    finite = left & np.isfinite(flux)
    number = finite & np.isfinite(error) & (error > 0)
    no_filler = number & (np.abs(flux) <= most)
    tiny = no_filler & (error < middle)
    numbers = [flux.size, left.sum(), finite.sum(), number.sum(), no_filler.sum(), tiny.sum(), 0]
    for reason, before, after in zip(REASONS, numbers[:-1], numbers[1:], strict=True):
        counts[reason] += int(before - after)


def as_sigma(given: np.ndarray, kind: str) -> np.ndarray:
    """Errors as given, flux_error or ivar (any shape) -> 1 sigma; NaN where an inverse variance is not positive."""
    if kind == "flux_error":
        return np.asarray(given, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(given > 0, 1.0 / np.sqrt(given, dtype=float), np.nan)


def is_masked(mask: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Whether a pixel is bad, of a mask (any shape) of truth values or bits; NaN in one of real numbers is bad, too."""
    if not bits or mask.dtype.kind == "b":
        return mask != 0
    return (mask.astype(np.int64) & sum(1 << bit for bit in bits)) != 0


def kind_in_doubt(flux: np.ndarray, given: np.ndarray | None, kind: str) -> str:
    """What looks wrong with errors (n, n_pixel) declared as `kind`; empty where nothing does."""
    if given is None:
        return ""
    declared, other = (median_snr(flux, as_sigma(given, one)) for one in _both(kind))
    if not np.isfinite(declared) or LOWEST_SNR <= declared <= HIGHEST_SNR:
        return ""
    doubt = f"errors are declared as {kind}, which makes the median S/N of a pixel {declared:.2g}"
    if LOWEST_SNR <= other <= HIGHEST_SNR:
        doubt += f"; read as {_both(kind)[1]} it would be {other:.2g}. Is the setting uncertainty wrong?"
    return doubt


def median_snr(flux: np.ndarray, sigma: np.ndarray) -> float:
    """Median |flux| / sigma over the pixels where both are usable; NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.abs(flux) / sigma
        usable = np.isfinite(ratio) & (sigma > 0) & (sigma < np.inf)
    return float(np.median(ratio[usable])) if usable.any() else np.nan


def _both(kind: str) -> tuple[str, str]:
    return ("flux_error", "ivar") if kind == "flux_error" else ("ivar", "flux_error")
