"""What numbers become in a figure: the limits and bins of axes, and the texts of counts, values, units and names."""

import re
from collections.abc import Sequence

import numpy as np

MINUS = "\N{MINUS SIGN}"  # a hyphen is too short
_SYMBOLS = {"Teff": r"$T_\mathrm{eff}$", "logg": r"$\log\,g$"}


def padded(values: np.ndarray, share: float, least: float = 0.0) -> tuple[float, float]:
    """Axis limits around the finite values, wider by `share` of their range on each side, at least `least` wide."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    margin = max(share * (high - low), 0.5 * (least - (high - low))) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def residual_limit(residual: np.ndarray) -> float:
    """Half height of a residual axis, never 0: holds all, or where a few are far out, twice what holds 99 of 100."""
    size = np.abs(residual[np.isfinite(residual)])
    if not len(size) or not size.max():
        return 1.0
    largest, most = 1.15 * float(size.max()), 2.0 * float(np.percentile(size, 99))
    return min(largest, most) or largest


def log_bins(values: np.ndarray) -> np.ndarray:
    """Edges of histogram bins, 12 a decade, that cover the positive finite values; at least two decades."""
    per_decade = 12
    positive = values[np.isfinite(values) & (values > 0)]
    if not len(positive):
        return np.logspace(-5, -3, 2 * per_decade + 1)
    first = np.floor(np.log10(positive.min()) * per_decade) - 1
    last = np.floor(np.log10(positive.max()) * per_decade) + 2
    spare = max(0.0, np.ceil((2 * per_decade - (last - first)) / 2))
    return 10.0 ** (np.arange(first - spare, last + spare + 1) / per_decade)


def count(number: int, what: str) -> str:
    """1 pixel, 2 pixels."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def scientific(value: float) -> str:
    """Mathtext: 0.00037 -> 3.7 x 10^-4."""
    if not value or not np.isfinite(value):
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return rf"${mantissa}\times10^{{{int(exponent)}}}$"


def unit_after(unit: str) -> str:
    """A unit as it follows a number: a dimensionless one leaves no space."""
    return f" {unit}" if unit else ""


def symbol(name: str) -> str:
    """Mathtext of a label's name; a dollar sign in an unknown one is a dollar sign."""
    return _SYMBOLS.get(name, name.replace("$", r"\$"))


def words(name: str) -> str:
    """NOT_CONVERGED -> not converged; RV_EDGE -> RV edge."""
    return " ".join(word if word == "RV" else word.lower() for word in name.split("_"))


def value_and_error(value: float, error: float, unit: str) -> str:
    """The error to two digits, the value to its last one: 5621 ± 12 K. An error of 0 means: held."""
    if not np.isfinite(value):
        return "unknown"
    if not error > 0 or not np.isfinite(error):
        text = f"{value:.6g}{unit_after(unit)}{' (held)' if error == 0 else ''}"
    elif 1e-5 <= error < 1e7:
        decimals = max(0, 1 - int(np.floor(np.log10(error))))
        text = f"{round(value, decimals) + 0.0:.{decimals}f} ± {error:.{decimals}f}{unit_after(unit)}"
    else:
        text = f"{value:.6g} ± {error:.2g}{unit_after(unit)}"
    return text.replace("-", MINUS)


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Join parts to lines of at most about `width` characters, never breaking inside a part."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(_plain(lines[-1])) + 1 + len(_plain(part)) > width:
            lines.append(part)
        else:
            lines[-1] += " " + part
    return lines


def _plain(text: str) -> str:
    """About what is left of mathtext on paper: its width, without the markup."""
    return re.sub(r"\\[a-z]+|[${}_^]", "", text)
