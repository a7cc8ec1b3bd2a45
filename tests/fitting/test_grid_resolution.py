"""The resolution that a grid says of its spectra, from its file to fits of stars that are less sharp."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from conftest import write_small_grid
from known_networks import line_networks

from payneflow import cli, fit_spectra, read_networks
from payneflow.errors import SettingsError
from payneflow.fitting import FitSettings, SpectralModel
from payneflow.fitting.broadening import LineBroadening, instrument_width
from payneflow.fitting.engine.shift import C_KM_S
from payneflow.fitting.moved_stars import broadened_stars

STEP = 1.4e-5  # ln(wavelength) a pixel: 4.2 km/s
OF_STARS = 12000.0
NPZ = ["--format", "npz", "--uncertainty", "flux_error"]


@pytest.fixture(scope="module")
def networks():
    """On two segments; R of their spectra rises in ln(wavelength) from 20 000 to 24 000."""
    plain = line_networks(2, 3, n_pixel=600, seed=4)
    return replace(plain, resolution_of_pixels=rising(plain.wavelength, plain.wavelength, 2e4, 2.4e4))


def rising(at, axis, first, last):
    """R at these wavelengths, linear in ln(wavelength) from `first` to `last` at the ends of an axis."""
    low, high = np.log(axis[[0, -1]])
    return first + (last - first) * (np.log(at) - low) / (high - low)


def gaussian(width, reach=40):
    """Of sigma `width` in pixels, at 2 `reach` + 1 of them; its sum is 1."""
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return kernel / kernel.sum()


def broadened_by_hand(flux, widths):
    """Flux (n_pixel,), broadened in each pixel by a Gaussian of its own width (n_pixel,) in km/s."""
    around = np.arange(-40, 41) + np.arange(len(flux))[:, None]
    kernels = np.stack([gaussian(width / (STEP * C_KM_S)) for width in widths])
    return (kernels * flux[np.clip(around, 0, len(flux) - 1)]).sum(axis=1)


def sigma_by_hand(resolution, of_grid):
    """km/s; sigma of a Gaussian is FWHM / sqrt(8 ln 2), and widths add in quadrature."""
    return np.sqrt((C_KM_S / resolution) ** 2 - (C_KM_S / of_grid) ** 2) / np.sqrt(8 * np.log(2))


# ---------------------------------------------------------------------------------------------------- two resolutions


def test_both_resolutions_are_taken_pixel_by_pixel_each_from_its_own_axis(networks):
    axis = networks.wavelength
    data = np.linspace(axis[0], axis[-1], 777)
    of_data = np.linspace(9e3, 1.4e4, 777)
    found = LineBroadening.of(networks, FitSettings(), data, of_data)
    assert found.wavelength is data
    assert found.instrument == pytest.approx(sigma_by_hand(of_data, rising(data, axis, 2e4, 2.4e4)), rel=1e-9)
    found = LineBroadening.of(networks, FitSettings(resolution=OF_STARS), data)
    assert found.wavelength is axis
    assert found.instrument == pytest.approx(sigma_by_hand(OF_STARS, networks.resolution), rel=1e-12)
    assert LineBroadening.of(networks, FitSettings()) is None
    assert LineBroadening.of(networks, FitSettings(), axis, networks.resolution) is None


def test_lines_are_broadened_by_what_they_lack_in_their_own_place(networks):
    labels = networks.scaler.unscale(np.full(2, 0.4))
    plain = SpectralModel(networks).predict(labels)
    broad = SpectralModel(networks, FitSettings(resolution=OF_STARS)).predict(labels)
    by_hand = broadened_by_hand(plain, sigma_by_hand(OF_STARS, networks.resolution))
    inner = np.isfinite(broad)
    assert inner.sum() > 400
    assert np.abs(broad - by_hand)[inner].max() < 3e-4 < 0.01 < np.abs(broad - plain)[inner].max()


def test_stars_of_a_calibration_are_broadened_alike(networks):
    flux = networks.predict(networks.scaler.unscale(np.array([[0.3, 0.6], [0.7, 0.4]])))
    broadening, none = LineBroadening.of(networks, FitSettings(resolution=OF_STARS)), np.zeros((2, 0))
    broad = broadened_stars(flux, networks.wavelength, broadening, none, "grid.npz")
    widths = sigma_by_hand(OF_STARS, networks.resolution)
    for first, stop in ((0, 200), (200, 600)):
        by_hand = [broadened_by_hand(one[first:stop], widths[first:stop]) for one in flux]
        assert broad[:, first:stop] == pytest.approx(np.array(by_hand), abs=1e-4)
    one = replace(networks, resolution_of_pixels=None, provenance={"resolution": 2e4})
    each = replace(networks, resolution_of_pixels=np.full(600, 2e4))
    same = [
        broadened_stars(flux, known.wavelength, LineBroadening.of(known, FitSettings(resolution=1e4)), none, "grid.npz")
        for known in (one, each)
    ]
    assert same[0] == pytest.approx(same[1], abs=1e-12)


# ------------------------------------------------------------------------------------------------- what is refused


def test_data_sharper_than_the_grid_are_refused_where_it_has_pixels(networks):
    axis, own = networks.wavelength, networks.resolution
    with pytest.raises(SettingsError, match=r"is 21000 in pixel 0 \(\d+ pixels are so sharp\), that of .* grid 20000"):
        LineBroadening.of(networks, FitSettings(resolution=2.1e4))
    sharp = np.where(np.arange(600) == 300, 2.5e4, own)
    with pytest.raises(
        SettingsError, match=r"25000 in pixel 300 \(1 pixels are so sharp\).*sharper data than the grid"
    ):
        LineBroadening.of(networks, FitSettings(), axis, sharp)
    beside = np.array([axis[0] * 0.999, axis[0], 0.5 * (axis[199] + axis[200]), axis[-1], axis[-1] * 1.001])
    found = LineBroadening.of(networks, FitSettings(), beside, np.array([9e4, 1e4, 9e4, 1e4, 9e4]))
    assert found.instrument == pytest.approx([0, sigma_by_hand(1e4, 2e4), 0, sigma_by_hand(1e4, 2.4e4), 0])


def test_what_the_file_says_is_not_contradicted(networks):
    with pytest.raises(
        SettingsError, match="grid_resolution is 20000, but the networks' file says 20000 to 24000: leave"
    ):
        LineBroadening.of(networks, FitSettings(resolution=1e4, grid_resolution=2e4))
    same = replace(networks, resolution_of_pixels=np.full(600, 2e4))
    found = LineBroadening.of(same, FitSettings(resolution=1e4, grid_resolution=2e4))
    assert found.instrument == pytest.approx(instrument_width(1e4, 2e4))


# -------------------------------------------------------------------------------------------------- from end to end


def grid_with_resolution(path, n_pixel=160):
    """A grid of smooth lines; its labels (40, 2), its flux, and R of its pixels, 20 000 to 24 000."""
    axis = 15000.0 * np.exp(STEP * np.arange(n_pixel))
    unit = np.random.default_rng(3).uniform(0.0, 1.0, (40, 2))
    centres, strengths = np.arange(6.0, n_pixel, 14.0), np.random.default_rng(4).uniform(0.1, 0.4, (2, 12))
    lines = np.exp(-0.5 * ((np.arange(n_pixel)[:, None] - centres) / 2.5) ** 2)
    depth = (unit[:, :1] * strengths[0, : len(centres)] + np.exp(-unit[:, 1:]) * strengths[1, : len(centres)]) / 1.5
    flux, own = 1.0 - depth @ lines.T, np.linspace(2e4, 2.4e4, n_pixel)
    arrays = {"wavelength": axis, "labels_array": unit.T * [[2.0], [3.0]], "resolution": own, "Y_u_all": flux}
    write_small_grid(path, **arrays, label_names=np.array(["A", "B"]), label_units=np.array(["dex", "dex"]))
    return unit * [2.0, 3.0], flux, own


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory with a grid, its networks, and stars of it at a resolution of 12 000, broadened by hand."""
    path = tmp_path_factory.mktemp("resolution")
    labels, flux, own = grid_with_resolution(path / "grid.npz")
    split = ["split", f"{path}/grid.npz", "--chunk-size", "60", "--output", f"{path}/chunks", "--n-neurons", "3"]
    assert cli.main(split) == 0
    chunks = sorted(path.glob("chunks/*.npz"))
    for chunk in chunks:
        assert cli.main(["train", str(chunk), "--output", f"{path}/trained/{chunk.name}"]) == 0
    paths = [f"{path}/trained/{chunk.name}" for chunk in chunks]
    assert cli.main(["gather", *paths, "--network", f"{path}/networks.npz", "--record", f"{path}/record.ecsv"]) == 0
    stars = [broadened_by_hand(one, sigma_by_hand(OF_STARS, own)) for one in flux[1::2]]
    wavelength = np.load(path / "grid.npz")["wavelength"]
    np.savez(path / "stars.npz", wavelength=wavelength, flux=stars, flux_error=np.full((20, 160), 2e-3))
    return path, labels[1::2], np.array(stars), own


def fitted(path, *options):
    given = [f"{path}/stars.npz", *NPZ, "--output", f"{path}/fits", *options]
    assert cli.main(["fit", f"{path}/networks.npz", *given]) == 0
    return Table.read(path / "fits.ecsv")


def test_networks_of_the_grid_know_how_sharp_their_lines_are(trained):
    path, labels, flux, own = trained
    networks = read_networks(path / "networks.npz")
    assert np.array_equal(networks.resolution, own)
    model = SpectralModel(networks, FitSettings(resolution=OF_STARS)).predict(labels)
    assert np.isfinite(model).sum(axis=1).min() > 100
    assert (
        np.nanmax(np.abs(model - flux))
        < 2e-3
        < 0.01
        < np.nanmax(np.abs(SpectralModel(networks).predict(labels) - flux))
    )


def test_from_the_grid_to_the_labels_of_stars_that_are_less_sharp(trained, capsys):
    path, labels, flux, _ = trained
    assert cli.main(["check", f"{path}/grid.npz"]) == 0
    assert "resolution  R = 20000 ... 24000, which differs along the axis" in capsys.readouterr().out
    networks = read_networks(path / "networks.npz")
    fits, wrong = fitted(path, "--resolution", "12000"), fitted(path)
    for j, name in enumerate(("A", "B")):
        assert np.abs(np.asarray(fits[name]) - labels[:, j]).max() < 0.03
        assert np.abs(np.asarray(wrong[name]) - labels[:, j]).max() > 0.1
    assert np.max(fits["chi2"] / fits["dof"]) < 0.5 < 5 < np.median(wrong["chi2"] / wrong["dof"])
    in_python = fit_spectra(networks, flux, np.full(flux.shape, 2e-3), resolution=np.full(160, OF_STARS))
    assert np.abs(np.asarray(in_python["A"] - fits["A"])).max() < 1e-3


def test_it_is_asked_for_where_the_grid_does_not_say_it(trained, capsys):
    path = trained[0]
    silent = replace(read_networks(path / "networks.npz"), resolution_of_pixels=None)
    silent.write(path / "silent.npz")
    given = [f"{path}/stars.npz", *NPZ, "--output", f"{path}/fits", "--resolution", "12000"]
    assert cli.main(["fit", f"{path}/silent.npz", *given]) == 2
    assert "is not known: their file does not say it" in capsys.readouterr().err
    assert cli.main(["fit", f"{path}/networks.npz", *given, "--grid-resolution", "22500"]) == 2
    assert "the networks' file says 20000 to 24000: leave it out" in capsys.readouterr().err
