"""Where the lines of a second star stand out in what one star has left over: a correlation with a few templates.

With r the residual and w the inverse variance of a spectrum divided by its continuum, and t a template less its mean in
each segment, the score of a velocity is sum w r t / sqrt(sum w mean(t^2)): in units of noise. All velocities are scored
at once, by Fourier transform.
"""

import copy
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from payneflow.fitting.engine.shift import to_places
from payneflow.fitting.engine.starts import spread
from payneflow.fitting.star_light import StarLight

N_TEMPLATE = 8
NEAREST = 6.0  # km/s from the first star: what is nearer are its own lines
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class SecondLines:
    """A velocity at which lines stand out: their score, the shift in places, the scaled labels of their template."""

    score: float
    shift: float
    labels: np.ndarray


class LineSearch:
    """Templates spread over the labels, ready to be correlated with residuals."""

    def __init__(self, light: StarLight, fastest: float):
        self._light = light
        self._labels = spread(N_TEMPLATE, light.n_label)
        self._n_fft = next_fast_len(light.rest.n_place, real=True)
        templates = [self._template(light.emitted(labels, slopes=False)[0]) for labels in self._labels]
        self._waves = np.stack([wave for wave, _ in templates])
        self._size = np.array([size for _, size in templates])
        self._most = int(to_places(fastest, light.log_step))
        self._nearest = to_places(NEAREST, light.log_step)

    def on(self, light: StarLight) -> "LineSearch":
        """The same templates for the same stars on another axis."""
        search = copy.copy(self)
        search._light = light
        return search

    def _template(self, emitted: np.ndarray) -> tuple[np.ndarray, float]:
        """The conjugate transform of light (n_place,) less its mean in each segment, and its rms."""
        lines = emitted.astype(float)
        good = self._light.rest.good > 0.0
        for start, length in zip(self._light.rest.starts, self._light.rest.length, strict=True):
            own = slice(start, start + length)
            known = good[own]
            if known.any():
                lines[own] = np.where(known, lines[own] - lines[own][known].mean(), 0.0)
        return np.conj(rfft(lines, self._n_fft)), max(float(np.sqrt((lines**2).sum() / max(good.sum(), 1.0))), TINY)

    def strongest(
        self, residual: np.ndarray, factor: np.ndarray, shift: float, labels: np.ndarray, emitted: np.ndarray
    ) -> SecondLines:
        """Where the lines of any template stand out most.

        `residual` (n_data,) in sigma; `factor` (n_data,) continuum / sigma; `shift`, `labels`, `emitted` (n_place,): of
        the first star, whose own lines are a template, too, and near which nothing is looked for.
        """
        wave = rfft(self._light.back_to_rest(residual * factor), self._n_fft)
        own, size = self._template(emitted)
        templates = ((self._waves, self._size), (own[None], np.array([size])))
        lags = np.arange(-self._most, self._most + 1)
        scores = np.vstack([irfft(waves * wave, self._n_fft)[:, lags] / sizes[:, None] for waves, sizes in templates])
        scores[:, np.abs(lags - shift) < self._nearest] = -np.inf
        template, at = np.unravel_index(np.argmax(scores), scores.shape)
        score = scores[template, at] / max(np.sqrt((factor**2).sum()), TINY)
        return SecondLines(float(score), float(lags[at]), [*self._labels, labels][template])
