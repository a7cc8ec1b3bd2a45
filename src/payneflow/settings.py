"""What a user can turn about training: one settings class a trainer, each value checked."""

import math
from dataclasses import asdict, dataclass, fields, replace

from payneflow.errors import SettingsError

WINDOW = 100  # epochs averaged at each end of a run to judge its improvement (published listing)


@dataclass(frozen=True)
class SgdSettings:
    """Settings of the published trainer; the defaults are the published values (Ting et al. 2019, published listing).

    `n_neurons`: hidden neurons of a network. `mini_batch_size`: spectra in a mini-batch. `eta`: first step size.
    `min_eta`: the step size at which training ends. `num_epochs`: epochs of a loop. `trial_epochs`: epochs of a trial.
    `trunc_diff`: the deviation, in normalised flux, at which a pixel has converged. `max_iter`: most loops of a pixel,
    restarts included. Raises SettingsError naming the setting.
    """

    n_neurons: int = 10
    mini_batch_size: int = 2
    eta: float = 0.1
    min_eta: float = 0.001
    num_epochs: int = 10_000
    trial_epochs: int = 1000
    trunc_diff: float = 0.003
    max_iter: int = 100

    def __post_init__(self):
        _require_whole(self, n_neurons=1, mini_batch_size=1, num_epochs=2 * WINDOW, trial_epochs=2 * WINDOW, max_iter=1)
        _require_positive(self, "eta", "min_eta", "trunc_diff")
        if self.min_eta >= self.eta:
            raise SettingsError(f"min_eta is {self.min_eta}, expected less than eta ({self.eta}): no loop would run.")

    def mini_batches(self, n_training: int) -> int:
        """Mini-batches of an epoch. Raises SettingsError where not one can be filled."""
        if self.mini_batch_size > n_training:
            raise SettingsError(
                f"mini_batch_size is {self.mini_batch_size}, but the grid has only {n_training} training spectra: "
                "not one mini-batch could be trained. Choose a smaller mini_batch_size."
            )
        return n_training // self.mini_batch_size


class TheanoSettings(SgdSettings):
    """The same settings for the same algorithm in Theano; the class tells which of the two trains."""


@dataclass(frozen=True)
class LmSettings:
    """Settings of the Levenberg-Marquardt trainer, chosen by cross-validation within the training half (docs/lm.md).

    What a user turns: `n_neurons`, hidden neurons of a network. `n_starts`: trials, of which the best goes on.
    `max_iterations`: most iterations of a loop, the run that follows the trials. `trunc_diff`: the deviation, in
    normalised flux, at which a pixel has converged; one above it gets new starts. `virtual_weight`: weight of a virtual
    spectrum, that of a training spectrum being 1; 0: no virtual spectra.

    What few will turn: `max_rounds`: times that trials and loop are run for a pixel at most. `start_iterations`,
    `start_damping`: most iterations and first damping of a trial that starts from a template; `random_iterations`,
    `random_damping`: of one that starts from a random network. `damping`: of a loop. `penalty`: of a weight squared, in
    the cost. Raises SettingsError naming the setting.
    """

    n_neurons: int = 10
    n_starts: int = 3
    max_iterations: int = 60
    trunc_diff: float = 0.003
    virtual_weight: float = 0.05
    max_rounds: int = 4
    start_iterations: int = 30
    start_damping: float = 1e-4
    random_iterations: int = 60
    random_damping: float = 1e-2
    damping: float = 1e-4
    penalty: float = 1e-9

    def __post_init__(self):
        _require_whole(
            self, n_neurons=1, n_starts=1, max_iterations=1, max_rounds=1, start_iterations=1, random_iterations=1
        )
        _require_positive(self, "trunc_diff", "start_damping", "random_damping", "damping", "penalty")
        weight = self.virtual_weight
        if not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise SettingsError(f"virtual_weight is {weight!r}, expected a number from 0 (none) to 1.")

    def from_random_networks(self) -> "LmSettings":
        """These settings where there are no templates: every trial starts from a random network."""
        return replace(self, start_iterations=self.random_iterations, start_damping=self.random_damping)


SETTINGS = {"lm": LmSettings, "sgd": SgdSettings, "theano": TheanoSettings}


def make_settings(trainer: str, values: dict) -> LmSettings | SgdSettings:
    """The settings of `trainer`, `values` in place of defaults. Raises SettingsError for a name it does not have."""
    if trainer not in SETTINGS:
        raise SettingsError(f"trainer is {trainer!r}, expected one of: {', '.join(SETTINGS)}.")
    names = [field.name for field in fields(SETTINGS[trainer])]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise SettingsError(f"trainer {trainer} has no setting {', '.join(unknown)}; it has {', '.join(names)}.")
    return SETTINGS[trainer](**values)


def settings_record(trainer: str, settings: LmSettings | SgdSettings, seed: int) -> dict:
    """Everything that, with the grid, decides the bits of a pixel's network; stored with every file."""
    return {"trainer": trainer, "seed": seed, **asdict(settings)}


def _require_whole(settings, **least: int) -> None:
    for name, bound in least.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < bound:
            why = f" (improvement compares the first and last {WINDOW} epochs)" if name.endswith("epochs") else ""
            raise SettingsError(f"{name} is {value!r}, expected a whole number of at least {bound}{why}.")


def _require_positive(settings, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise SettingsError(f"{name} is {value!r}, expected a positive number.")
