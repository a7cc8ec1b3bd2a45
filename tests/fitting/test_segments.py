"""Detector segments are those of the networks' axis: pixels that are not there make no gap."""

import numpy as np
import pytest
from known_networks import line_networks

from payneflow.fitting import FitSettings, SpectralModel, fit_spectra
from payneflow.wavelength import segments, segments_by

CONTINUUM = FitSettings(continuum=4)
MOVED = FitSettings(velocity=True, continuum=4, max_velocity=60.0)  # as in the README: one kernel for both


@pytest.fixture(scope="module")
def networks():
    return line_networks(3, 10, n_pixel=300, seed=4)


@pytest.mark.parametrize("holes", [[], [(20, 40)], [(120, 150), (200, 201)], [(0, 30)], [(290, 300)], [(90, 115)]])
def test_missing_pixels_change_no_segment(networks, holes):
    axis = networks.wavelength
    there = np.ones(len(axis), dtype=bool)
    for first, stop in holes:
        there[first:stop] = False
    first_segment, second = segments_by(axis, axis[there])
    assert segments_by(axis, axis) == segments(axis) == [(0, 100), (100, 300)]
    assert first_segment == (0, there[:100].sum()) and second == (there[:100].sum(), there.sum())


def test_an_axis_on_one_side_of_a_gap_is_one_segment(networks):
    assert segments_by(networks.wavelength, networks.wavelength[110:]) == [(0, 190)]


def test_a_spectrum_without_some_pixels_is_fitted_as_one_that_has_them_masked(networks):
    rng = np.random.default_rng(3)
    labels = networks.scaler.unscale(rng.uniform(0.3, 0.7, (6, 3)))
    wavelength, level = networks.wavelength, np.linspace(0.8, 1.3, 300)
    flux = level * (networks.predict(labels) + rng.normal(0, 0.003, (6, 300)))
    there = np.ones(300, dtype=bool)
    there[180:210] = False
    settings = {"settings": MOVED, "start": labels}
    masked = fit_spectra(networks, flux, np.where(there, 0.003 * level, np.inf), wavelength, **settings)
    dropped = fit_spectra(networks, flux[:, there], (0.003 * level)[there], wavelength[there], **settings)
    assert np.array_equal(masked["dof"], dropped["dof"])
    assert (masked["dof"] == masked["n_pixel"] - 3 - 1 - 2 * 4).all(), "four terms in each of two segments"
    for name in ("label0", "label1", "label2", "RV"):
        assert dropped[name] == pytest.approx(masked[name], abs=1e-3 * masked[f"{name}_error"].max())
    likelihoods = [
        SpectralModel(networks, CONTINUUM, wavelength[kept]).log_likelihood(labels, flux[:, kept], error[kept])
        for kept, error in ((slice(None), np.where(there, 0.003 * level, np.inf)), (there, 0.003 * level))
    ]
    assert likelihoods[0] == pytest.approx(likelihoods[1], rel=1e-9)
