"""Labels that a spectrum tells on one side only, against spectra that are computed in full."""

import numpy as np
import pytest

from payneflow import PixelNetworks, fit_spectra
from payneflow.fitting import LabelFlag
from payneflow.fitting.lopsided import lopsided

N_PIXEL = 64


def lines(growth):
    """Networks of one label, whose lines grow as exp(growth * scaled label); emulators without error."""
    depth = np.random.default_rng(3).uniform(0.5, 3.0, N_PIXEL)
    return PixelNetworks(
        w_array_0=np.tile([[growth], [0.0]], (N_PIXEL, 1, 1)),
        b_array_0=np.tile([-max(growth, 0.0) - 3.0, 0.0], (N_PIXEL, 1)),
        w_array_1=np.stack([-depth, 0.0 * depth], axis=1),
        b_array_1=np.full(N_PIXEL, 0.7),
        x_min=np.zeros(1),
        x_max=np.ones(1),
        wavelength=15000.0 + np.arange(N_PIXEL),
        label_names=("label",),
        label_units=("",),
        emulator_rms=np.zeros(N_PIXEL),
    )


@pytest.mark.parametrize("growth", [6.0, -6.0])
def test_a_weak_line_may_be_weaker_still_and_a_strong_one_not(growth):
    networks = lines(growth)
    scaled = np.tile(np.linspace(0.2, 0.8, 13), 2)[:, None]
    noise = np.repeat([1e-3, 6e-3], 13)[:, None]
    fits = fit_spectra(networks, networks.predict_scaled(scaled), np.broadcast_to(noise, (26, N_PIXEL)))
    error = np.asarray(fits["label_error"])[:, None] * 0.8
    found = (np.asarray(fits["label_flags"]) & LabelFlag.LOPSIDED) > 0
    weaker = np.clip(scaled - np.sign(growth) * 5 * error, 0.1, 0.9)
    change = networks.predict_scaled(weaker) - networks.predict_scaled(scaled)
    told = np.linalg.norm(change / noise, axis=1)
    looked_at = (error > 0.05)[:, 0] & (np.abs(weaker - scaled) >= 4 * error)[:, 0]
    assert found.tolist() == (looked_at & (told < 3.5)).tolist()
    assert found[13:].any() and not found[:13].all()


def test_the_flag_says_where_errors_are_too_small():
    """Of noisy spectra of a weak line the flagged ones have pulls as no normal distribution has them, others hardly."""
    networks, noise = lines(6.0), 6e-3
    flux = networks.predict_scaled(np.full((2000, 1), 0.35))
    flux = flux + noise * np.random.default_rng(1).normal(size=flux.shape)
    fits = fit_spectra(networks, flux, noise)
    pull = (np.asarray(fits["label"]) - 0.3125) / np.asarray(fits["label_error"])  # (0.35 - 0.1) / 0.8
    found = (np.asarray(fits["label_flags"]) & LabelFlag.LOPSIDED) > 0
    assert pull.max() > 4.0 and found[pull > 4.0].all()
    assert np.abs(pull[~found]).max() < 4.0


def test_where_the_flux_is_nearly_linear_and_where_the_range_is_short_nothing_is_lopsided():
    networks = lines(0.3)
    labels, error = np.full((3, 1), 0.5), np.array([[0.06], [0.02], [0.3]])
    covariance = error[:, :, None] ** 2
    assert not lopsided(networks, labels, covariance, error, np.full(3, 1e-4)).any()
    assert not lopsided(networks, labels, 0.0 * covariance, error, np.full(3, 1e-4)).any(), "a label that is held"
