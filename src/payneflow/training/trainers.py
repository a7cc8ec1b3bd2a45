"""The trainers there are: one entry each, with all that the rest of the package knows of it. Numba is not loaded here.

What trains lies in the module that an entry names, which is imported when something is trained. It has

    make(scaled_labels, preparation, settings, seed) -> (Trainer, Policy)
    prepare(scaled_labels, flux, settings, seed) -> Preparation        where something is prepared once per grid
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from payneflow.errors import SettingsError
from payneflow.scaling import PUBLISHED_FLUX, FluxScale
from payneflow.settings import LmSettings, SgdSettings, TheanoSettings
from payneflow.training import sgd_cost
from payneflow.training.lanes import Trainer
from payneflow.training.lm import cost as lm_cost
from payneflow.training.policy import Policy

if TYPE_CHECKING:  # it loads numba
    from payneflow.training.lm.preparation import Preparation

Settings = Any  # an instance of the settings class of an entry


@dataclass(frozen=True)
class Environment:
    """Of a trainer that trains in an environment of its own: envs/NAME.yaml for conda, else .venv-NAME.

    `make NAME` builds .venv-NAME. `scratch`: a variable that tells the trainer where to write while it trains, {} being
    a directory; the path has plain letters only. `instead`: what to choose where that environment is missing.
    """

    name: str
    scratch: str
    instead: str


@dataclass(frozen=True)
class TrainerEntry:
    """A trainer: what it is called and set by, where its code is, what it costs, where it runs.

    `meaning`: what it is, in the training record; `settings`: the declared class of its settings, which is no other
    trainer's and has n_neurons and trunc_diff; `module`: its code. `set_by`: the trainer whose section of config.yaml
    it is set by, "" being its own, which `section_help` explains; `choice`: what config.yaml says beside its name.

    The laws take settings, n_training (training spectra) and n_label. `seconds_a_pixel`: of one core, on average;
    `working_mb`: megabytes of every rank beside its process and the pixels it holds; `seconds_of_preparation`, which
    takes n_pixel of the whole grid too: of one core in `payneflow split`, None where nothing is prepared.

    `check_size` takes settings and n_training and raises SettingsError where such a grid cannot be trained; None where
    any can. `environment`: None where payneflow's own will do.
    """

    name: str
    meaning: str
    settings: type
    module: str
    seconds_a_pixel: Callable[[Settings, int, int], float]
    working_mb: Callable[[Settings, int, int], float]
    seconds_of_preparation: Callable[[Settings, int, int, int], float] | None = None
    check_size: Callable[[Settings, int], object] | None = None
    section_help: str = ""
    set_by: str = ""
    choice: str = ""
    environment: Environment | None = None

    @property
    def section(self) -> str:
        """The section of config.yaml with its settings."""
        return self.set_by or self.name


_ENTRIES = (
    TrainerEntry(
        name="lm",
        meaning="Levenberg-Marquardt",
        settings=LmSettings,
        module="payneflow.training.lm.setup",
        section_help="Levenberg-Marquardt, see docs/lm.md",
        seconds_a_pixel=lm_cost.seconds_a_pixel,
        working_mb=lm_cost.working_mb,
        seconds_of_preparation=lm_cost.seconds_of_preparation,
    ),
    TrainerEntry(
        name="sgd",
        meaning="published stochastic gradient descent",
        settings=SgdSettings,
        module="payneflow.training.sgd",
        section_help="stochastic gradient descent, as published; also what trainer: theano is set by",
        choice="published, hundreds of times slower",
        seconds_a_pixel=sgd_cost.sgd_seconds_a_pixel,
        working_mb=sgd_cost.working_mb,
        check_size=SgdSettings.mini_batches,
    ),
    TrainerEntry(
        name="theano",
        meaning="the same",
        settings=TheanoSettings,
        module="payneflow.training.theano",
        set_by="sgd",
        choice="the published listing itself, to check sgd with: minutes a pixel; needs `make theano`",
        seconds_a_pixel=sgd_cost.theano_seconds_a_pixel,
        working_mb=sgd_cost.working_mb,
        check_size=TheanoSettings.mini_batches,
        environment=Environment(
            name="theano",
            scratch="THEANO_FLAGS=base_compiledir={}",
            instead="sgd, the same algorithm a thousand times faster",
        ),
    ),
)
TRAINERS = {entry.name: entry for entry in _ENTRIES}
DEFAULT = "lm"


# ------------------------------------------------------------------------------------------------------ which trainer


def entry_named(trainer: str) -> TrainerEntry:
    """The entry of a trainer. Raises SettingsError for a name that is none."""
    if trainer not in TRAINERS:
        raise SettingsError(f"trainer is {trainer!r}, expected one of: {', '.join(TRAINERS)}.")
    return TRAINERS[trainer]


def entry_of(settings: Settings) -> TrainerEntry:
    """The entry of the trainer whose settings these are. Raises SettingsError where they are nobody's."""
    for entry in TRAINERS.values():
        if type(settings) is entry.settings:  # not isinstance: the settings of a trainer may extend another's
            return entry
    known = ", ".join(entry.settings.__name__ for entry in TRAINERS.values())
    raise SettingsError(f"{type(settings).__name__} is the settings of no trainer, expected one of: {known}.")


def make_settings(trainer: str, values: dict) -> Settings:
    """The settings of `trainer`, `values` in place of defaults. Raises SettingsError for a name it does not have."""
    declared = entry_named(trainer).settings
    names = [field.name for field in fields(declared)]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise SettingsError(f"trainer {trainer} has no setting {', '.join(unknown)}; it has {', '.join(names)}.")
    return declared(**values)


def read_settings_record(record: dict) -> tuple[str, Settings, int]:
    """Trainer, settings and seed of a `settings_record`. Raises SettingsError where it is none."""
    values = dict(record)
    trainer, seed = values.pop("trainer", None), values.pop("seed", None)
    if not isinstance(seed, int):
        raise SettingsError(f"seed is {seed!r}, expected a whole number.")
    return trainer, make_settings(trainer, values), seed


# --------------------------------------------------------------------------------------------- what is asked of them


def check_size(settings: Settings, n_training: int) -> None:
    """Raise SettingsError where a grid of `n_training` training spectra cannot be trained with these settings."""
    entry = entry_of(settings)
    if entry.check_size is not None:
        entry.check_size(settings, n_training)


def for_labels(settings: Settings, n_label: int) -> Settings:
    """The settings for a grid of `n_label` labels: with numbers in place of what is auto."""
    entry_of(settings)
    return settings.for_labels(n_label) if hasattr(settings, "for_labels") else settings


def seconds_of_preparation(settings: Settings, n_training: int, n_label: int, n_pixel: int) -> float:
    """Seconds of one core that `payneflow split` needs for what `prepare` makes of a grid of `n_pixel` pixels."""
    law = entry_of(settings).seconds_of_preparation
    return 0.0 if law is None else law(settings, n_training, n_label, n_pixel)


def make_trainer(
    scaled_labels: np.ndarray, preparation: "Preparation", settings: Settings, seed: int
) -> tuple[Trainer, Policy]:
    """The trainer that `settings` are for, and its policy. `scaled_labels`: (n_training, n_label)."""
    return import_module(entry_of(settings).module).make(scaled_labels, preparation, settings, seed)


def prepare(
    scaled_labels: np.ndarray,
    flux: np.ndarray,
    settings: Settings,
    seed: int,
    flux_scale: FluxScale = PUBLISHED_FLUX,
) -> "Preparation":
    """What the trainer of `settings` draws from the whole training set.

    `scaled_labels`: (n_training, n_label); `flux`: (n_training, n_pixel), on `flux_scale`, of all pixels, in memory or
    in a file: only a sample of spectra and pixels, and the pixels of the templates, are read.
    """
    entry = entry_of(settings)
    if entry.seconds_of_preparation is None:
        from payneflow.training.lm.preparation import Preparation

        return Preparation.nothing(*scaled_labels.shape)
    return import_module(entry.module).prepare(scaled_labels, flux, settings, seed, flux_scale)
