"""The trainers there are, by name: what each prepares once per grid, and what trains pixels under which policy."""

from dataclasses import replace

import numpy as np

from payneflow.scaling import PUBLISHED_FLUX, FluxScale, scale_flux
from payneflow.settings import LmSettings, SgdSettings, TheanoSettings
from payneflow.training.lanes import PixelTask, Trainer, train_pixels
from payneflow.training.lm.limits import TEMPLATE_DAMPING, TEMPLATE_ITERATIONS, TEMPLATE_STARTS
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.templates import Templates, make_templates, template_pixels
from payneflow.training.lm.trainer import LmTrainer
from payneflow.training.lm.virtual_spectra import make_virtual_spectra
from payneflow.training.policy import PixelProgress, Policy, PublishedPolicy, StartsPolicy
from payneflow.training.sgd import SgdTrainer
from payneflow.training.theano import TheanoTrainer


def make_trainer(
    scaled_labels: np.ndarray, preparation: Preparation, settings: LmSettings | SgdSettings, seed: int
) -> tuple[Trainer, Policy]:
    """The trainer that `settings` are for, and its policy. `scaled_labels`: (n_training, n_label)."""
    if isinstance(settings, TheanoSettings):
        return TheanoTrainer(scaled_labels, settings, seed), PublishedPolicy(settings)
    if isinstance(settings, SgdSettings):
        return SgdTrainer(scaled_labels, settings, seed), PublishedPolicy(settings)
    if len(preparation.templates) < settings.n_starts:  # some first trials, or all, start from a random network
        settings = settings.from_random_networks()
    return LmTrainer(scaled_labels, preparation, settings, seed), StartsPolicy(settings)


def prepare(
    scaled_labels: np.ndarray,
    flux: np.ndarray,
    settings: LmSettings | SgdSettings,
    seed: int,
    flux_scale: FluxScale = PUBLISHED_FLUX,
) -> Preparation:
    """What the trainer of `settings` draws from the whole training set.

    `scaled_labels`: (n_training, n_label); `flux`: (n_training, n_pixel), on `flux_scale`, of all pixels, in memory or
    in a file: only a sample of spectra and pixels, and the pixels of the templates, are read.
    """
    if isinstance(settings, SgdSettings):
        return Preparation.nothing(*scaled_labels.shape)
    virtual = make_virtual_spectra(scaled_labels, flux, seed, None if settings.virtual_weight else 0, flux_scale)
    alone = Preparation(virtual, Templates.none(scaled_labels.shape[1]), virtual.note)
    pixels = template_pixels(flux.shape[1])
    if not len(pixels):
        return alone
    careful = replace(settings, n_starts=TEMPLATE_STARTS, max_iterations=TEMPLATE_ITERATIONS, damping=TEMPLATE_DAMPING)
    trainer, policy = make_trainer(scaled_labels, alone, careful, seed)
    template_flux = flux_scale.share(flux[:, pixels])
    to_learn = flux_to_learn(template_flux, virtual.flux(template_flux))
    tasks = [PixelTask(int(pixel), to_learn[i], PixelProgress()) for i, pixel in enumerate(pixels)]
    for _ in train_pixels(trainer, policy, tasks):
        pass
    weights = [task.progress.best_weights for task in tasks if task.progress.best_weights is not None]
    if not weights:
        return alone
    templates = make_templates(np.array(weights), scaled_labels.shape[1])
    return Preparation(virtual, templates, f"{virtual.note}; {len(templates)} templates")


def flux_to_learn(training_flux: np.ndarray, virtual_flux: np.ndarray) -> np.ndarray:
    """Scaled flux (n_pixel, n_training + n_virtual) of training flux (n_training, n_pixel) and virtual flux.

    Both are shares of the flux scale, which normalised flux is itself.
    """
    return np.ascontiguousarray(scale_flux(np.concatenate([training_flux, virtual_flux])).T)
