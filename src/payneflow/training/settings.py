"""What a user can turn about training: one settings class a trainer, each value checked."""

import math
from dataclasses import asdict, dataclass, fields

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


SETTINGS = {"sgd": SgdSettings}


def make_settings(trainer: str, values: dict) -> SgdSettings:
    """The settings of `trainer`, `values` in place of defaults. Raises SettingsError for a name it does not have."""
    if trainer not in SETTINGS:
        raise SettingsError(f"trainer is {trainer!r}, expected one of: {', '.join(SETTINGS)}.")
    names = [field.name for field in fields(SETTINGS[trainer])]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise SettingsError(f"trainer {trainer} has no setting {', '.join(unknown)}; it has {', '.join(names)}.")
    return SETTINGS[trainer](**values)


def settings_record(trainer: str, settings: SgdSettings, seed: int) -> dict:
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
