"""How the Levenberg-Marquardt trainer is made, and what it prepares once per grid: virtual spectra and templates."""

from dataclasses import replace

import numpy as np

from payneflow.scaling import FluxScale
from payneflow.settings import LmSettings, has_many_labels
from payneflow.training.lanes import PixelTask, Trainer, flux_to_learn, train_pixels
from payneflow.training.lm.floor import find_floor
from payneflow.training.lm.limits import TEMPLATE_DAMPING, TEMPLATE_ITERATIONS, TEMPLATE_STARTS
from payneflow.training.lm.preparation import Preparation
from payneflow.training.lm.templates import Templates, make_templates, template_pixels
from payneflow.training.lm.trainer import LmTrainer
from payneflow.training.lm.virtual_spectra import make_virtual_spectra
from payneflow.training.policy import PixelProgress, Policy, StartsPolicy


def make(
    scaled_labels: np.ndarray, preparation: Preparation, settings: LmSettings, seed: int
) -> tuple[Trainer, Policy]:
    """The trainer and its policy. `scaled_labels`: (n_training, n_label)."""
    settings = settings.for_labels(scaled_labels.shape[1])
    if len(preparation.templates) < settings.n_starts:  # some first trials, or all, start from a random network
        settings = settings.from_random_networks()
    return LmTrainer(scaled_labels, preparation, settings, seed), StartsPolicy(settings)


def prepare(
    scaled_labels: np.ndarray, flux: np.ndarray, settings: LmSettings, seed: int, flux_scale: FluxScale
) -> Preparation:
    """Virtual spectra, the floor, and templates, trained here; see `payneflow.training.trainers.prepare`."""
    n_label = scaled_labels.shape[1]
    many, settings = has_many_labels(n_label), settings.for_labels(n_label)
    floor = find_floor(scaled_labels, flux, settings.trunc_diff, flux_scale, tells_relevance=many)
    virtual = make_virtual_spectra(scaled_labels, flux, seed, None if settings.virtual_weight else 0, flux_scale)
    note = (
        f"{virtual.note}; the relevance of {n_label} labels for each pixel" if floor.tells_relevance else virtual.note
    )
    alone = Preparation(virtual, Templates.none(n_label), note, floor)
    pixels = template_pixels(flux.shape[1])
    if many or not len(pixels):
        return alone
    careful = replace(settings, n_starts=TEMPLATE_STARTS, max_iterations=TEMPLATE_ITERATIONS, damping=TEMPLATE_DAMPING)
    trainer, policy = make(scaled_labels, alone, careful, seed)
    template_flux = np.asarray(flux[:, pixels])
    floors = floor.of(template_flux[floor.rows])
    template_flux = flux_scale.share(template_flux)
    to_learn = flux_to_learn(template_flux, virtual.flux(template_flux, floors.nugget))
    tasks = [
        PixelTask(int(pixel), to_learn[i], PixelProgress(), floors.noise[i], floors.deviation[i])
        for i, pixel in enumerate(pixels)
    ]
    for _ in train_pixels(trainer, policy, tasks):
        pass
    weights = [task.progress.best_weights for task in tasks if task.progress.best_weights is not None]
    if not weights:
        return alone
    templates = make_templates(np.array(weights), n_label)
    note = f"{virtual.note}; {len(templates)} templates"
    n_noisy = int((floors.noise > 0).sum())
    if n_noisy:
        note += f"; a floor of noise in {n_noisy} of the {len(pixels)} pixels of the templates"
    return Preparation(virtual, templates, note, floor)
