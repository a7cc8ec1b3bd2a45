"""The one reader of config.yaml: typed settings, or one message with all that is wrong and what was meant."""

import copy
import re
from contextlib import nullcontext

import h5py
import numpy as np
import pytest
import yaml
from astropy.table import Table
from conftest import ROOT, write_small_grid

from payneflow.errors import SettingsError
from payneflow.fitting import FitSettings
from payneflow.grid import GridKeys, GridReading
from payneflow.run.config import Config, FitConfig, check_config, check_labels, refuse_names_given_twice
from payneflow.settings import LmSettings, SgdSettings, TheanoSettings

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def with_(**settings):
    """The repository's config.yaml with other settings; those of a section beside its others."""
    config = copy.deepcopy(CONFIG)
    for name, value in settings.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    return config


def test_the_config_of_the_repository_holds_the_declared_defaults_in_their_order():
    assert check_config(CONFIG) == Config()
    assert check_config(CONFIG).fit == FitConfig()


def test_text_that_means_a_number_is_one():
    sgd = {"eta": "5e-2", "num_epochs": "300"}
    fit = {"velocity": "true", "fixed": {"logg": "2.5"}, "priors": {"Teff": ["5000", "100"]}}
    config = check_config(with_(trainer="theano", chunk_size="7", sgd=sgd, fit=fit))
    assert config.settings == TheanoSettings(eta=0.05, num_epochs=300) and config.chunk_size == 7
    assert config.trainers.sgd == SgdSettings(eta=0.05, num_epochs=300) and config.trainers.lm == LmSettings()
    assert config.fit.settings.fixed == {"logg": 2.5} and config.fit.settings.velocity is True
    assert config.fit.settings.priors == {"Teff": (5000.0, 100.0)}


def test_grid_and_results_may_be_at_home_and_spectra_one_text(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    config = check_config(with_(grid="~/a {x}.npz", results="~/out", fit={"spectra": "@~/list.txt"}))
    assert (config.grid, config.results) == ("/home/ann/a {x}.npz", "/home/ann/out")
    assert config.fit.spectra == "@~/list.txt", "find_files knows where that is"
    assert check_config(with_(fit={"spectra": ["a", "b"]})).fit.spectra == ("a", "b")
    for wrong in ("", 3, [""], [3], {"a": "b"}):
        with pytest.raises(SettingsError, match="fit.spectra is .* expected a list of files and patterns, or @ and a"):
            check_config(with_(fit={"spectra": wrong}))


def test_all_that_is_wrong_is_said_at_once():
    wrong = with_(
        chunk_size=0, trainer="adam", seed=True, sgd={"eta": "fast"}, fit={"start": "end", "n_starts": 0}, lm=3, zzz=1
    )
    wrong["fit"]["layout"] = {**wrong["fit"]["layout"], "mask_bits": [64]}
    wrong["chunksize"] = 3
    del wrong["ranks"]
    with pytest.raises(SettingsError) as raised:
        check_config(wrong)
    said = str(raised.value)
    for line in (
        "chunk_size is 0, expected a whole number of at least 1, or auto. Meant is: Pixels that one job trains",
        "trainer is 'adam', expected one of: lm, sgd, theano.",
        "seed is True, expected a whole number of at least 0.",
        "sgd.eta is 'fast', expected a positive number. Meant is: first step size.",
        "fit.start is 'end', expected one of: estimate, middle, truth.",
        "fit.n_starts is 0, expected a whole number from 1 to 1000.",
        "fit.layout.mask_bits is (64,), expected whole numbers from 0 to 62.",
        "lm is 3, expected a section with its settings.",
        "chunksize: no such setting; did you mean chunk_size?",
        "zzz: no such setting; expected grid, ",
        "ranks: missing.",
    ):
        assert line in said, line


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pixels": 6602}, "pixels is 6602, expected text. YAML reads an unquoted 1:50:2 as a number in base 60"),
        ({"sgd": {"min_eta": 0.2}}, "sgd.min_eta is 0.2, expected less than eta (0.1)"),
        ({"fit": {"spectra": ["a.npz"], "start": "truth"}}, "fit.start is truth, but the true labels of observed"),
        ({"fit": {"fixed": {"a": 1}, "priors": {"a": [1, 2]}}}, "fit.fixed and priors both name a"),
        ({"fit": {"priors": {"Teff": [1, 0]}}}, "fit.priors Teff is (1, 0), expected a pair"),
        ({"lm": {"n_neuron": 3}}, "lm.n_neuron: no such setting; did you mean n_neurons?"),
    ],
)
def test_a_wrong_setting_is_named_with_its_section(settings, says):
    with pytest.raises(SettingsError) as raised:
        check_config(with_(**settings))
    assert says in str(raised.value)


def test_settings_are_judged_together_and_not_beside_the_defaults_of_others():
    assert check_config(with_(sgd={"eta": 0.5, "min_eta": 0.2})).trainers.sgd == SgdSettings(eta=0.5, min_eta=0.2)


def test_a_velocity_is_refused_before_training_where_the_axis_cannot_be_shifted(tmp_path):
    path = write_small_grid(tmp_path / "grid.npz", n_pixel=30)
    taken = path, GridKeys(), GridReading(), 0
    check_labels(FitSettings(velocity=True), *taken)
    with np.load(path) as arrays:
        nearly_twice = 15000.0 + np.repeat(2.0 * np.arange(10), 3) + np.tile([0.0, 1.0, 1.0001], 10)
        np.savez(path, **{**arrays, "wavelength": nearly_twice})
    check_labels(FitSettings(), *taken)
    with pytest.raises(
        SettingsError, match=r"fit\.velocity is true, but the steps of wavelength in .*grid\.npz differ"
    ):
        check_labels(FitSettings(velocity=True), *taken)


@pytest.mark.parametrize(
    ("stored", "resolution", "grid_resolution", "says"),
    [
        (None, 1e4, 0.0, r"one the spectra of .*grid\.npz were made is not known: it has no array 'resolution'"),
        (2e4, 3e4, 0.0, r"fit\.resolution is 30000, that of .*grid\.npz 20000: sharper data than the grid"),
        (2e4, 1e4, 3e4, r"grid_resolution is 30000, but resolution of .*grid\.npz says 20000: leave it out"),
        (np.linspace(2e4, 3e4, 300), 1e4, 2e4, "says 20000 to 30000: leave it out"),
        (np.linspace(2e4, 3e4, 300), 2.1e4, 0.0, "resolution is 21000, that of .* 20000"),
        (np.linspace(2e4, 3e4, 300), 1e4, 0.0, ""),
        (2e4, 2e4, 0.0, ""),
        (2e4, 1e4, 2e4, ""),
        (None, 1e4, 2e4, ""),
    ],
)
def test_a_resolution_that_fits_would_refuse_is_refused_before_training(
    tmp_path, stored, resolution, grid_resolution, says
):
    shape = np.exp(-0.5 * ((np.arange(300)[:, None] - np.arange(5, 300, 20)) / 4.0) ** 2).sum(axis=1)
    flux = 1.0 - np.random.default_rng(2).uniform(0.05, 0.15, (24, 1)) * shape
    arrays = {"Y_u_all": flux.astype(np.float32)} | ({} if stored is None else {"resolution": stored})
    path = write_small_grid(tmp_path / "grid.npz", n_pixel=300, **arrays)
    fit = FitSettings(resolution=resolution, grid_resolution=grid_resolution)
    with pytest.raises(SettingsError, match=says) if says else nullcontext():
        check_labels(fit, path, GridKeys(), GridReading(), 0)


@pytest.mark.parametrize("form", ["npz", "compressed", "hdf5"])
def test_a_velocity_is_refused_before_training_where_the_pixels_do_not_sample_the_lines(tmp_path, form):
    pixel, lines = np.arange(300), np.random.default_rng(1).uniform(0, 300, 60)
    shape = np.exp(-0.5 * ((pixel[:, None] - lines) / 1.7) ** 2).sum(axis=1)
    flux = 1.0 - np.random.default_rng(2).uniform(0.05, 0.15, (24, 1)) * shape
    path = write_small_grid(tmp_path / "grid.npz", n_pixel=300, Y_u_all=flux.astype(np.float32))
    with np.load(path) as stored:
        arrays = dict(stored)
    if form == "compressed":
        np.savez_compressed(path, **arrays)
    elif form == "hdf5":
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array.tolist() if array.dtype.kind == "U" else array
    taken, wanted = (path, GridKeys(), GridReading(), 0), FitSettings(velocity=True)
    check_labels(wanted, *taken)
    check_labels(wanted, *taken, "100:200")
    check_labels(FitSettings(), *taken, "::4")
    said = r"the pixels '::4' of .*grid\.npz are too far apart for their lines: .* pixels: \"::\", or set velocity"
    with pytest.raises(SettingsError, match=said):
        check_labels(wanted, *taken, "::4")
    with np.load(write_small_grid(tmp_path / "coarse.npz", n_pixel=100)) as stored:
        np.savez(path, **stored)
    with pytest.raises(SettingsError, match=r"the pixels of .* Use a finer grid, or set velocity: false"):
        check_labels(wanted, *taken)


def test_a_name_that_a_file_gives_twice_is_refused_though_snakemake_has_read_it(tmp_path):
    good, yaml_file, json_file = (tmp_path / name for name in ("good.yaml", "bad.yaml", "bad.json"))
    good.write_text("seed: 1\nfit: {seed: 2}\n")
    yaml_file.write_text("seed: 1\nlm:\n  n_neurons: 3\n  n_neurons: 4\n")
    json_file.write_text('{\n\t"seed": 1,\n\t"lm": {"n_neurons": 3, "n_neurons": 4}}')
    refuse_names_given_twice([good])
    with pytest.raises(SettingsError, match=r"bad.yaml: .*line 4 gives 'n_neurons' a second time"):
        refuse_names_given_twice([str(good), str(yaml_file)])
    with pytest.raises(SettingsError, match=r"bad.json: gives 'n_neurons' a second time"):
        refuse_names_given_twice([json_file])
    json_file.write_text('{\n\t"seed": 1}')  # which is no YAML
    refuse_names_given_twice([json_file])


def test_how_a_grid_is_taken_is_checked():
    assert check_config(with_(split="held_out", grid_medium="air")).reading == GridReading(
        "held_out", "published", "air"
    )
    with pytest.raises(SettingsError, match="grid_medium is 'Air', expected one of: vacuum, air"):
        check_config(with_(grid_medium="Air"))
    with pytest.raises(SettingsError, match="flux_scale is 1.4, expected one of: published, grid"):
        check_config(with_(flux_scale=1.4))


def test_windows_are_read_beside_the_config_and_held_against_the_grid(tmp_path):
    grid = write_small_grid(tmp_path / "grid.npz")
    wavelength = np.load(grid)["wavelength"]
    name = str(np.load(grid)["label_names"][0])

    def checked(label, start, end, pixels="::"):
        columns = {"label": [label], "start": [start], "end": [end], "use": ["only"], "frame": ["star"]}
        Table(columns).write(tmp_path / "windows.ecsv", overwrite=True)
        fit = check_config(with_(fit={"windows": "windows.ecsv"})).fit.with_windows(tmp_path)
        check_labels(fit, grid, GridKeys(), GridReading(), 0, pixels)
        return fit.windows

    first = float(wavelength[0])
    assert checked(name, first - 1.0, first + 1.0)[0].label == name
    with pytest.raises(SettingsError, match="fit.windows name the label 'nobody'"):
        checked("nobody", first - 1.0, first + 1.0)
    with pytest.raises(SettingsError, match="fit.windows: the window .* holds no pixel"):
        checked(name, 1.0, 2.0)
    with pytest.raises(SettingsError, match="holds no pixel"):
        checked(name, first - 1.0, float(wavelength[1]), "5:")
    with pytest.raises(SettingsError, match="nowhere.ecsv: no such file"):
        check_config(with_(fit={"windows": "nowhere.ecsv"})).fit.with_windows(tmp_path)
    assert check_config(with_(fit={"windows": "~/a"})).fit.windows.endswith("/a")
    assert check_config(CONFIG).fit.with_windows() == FitSettings()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spectra": []}, "pieces is common, but spectra is []"),
        ({"velocity": False, "pieces": "each"}, "pieces is each, but velocity is false"),
        ({"start": "middle"}, "pieces is common, but start is middle"),
        ({"windows": "windows.ecsv"}, "pieces is common, but windows are set"),
        ({"pieces": "none"}, "layout.barycentric is set, but pieces is none"),
        ({"pieces": "visits"}, "fit.pieces is 'visits', expected"),
    ],
)
def test_stars_in_pieces_are_refused_before_training_where_they_cannot_be_fitted(change, says):
    layout = {**CONFIG["fit"]["layout"], "barycentric": "bary"}
    fit = {**CONFIG["fit"], "spectra": ["*.npz"], "layout": layout, "pieces": "common", "velocity": True}
    assert check_config({**CONFIG, "fit": fit}).fit.pieces == "common"
    with pytest.raises(SettingsError, match=re.escape(says)):
        check_config({**CONFIG, "fit": {**fit, **change}})
