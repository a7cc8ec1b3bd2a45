"""What labels do not explain: noise and a hidden label are found, a smooth grid and a wrong spectrum are none."""

import numpy as np
import pytest

from payneflow.grid.unexplained import LeaveOneOut, sound_spectra

N_PIXEL = 30


def lines(labels, seed=0):
    """Flux (n, N_PIXEL) of lines that scaled labels (n, 3) deepen."""
    rng = np.random.default_rng(seed)
    return 1 - rng.uniform(0.1, 0.5, N_PIXEL) * np.exp(-labels @ rng.uniform(0, 4, (3, N_PIXEL)))


def make(n=100, noise=0.0):
    """Scaled labels (n, 3) and flux (n, N_PIXEL) with normal noise."""
    rng = np.random.default_rng(n)
    labels = rng.uniform(0.1, 0.9, (n, 3))
    return labels, lines(labels) + noise * rng.normal(size=(n, N_PIXEL))


def unexplained(labels, flux, least=0.0):
    rows, lengths = sound_spectra(labels, flux)
    return LeaveOneOut(labels[rows], lengths).unexplained(flux[rows], least)


@pytest.mark.parametrize("planted", [0.003, 0.01, 0.1])
@pytest.mark.parametrize("n", [40, 160])
def test_planted_noise_is_recovered(n, planted):
    found = unexplained(*make(n, planted))
    assert np.median(found.noise) == pytest.approx(planted, rel=0.25)
    assert (found.noise > planted / 2).all() and (found.noise < planted * 2).all()
    assert (found.largest > 1.5 * planted).all() and (found.largest < 10 * planted).all()


def test_noise_of_some_pixels_is_found_in_those():
    labels, flux = make()
    flux[:, ::5] += np.random.default_rng(1).normal(0, 0.02, flux[:, ::5].shape)
    noise = unexplained(labels, flux).noise
    assert (noise[::5] > 0.012).all() and (np.delete(noise, np.s_[::5]) < 1e-3).all()


@pytest.mark.parametrize("n", [20, 40, 160])
def test_a_smooth_grid_has_no_noise_however_few_its_spectra(n):
    """Between few spectra the flux is hard to predict, which is not noise."""
    labels, flux = make(n)
    found = unexplained(labels, flux, least=1e-3)
    assert (found.noise < 2e-3).all()
    assert (found.explained > 0.3).all()


def test_a_label_that_is_missing_is_not_explained():
    labels, flux = make(160)
    hidden = unexplained(labels[:, :2], flux)
    change = np.ptp([lines(np.full((1, 3), [0.5, 0.5, one]))[0] for one in (0.1, 0.9)], axis=0)
    strong, weak = change > 0.05, change < 0.002
    assert strong.sum() > 3 and (hidden.noise[strong] > 0.01).all()
    assert (hidden.noise[weak] < 0.003).all()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_wrong_spectrum_is_no_noise(noise):
    labels, flux = make(160, noise)
    flux[50], flux[70] = 0.3, flux[71] - 0.1
    rows, _ = sound_spectra(labels, flux)
    assert not {50, 70} & set(rows.tolist()) and len(rows) >= 152, "and neighbours that they spoilt"
    found = unexplained(labels, flux)
    assert (
        np.median(found.noise) == pytest.approx(noise, rel=0.15, abs=1e-4) and (found.noise < 1.5 * noise + 1e-3).all()
    )


def test_outliers_are_no_noise():
    labels, flux = make(160, 0.01)
    rng = np.random.default_rng(7)
    flux[rng.integers(0, 160, 60), rng.integers(0, N_PIXEL, 60)] += 0.5
    found = unexplained(labels, flux)
    assert np.median(found.noise) < 0.02, "two outliers a pixel make a standard deviation of 0.06"
    assert found.largest.max() > 0.4, "they are there all the same"


def test_noise_that_all_pixels_share_makes_no_spectrum_wrong():
    labels, flux = make(160)
    flux += np.random.default_rng(1).normal(0, 0.01, (160, 1))
    assert len(sound_spectra(labels, flux)[0]) == 160


def test_labels_that_have_nothing_to_do_with_the_flux_explain_nothing():
    labels, flux = make(160)
    assert (unexplained(labels[np.random.default_rng(2).permutation(160)], flux).explained < 0.3).all()


def test_bits_of_a_pixel_do_not_depend_on_the_others():
    labels, flux = make(60, 0.003)
    flux = np.tile(flux, 20)
    flux[:, 300:] = np.random.default_rng(0).normal(size=flux[:, 300:].shape)
    leave_one_out = LeaveOneOut(labels, np.ones(3))
    together = leave_one_out.unexplained(flux, 1e-3)
    for some in ([0], [599], [7, 301], list(range(3, 560))):
        alone = LeaveOneOut(labels, np.ones(3)).unexplained(flux[:, some], 1e-3)
        for one, all_of_it in zip(alone, together, strict=True):
            assert np.array_equal(one, all_of_it[some])


def test_constant_pixels_and_repeated_labels():
    labels, flux = make(20)
    labels[1], flux[1] = labels[0], flux[0] - 0.2
    flux[:, 3] = 1.0
    found = unexplained(labels, flux)
    assert all(np.isfinite(one).all() for one in found)
    assert found.noise[3] == found.largest[3] == 0 and found.explained[3] == 1
