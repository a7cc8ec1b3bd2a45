"""What a label may be called, and what its columns are called in a FITS file."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from known_networks import line_networks

from payneflow import fit_spectra, read_networks
from payneflow.errors import SettingsError
from payneflow.fitting import FitSettings, add_true_labels
from payneflow.fitting.many import fit_batches
from payneflow.fitting.results import read_results, write_results
from payneflow.label_names import COLUMNS, PERCENTILES, ascii_columns, problems_of_names
from payneflow.spectra import Spectra

STRANGE = ("[α/Fe]", "星 = 'x' \"y\"", "#first", "e\u0301", "É", "-v sin i", "$\\foo$", "{a}; b: <c>", "[α-Fe]", "⊙")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["Teff", "RV"], "column 'RV'"),
        (["snr", "Teff"], "column 'SNR'"),
        (["Flags"], "column 'flags'"),
        (["chi2"], "'chi2'"),
        (["n_pixel"], "'n_pixel'"),
        (["ｐath"], "'path'"),
        (["logg", "Teff", "logg_error"], "column of 'logg' that holds its error"),
        (["Teff", "teff_flags"], "column of 'Teff' that holds its flags"),
        (["Teff_p97_5", "Teff"], "column of 'Teff' that holds its percentiles"),
        (["TEFF_TRUE", "Teff"], "column of 'Teff' that holds its truth"),
        (["\u00e9", "e\u0301"], "reads as that of label 0"),
        (["log\ng"], "line break"),
        (["a\u200b"], "cannot be printed"),
    ],
)
def test_names_that_cannot_be_those_of_labels(names, said):
    ((_, problem),) = problems_of_names(names)
    assert said in problem


def test_all_other_names_are_those_of_labels():
    assert not list(problems_of_names([*STRANGE, "Teff", "teff", "error", "_error", "SNR band", "RVs", "covariances"]))


def test_columns_are_all_that_a_table_of_fits_has():
    networks = line_networks(2, 3, n_pixel=200, seed=1)
    flux = networks.predict(networks.scaler.unscale(np.full((1, 2), 0.5)))
    own = {f"{name}{ending}" for name in networks.label_names for ending in ("", "_error", "_flags")}
    wanted = FitSettings(velocity=True, continuum=2, max_velocity=50.0)
    fits = fit_spectra(networks, flux, 0.01, settings=wanted, identifier=np.array(["star"]))
    text = np.array(["x"])
    batch = Spectra(text, networks.wavelength, flux, np.full(flux.shape, 0.01), text, np.array([""]), True, {})
    batches = fit_batches(networks, [batch], wanted)
    of_stars = {"n_piece", "n_fitted", "RV_scatter", "RV_chance"}  # that are in pieces, see test_stars.py
    of_posteriors = {"posterior_ess", "posterior_sampled", *(f"RV{ending}" for ending in PERCENTILES)}
    of_test_spectra = {"chi2_noiseless", "flags_noiseless"}  # with noise, see test_noise.py
    of_others = {"spectrum"} | of_stars | of_posteriors | of_test_spectra
    assert ({*fits.colnames, *batches.colnames} - own) | of_others == set(COLUMNS)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=80), max_size=6))
def test_fits_can_hold_every_name(names):
    names = [name for name in dict.fromkeys(names) if name not in COLUMNS]  # which no label may be called
    columns = ascii_columns([*names, *COLUMNS])
    assert columns[-len(COLUMNS) :] == list(COLUMNS) or not any(map(str.isascii, names))
    assert len({name.casefold() for name in columns}) == len(columns)
    assert all(name.isascii() and name.isprintable() and 0 < len(name) <= 68 for name in columns)


def test_what_names_become_in_fits():
    assert ascii_columns(["[α/Fe]", "Ω_error", "é", "星"]) == ["alpha_Fe", "Omega_error", "e", "u661f"]
    assert ascii_columns(["[SNR]", "[α]", "alpha", "SNR"]) == ["SNR_2", "alpha", "alpha_2", "SNR"]


# each beside the one that is most like it
PAIRS = {
    ("[α/Fe]", "[α-Fe]"): ("dex", "Å"),
    ("e\u0301", "É"): ("°C", "μm"),
    ("星 = 'x' \"y\"", "-v sin i"): ("log(g)", "km/s"),
    ("#first", "$\\foo$"): ("%", "weird €"),
    ("{a}; b: <c>", "⊙"): ('a"b', ""),
}


@pytest.mark.parametrize(("names", "units"), PAIRS.items())
def test_strange_names_go_from_a_network_file_to_tables(tmp_path, names, units):
    assert {name for pair in PAIRS for name in pair} == set(STRANGE)
    networks = line_networks(2, 3, n_pixel=400, seed=4)
    replace(networks, label_names=names, label_units=units).write(tmp_path / "networks.npz")
    networks = read_networks(tmp_path / "networks.npz")
    assert networks.label_names == names and networks.label_units == units
    labels = networks.scaler.unscale(np.full((2, 2), 0.4))
    wanted = FitSettings(fixed={names[1]: None})
    fits = fit_spectra(networks, networks.predict(labels), 0.01, settings=wanted, start=labels)
    add_true_labels(fits, networks, labels, np.arange(2))
    write_results(fits, tmp_path / "fits")
    text, binary = read_results(tmp_path / "fits.ecsv"), Table.read(tmp_path / "fits.fits")
    assert text.colnames == fits.colnames and text.meta["label_names"] == list(names)
    assert len(binary.colnames) == len(fits.colnames)
    for name, column in zip(fits.colnames, binary.colnames, strict=True):
        if fits[name].dtype.kind == "U":
            assert list(binary[column].astype(str)) == list(text[name]) == list(fits[name])
            continue
        assert np.allclose(binary[column], fits[name], equal_nan=True) and np.allclose(text[name], fits[name])


def test_networks_of_old_whose_labels_clash_are_not_fitted_with():
    networks = replace(line_networks(2, 3, n_pixel=60, seed=1), label_names=("Teff", "SNR"))
    with pytest.raises(SettingsError, match=r"label 'SNR', as is the column 'SNR'.*replace\(networks, label_names="):
        fit_spectra(networks, np.ones((1, 60)), 0.01)
