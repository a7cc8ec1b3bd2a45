"""What a user can turn about training: one settings class a trainer, each setting declared once.

training/trainers.py says whose they are. "published" are the values of Ting et al. (2019, ApJ 879, 69) and their
listing.
"""

from dataclasses import asdict, replace

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


@declare
class LmSettings:
    """Settings of the Levenberg-Marquardt trainer, chosen by cross-validation within the training set (docs/lm.md).

    Those that few will turn are options of `payneflow split`, and not in config.yaml. Raises SettingsError naming the
    setting.
    """

    n_neurons: int = setting(10, "hidden neurons of a network; 15 are a little more accurate, at twice the time", ge=1)
    n_starts: int = setting(3, "trials of a pixel, of which the best goes on", ge=1)
    max_iterations: int = setting(60, "most iterations of a loop, the run that follows the trials", ge=1)
    trunc_diff: float = setting(0.003, "deviation above which a pixel gets new starts", unit="normalised flux", gt=0)
    virtual_weight: float = setting(
        0.05, "weight of a virtual spectrum, a training spectrum's being 1; 0: none", ge=0, le=1
    )
    max_rounds: int = setting(4, "times that trials and loop are run for a pixel at most", ge=1, in_config=False)
    start_iterations: int = setting(30, "most iterations of a trial that starts from a template", ge=1, in_config=False)
    start_damping: float = setting(1e-4, "damping that such a trial starts with", gt=0, in_config=False)
    random_iterations: int = setting(
        60, "most iterations of a trial that starts from a random network", ge=1, in_config=False
    )
    random_damping: float = setting(1e-2, "damping that such a trial starts with", gt=0, in_config=False)
    damping: float = setting(1e-4, "damping that a loop starts with", gt=0, in_config=False)
    penalty: float = setting(1e-9, "of a weight squared, in the cost", gt=0, in_config=False)

    def from_random_networks(self) -> "LmSettings":
        """These settings where there are no templates: every trial starts from a random network."""
        return replace(self, start_iterations=self.random_iterations, start_damping=self.random_damping)


def settings_record(trainer: str, settings, seed: int) -> dict:
    """Everything that, with the grid, decides the bits of a pixel's network; stored with every file."""
    return {"trainer": trainer, "seed": seed, **asdict(settings)}
