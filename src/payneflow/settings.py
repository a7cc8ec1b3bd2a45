"""What a user can turn about training: one settings class a trainer, each setting declared once.

training/trainers.py says whose they are. "published" are the values of Ting et al. (2019, ApJ 879, 69) and their
listing.
"""

from dataclasses import asdict, fields, replace
from typing import Annotated, Literal

from pydantic import Field

from payneflow.declaration import declare, setting
from payneflow.errors import SettingsError

WINDOW = 100  # epochs averaged at each end of a run to judge its improvement (published listing)
_ENOUGH_EPOCHS = f"a whole number of at least {2 * WINDOW} (improvement compares the first and last {WINDOW} epochs)"


@declare
class SgdSettings:
    """Settings of the published trainer; the defaults are published. Raises SettingsError naming the setting."""

    n_neurons: int = setting(10, "hidden neurons of a network", published=10, ge=1)
    mini_batch_size: int = setting(2, "spectra in a mini-batch; a tail shorter than that is dropped", published=2, ge=1)
    eta: float = setting(0.1, "first step size", published=0.1, gt=0)
    min_eta: float = setting(0.001, "step size at which training ends; less than eta", published=0.001, gt=0)
    num_epochs: int = setting(10_000, "epochs of a loop", published=10_000, ge=2 * WINDOW, expected=_ENOUGH_EPOCHS)
    trial_epochs: int = setting(1000, "epochs of a trial", published=1000, ge=2 * WINDOW, expected=_ENOUGH_EPOCHS)
    trunc_diff: float = setting(
        0.003, "deviation at which a pixel has converged", unit="normalised flux", published=0.003, gt=0
    )
    max_iter: int = setting(100, "most loops of a pixel, restarts included", published=100, ge=1)

    def check(self) -> None:
        if self.min_eta >= self.eta:
            raise ValueError(f"min_eta is {self.min_eta}, expected less than eta ({self.eta}): no loop would run.")

    def mini_batches(self, n_training: int) -> int:
        """Mini-batches of an epoch. Raises SettingsError where not one can be filled."""
        if self.mini_batch_size > n_training:
            raise SettingsError(
                f"mini_batch_size is {self.mini_batch_size}, but the grid has only {n_training} training spectra: "
                "not one mini-batch could be trained. Choose a smaller mini_batch_size."
            )
        return n_training // self.mini_batch_size


@declare
class TheanoSettings(SgdSettings):
    """The same settings for the same algorithm in Theano; the class tells which of the two trains."""


AUTO = "auto"  # a setting that follows from the number of labels
FEW_LABELS = 4  # up to which templates and virtual spectra serve best; above, the relevance of each label does
# What auto means: for few labels and for many, each chosen by cross-validation within training sets (docs/lm.md).
BY_LABELS = {
    "n_neurons": (10, 20),
    "n_starts": (3, 1),
    "max_iterations": (60, 26),
    "virtual_weight": (0.05, 0.0),
    "max_rounds": (4, 5),
    "new_starts": (True, False),
    "start_iterations": (30, 18),
    "start_damping": (1e-4, 1e-3),
    "random_iterations": (60, 18),
    "random_damping": (1e-2, 1e-3),
    "penalty": (1e-9, 5e-7),
}


def has_many_labels(n_label: int) -> bool:
    """Is training told which labels matter? Else it has templates and virtual spectra."""
    return n_label > FEW_LABELS


def _by_labels(name: str, said: str, kind: str = "a number", **more):
    """The declaration of a setting that may be auto."""
    few, many = BY_LABELS[name]
    few, many = (str(one).lower() if isinstance(one, bool) else f"{one:g}" for one in (few, many))
    help = f"{said}; auto: {few}, above {FEW_LABELS} labels {many}"
    return setting(AUTO, help, expected=f"{kind}, or {AUTO}", **more)


_Count = Annotated[int, Field(ge=1)] | Literal["auto"]
_Positive = Annotated[float, Field(gt=0)] | Literal["auto"]
_AT_LEAST_1 = "a whole number of at least 1"
_ABOVE_0 = "a positive number"


@declare
class LmSettings:
    """Settings of the Levenberg-Marquardt trainer, chosen by cross-validation within the training set (docs/lm.md).

    Those that few will turn are options of `payneflow split`, and not in config.yaml. `for_labels` says what auto is.
    Raises SettingsError naming the setting.
    """

    n_neurons: _Count = _by_labels("n_neurons", "hidden neurons of a network", _AT_LEAST_1)
    n_starts: _Count = _by_labels("n_starts", "trials of a pixel, of which the best goes on", _AT_LEAST_1)
    max_iterations: _Count = _by_labels(
        "max_iterations", "most iterations of a loop, which follows the trials", _AT_LEAST_1
    )
    trunc_diff: float = setting(0.003, "deviation above which a pixel gets new starts", unit="normalised flux", gt=0)
    virtual_weight: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = _by_labels(
        "virtual_weight",
        "weight of a virtual spectrum against a real one",
        "a number from 0 to 1",
    )
    max_rounds: _Count = _by_labels(
        "max_rounds", "times that trials and loop are run for a pixel at most", _AT_LEAST_1, in_config=False
    )
    new_starts: bool | Literal["auto"] = _by_labels(
        "new_starts",
        "do rounds after the first begin with new networks? Else the network there is goes on",
        "true or false",
        in_config=False,
    )
    start_iterations: _Count = _by_labels(
        "start_iterations", "most iterations of a trial that starts from a template", _AT_LEAST_1, in_config=False
    )
    start_damping: _Positive = _by_labels(
        "start_damping", "damping that such a trial starts with", _ABOVE_0, in_config=False
    )
    random_iterations: _Count = _by_labels(
        "random_iterations",
        "most iterations of a trial that starts from a random network",
        _AT_LEAST_1,
        in_config=False,
    )
    random_damping: _Positive = _by_labels(
        "random_damping", "damping that such a trial starts with", _ABOVE_0, in_config=False
    )
    damping: float = setting(1e-4, "damping that a loop starts with", gt=0, in_config=False)
    penalty: _Positive = _by_labels("penalty", "of a weight squared, in the cost", _ABOVE_0, in_config=False)

    def for_labels(self, n_label: int) -> "LmSettings":
        """These settings with a number for each that is auto."""
        many = has_many_labels(n_label)
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(self, **{name: BY_LABELS[name][many] for name, value in own.items() if value == AUTO})

    def from_random_networks(self) -> "LmSettings":
        """These settings where there are no templates: every trial starts from a random network."""
        return replace(self, start_iterations=self.random_iterations, start_damping=self.random_damping)


def settings_record(trainer: str, settings, seed: int) -> dict:
    """Everything that, with the grid, decides the bits of a pixel's network; stored with every file."""
    return {"trainer": trainer, "seed": seed, **asdict(settings)}
