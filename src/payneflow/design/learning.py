"""How the error falls with the number of training spectra: a learning curve, and where it will be with twice as many.

Networks of a few pixels are trained on parts of the training set, as all were trained on all of it, and judged by the
test set. Their errors follow a power law with a floor (Hestness et al. 2017, arXiv:1712.00409): error(n)^2 = floor^2 +
(a n^-b)^2. Few sizes tell little of a floor; it is held at 0 unless they do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from payneflow.errors import SettingsError
from payneflow.grid import SpectralGrid
from payneflow.network import Networks
from payneflow.statistics import evenly
from payneflow.training.trainers import DEFAULT, make_settings, prepare

PIXELS, PIXELS_PREPARED = 24, 512  # that are trained, and that the preparation looks at; evenly spread
PARTS = (4, 2)  # into which the training set is divided; each part is trained on
LEAST_TRAINING = 40  # spectra of a part; fewer tell nothing of the course
SPAWN_KEY = 5  # of the random numbers here
STEEPEST, FLATTEST = 2.0, 0.05
DOUBT_OF_FLOOR = 0.1  # scatter of log error: what a floor as high as the last error must gain


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """rms `errors` (n_size,) at training set `sizes` (n_size,), the last one all spectra; law: `floor`, `a`, `b`."""

    sizes: np.ndarray
    errors: np.ndarray
    floor: float
    a: float
    b: float

    def at(self, n: float | np.ndarray) -> np.ndarray:
        """The rms error that the law says for n training spectra, through the error of all spectra as it is."""
        return self._law(n) * self.errors[-1] / self._law(self.sizes[-1])

    def _law(self, n):
        return np.sqrt(self.floor**2 + (self.a * np.asarray(n, dtype=float) ** -self.b) ** 2)


def fit_law(sizes: np.ndarray, errors: np.ndarray) -> LearningCurve:
    """The law of `errors` (n_size,), two or more, at `sizes` (n_size,), increasing."""
    from scipy.optimize import least_squares

    log_size, log_error = np.log(sizes / sizes[-1]), np.log(errors)

    def misfit(law: np.ndarray) -> np.ndarray:
        share, log_a, b = law  # of the last error, that is floor
        model = np.log(np.hypot(share * errors[-1], np.exp(log_a - b * log_size)))
        return np.append(model - log_error, DOUBT_OF_FLOOR * share)

    bounds = [0.0, -np.inf, FLATTEST], [0.99, np.inf, STEEPEST]
    share, log_a, b = least_squares(misfit, [0.1, log_error[-1], 0.5], bounds=bounds).x
    return LearningCurve(sizes, errors, share * errors[-1], float(np.exp(log_a) * sizes[-1] ** b), b)


def course(n: int, error_of: Callable[[np.ndarray], float], all_error: float, seed: int = 0) -> LearningCurve:
    """The learning curve of n training spectra: `error_of` the rows of a part, `all_error` of all of them.

    Raises SettingsError where n is too small to be divided.
    """
    parts = [part for part in PARTS if n // part >= LEAST_TRAINING]
    if not parts:
        raise SettingsError(
            f"no learning curve: {n} training spectra are too few; expected {PARTS[-1] * LEAST_TRAINING} or more."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPAWN_KEY,)))
    sizes, errors = [], []
    for part in parts:
        order = rng.permutation(n)
        found = [error_of(np.sort(order[first::part])) for first in range(part)]
        sizes.append(n / part)
        errors.append(np.exp(np.mean(np.log(found))))  # one wild spectrum makes no course
    return fit_law(np.array([*sizes, n], dtype=float), np.array([*errors, all_error]))


def learning_curve(networks: Networks, grid: SpectralGrid, seed: int = 0) -> LearningCurve:
    """The learning curve of `networks`, trained on `grid`, by training networks of a few pixels on parts of it.

    Errors are shares of the flux scale. Raises SettingsError where the networks do not say how they were trained, or by
    a trainer that takes hours (sgd), and where the training spectra are too few.
    """
    settings = _settings_of(networks)
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    split = networks.split_of(grid)
    pixels = np.flatnonzero(networks.has_network)
    pixels = pixels[evenly(len(pixels), PIXELS_PREPARED)]
    scaled = networks.scaler.scale(grid.labels)
    flux = networks.flux_scale.share(np.asarray(grid.flux[:, columns[pixels]], dtype=float))
    own = evenly(len(pixels), PIXELS)
    training, test = split.training_rows, split.test_rows
    predicted = _predicted(networks, pixels[own], scaled[test])

    def error_of(rows: np.ndarray) -> float:
        rows = training[rows]
        found = trained_errors(scaled[rows], flux[rows], own, scaled[test], flux[test][:, own], settings, seed)
        return float(np.sqrt((found**2).mean()))

    all_error = float(np.sqrt(((predicted - flux[test][:, own]) ** 2).mean()))
    return course(len(training), error_of, all_error, seed)


def _predicted(networks: Networks, pixels: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """(n, n_pixel): flux of these pixels, a share of the flux scale."""
    return np.column_stack(
        [networks.flux_scale.share(networks.of_pixels(slice(i, i + 1)).predict_scaled(scaled)[:, 0]) for i in pixels]
    )


def _settings_of(networks: Networks):
    """Settings of the trainer that made the networks."""
    said = dict(networks.provenance.get("settings", {}))
    trainer = said.pop("trainer", networks.provenance.get("trainer"))
    said.pop("seed", None)
    if trainer != DEFAULT:
        made = f"were trained by {trainer}" if trainer else "do not say how they were trained"
        raise SettingsError(f"no learning curve: these networks {made}; only parts of {DEFAULT} train in minutes.")
    return make_settings(trainer, said)


def trained_errors(
    labels: np.ndarray,
    flux: np.ndarray,
    own: np.ndarray,
    test_labels: np.ndarray,
    test_flux: np.ndarray,
    settings,
    seed: int,
) -> np.ndarray:
    """Errors (n_test, n_own) on test spectra of networks that learn flux (n, n_pixel) at scaled labels (n, n_label).

    `own` (n_own,): the pixels that are trained, of those that the preparation sees. `test_flux` (n_test, n_own). All
    flux is a share of the flux scale.
    """
    from payneflow.network import logistic
    from payneflow.scaling import unscale_flux
    from payneflow.training.lanes import PixelTask, flux_to_learn, train_pixels
    from payneflow.training.policy import PixelProgress
    from payneflow.training.trainers import make_trainer
    from payneflow.weights import split

    preparation = prepare(labels, flux, settings, seed)
    trainer, policy = make_trainer(labels, preparation, settings, seed)
    learnt = flux[:, own]
    floors = preparation.floor.of(learnt[preparation.floor.rows])
    to_learn = flux_to_learn(learnt, preparation.virtual.flux(learnt, floors.nugget))
    relevance = preparation.floor.relevance(learnt[preparation.floor.rows], floors.nugget)
    known = zip(floors.noise, floors.deviation, relevance if len(relevance) else [None] * len(own), strict=True)
    tasks = [PixelTask(i, to_learn[i], PixelProgress(), *of_pixel) for i, of_pixel in enumerate(known)]
    for _ in train_pixels(trainer, policy, tasks):
        pass
    w0, b0, w1, b1 = split(np.array([task.progress.best_weights for task in tasks]), labels.shape[1])
    hidden = logistic(np.einsum("ij,pkj->ipk", test_labels, w0) + b0)
    return unscale_flux(logistic((hidden * w1).sum(axis=2) + b1)) - test_flux
