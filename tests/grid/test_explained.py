"""What `payneflow check` says of how far labels explain flux: noise, a hidden label, nothing, or not a word."""

import numpy as np
import pytest
from conftest import write_small_grid

from payneflow.errors import GridError
from payneflow.grid import read_grid
from payneflow.grid.explained import measure_explained, said_of
from payneflow.grid.sample import Sample
from payneflow.grid.summary import summarise, summary_text

N = 160  # spectra, half of which train


def with_flux(path, change):
    """A clean grid whose flux (N, 40) `change` has changed, checked."""
    with np.load(write_small_grid(path, N, 40)) as stored:
        arrays = dict(stored)
    flux = arrays["Y_u_all"].astype(float)
    np.savez(path, **{**arrays, "Y_u_all": change(flux)})
    return read_grid(path)


def said(grid) -> str:
    return said_of(measure_explained(grid, Sample.of(grid)))


def noise(flux):
    return np.random.default_rng(3).normal(size=flux.shape)


def test_of_a_clean_grid_nothing_is_said(small_grid, tmp_path):
    summary = summarise(with_flux(tmp_path / "clean.npz", lambda flux: flux))
    assert summary["warnings"] == [] and "warning" not in summary_text(summary)
    assert summary["explained"]["share_above"] == 0 and summary["explained"]["worst"] == []
    assert summary["explained"]["n_spectrum"] >= 76 and summary["explained"]["n_pixel"] == 40
    few = summarise(read_grid(small_grid))
    assert few["explained"] == {} and few["warnings"] == [], "12 spectra tell nothing"


def test_noise_is_said_with_its_size_and_the_worst_wavelengths(tmp_path):
    size = np.where(np.arange(40) == 17, 0.04, 0.008)
    summary = summarise(with_flux(tmp_path / "grid.npz", lambda flux: flux + size * noise(flux)))
    (said,) = summary["warnings"]
    assert said.startswith(("these labels explain flux to 0.7 % only", "these labels explain flux to 0.8 % only"))
    assert "vsini" in said and "Worst: 15003.40 A (" in said
    assert summary["explained"]["noise_median"] == pytest.approx(0.008, rel=0.2)
    assert summary["explained"]["worst"][0]["noise"] == pytest.approx(0.04, rel=0.4)
    assert f"warning     {said}" in summary_text(summary)


def test_noise_of_some_pixels_is_said_to_be_in_those(tmp_path):
    grid = with_flux(tmp_path / "grid.npz", lambda flux: flux + 0.02 * noise(flux) * (np.arange(40) % 8 == 0))
    assert said(grid).startswith("in 12 % of the pixels these labels explain flux to")


def test_a_label_that_the_grid_lacks_is_told(tmp_path):
    path = write_small_grid(tmp_path / "grid.npz", N, 40)
    with np.load(path) as stored:
        arrays = dict(stored)
    for key in ("labels_array", "label_names", "label_units"):
        arrays[key] = arrays[key][:2]
    np.savez(path, **arrays)
    assert "a label that is missing" in said(read_grid(path))


def test_one_wrong_spectrum_is_not_said_to_be_noise(tmp_path):
    def spoil(flux):
        flux[20] = 0.5 * flux[20] + 0.2
        return flux

    assert said(with_flux(tmp_path / "grid.npz", spoil)) == ""


def test_labels_in_another_order_than_the_spectra_are_refused(tmp_path):
    path = write_small_grid(tmp_path / "grid.npz", 240, 40)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, "Y_u_all": arrays["Y_u_all"][np.random.default_rng(1).permutation(240)]})
    with pytest.raises(GridError, match=r"grid\.npz: the labels explain nothing of the flux.*same order"):
        summarise(read_grid(path))
