"""The Python of the workflow's rules, without Snakemake."""

import argparse
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.table import Table
from conftest import ROOT, write_small_grid

from payneflow import figures
from payneflow.cli import fit_options
from payneflow.errors import PayneflowError, SettingsError
from payneflow.files import read_list, sha256_of, write_list
from payneflow.fitting import FitSettings, Window, read_windows
from payneflow.run import fits, workflow
from payneflow.run.known import write_digest
from payneflow.run.verify import PLAN, Finding, Plan, State
from payneflow.spectra.shards import Shard

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def test_every_figure_has_its_module_and_every_one_of_the_report_a_caption():
    files = {path.stem for path in (ROOT / "src/payneflow/figures").glob("*.py") if "\ndef plot_" in path.read_text()}
    assert set(figures.FIGURES) == files
    assert set(workflow.REPORT_FIGURES) == files - {"best_fit"}
    assert all((ROOT / f"workflow/report/{name}.rst").is_file() for name in workflow.REPORT_FIGURES)


def test_a_path_that_snakemake_misreads_goes_by_a_link_that_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert workflow.alias_of("it's $HOME; é") == Path("it's $HOME; é")
    alias = workflow.alias_of_directory("a {chunk} <b>")
    assert alias == workflow.alias_of("a {chunk} <b>") and not set("{}<>") & set(str(alias))
    (alias / "file").write_text("x")
    assert (tmp_path / "a {chunk} <b>/file").read_text() == "x" and alias.lstat().st_mtime == 0


def test_a_list_file_gives_its_paths_back_and_refuses_line_breaks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = ['it\'s "a" $HOME; {b}', " é 星", "c" * 200]
    assert read_list(workflow.list_file(paths)) == paths
    with pytest.raises(PayneflowError, match="line break"):
        write_list("list", ["a\nb"])
    with pytest.raises(PayneflowError, match="one path a line"):
        read_list("nowhere")


def test_the_profile_stands_above_the_config_in_ranks():
    assert workflow.Site.of(CONFIG, {}) == workflow.Site(False, 1, "mpiexec")
    assert workflow.Site.of(CONFIG, {"ranks": "2", "launcher": "srun"}) == workflow.Site(True, 2, "srun")


def test_pixels_are_cut_into_chunks(tmp_path):
    grid = write_small_grid(tmp_path / "grid.npz")
    site = workflow.Site.of(CONFIG, {})
    training = workflow.plan_training({**CONFIG, "grid": grid, "chunk_size": 6}, site)
    assert len(training.chunks) == 4 and training.chunk_size == 6
    assert training.runtime(2) == 2 * training.runtime(1) and training.memory(2) == 2 * training.memory(1)


def test_options_are_quoted():
    assert workflow.key_options(CONFIG) == ""
    keys = {**CONFIG["grid_keys"], "flux": "it's $a"}
    assert workflow.key_options({"grid_keys": keys}) == """--key 'flux=it'"'"'s $a'"""
    fit = {**CONFIG["fit"], "fixed": {"[Fe/H]": -1}, "priors": {"logg": [2, 0.1]}}
    assert fits.fit_options(fit).startswith("--fix '[Fe/H]=-1' --prior logg=2,0.1 ")


def test_what_is_done_without_being_asked_can_be_left_out():
    assert "--no-" not in fits.fit_options(CONFIG["fit"])
    fit = {**CONFIG["fit"], "emulator_error": False, "pairs": False}
    assert fits.fit_options(fit).startswith("--no-emulator-error --no-pairs ")


def test_a_posterior_is_asked_of_fits_and_not_of_a_calibration():
    fit = {**CONFIG["fit"], "posterior": True}
    assert fits.spectra_options(fit) == f"{fits.fit_options(fit)} --posterior"
    assert "posterior" not in fits.fit_options(fit)


def test_a_layout_becomes_options_that_mean_the_same():
    layout = {**CONFIG["fit"]["layout"], "format": "mwmVisit", "hdu": "BOSS/LCO", "mask_bits": [1, 2]}
    assert fits.layout_options(layout).startswith(
        "--format mwmVisit --uncertainty flux_error --mask-bits 1,2 --hdu BOSS/LCO "
    )
    layout = {**CONFIG["fit"]["layout"], "uncertainty": "none", "flux": "0[0]", "rows": "one_star"}
    options = fits.layout_options(layout)
    assert "--uncertainty none --array 'flux=0[0]' --rows one_star" in options
    parser = argparse.ArgumentParser()
    fit_options.add_layout(parser)
    parsed = fit_options.layout_of(parser.parse_args(shlex.split(options)))
    assert (parsed.uncertainty, parsed.flux, parsed.rows) == ("none", "0[0]", "one_star")


def test_spectra_may_be_one_text_or_several(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name} {{x}}.txt").write_text("15000 1 1\n15001 1 1\n")
    (tmp_path / "list").write_text("".join(f"{tmp_path}/{name} {{x}}.txt\n" for name in ("a", "b")))
    layout = {**CONFIG["fit"]["layout"], "format": "text"}
    for given in (f"{tmp_path}/*.txt", [f"{tmp_path}/*.txt"], f"@{tmp_path}/list"):
        fit = {**CONFIG["fit"], "spectra": given, "layout": layout}
        (shard,) = fits.plan_fits(fit).values()
        assert shard.names == ("a {x}", "b {x}")
        options = shlex.split(fits.source_options({"fit": fit}, shard))
        assert options[:5] == [
            given if isinstance(given, str) else given[0],
            "--spectra",
            "0:2",
            "--plan",
            shard.digest,
        ]


def test_spectra_on_other_wavelengths_are_refused_before_training_where_pixels_are_too_far_apart(tmp_path):
    pixel, lines = np.arange(300), np.random.default_rng(1).uniform(0, 300, 60)
    flux = (
        1.0 - 0.1 * np.exp(-0.5 * ((pixel[:, None] - lines) / 1.7) ** 2).sum(axis=1) * np.linspace(0.5, 1, 24)[:, None]
    )
    grid = write_small_grid(tmp_path / "grid.npz", n_pixel=300, Y_u_all=flux.astype(np.float32))
    own = np.load(grid)["wavelength"]
    for name, wavelength in (("own", own), ("other", own + 0.07)):
        np.savez(tmp_path / f"{name}.npz", wavelength=wavelength, flux=flux[0], flux_error=np.full(300, 0.01))
    (tmp_path / "broken.npz").write_text("")

    def check(name, pixels):
        shards = {"one": Shard(range(1), (tmp_path / f"{name}.npz",), range(1), ("star",), 1) if name else None}
        fits.check_other_wavelengths({**CONFIG, "grid": str(grid), "pixels": pixels}, shards)

    for name, pixels in (("own", "::"), ("own", "::4"), ("other", "::"), ("broken", "::4"), ("", "::4")):
        check(name, pixels)
    with pytest.raises(SettingsError, match="other.npz has other wavelengths .* pixels '::4' of .* are too far apart"):
        check("other", "::4")


def test_the_resolution_that_files_say_goes_through_a_run(tmp_path):
    """Fits know the array, label errors are measured at R of the first spectrum, and what cannot be is said."""
    grid = write_small_grid(tmp_path / "grid.npz", resolution=22500.0)
    wavelength = np.load(grid)["wavelength"]
    arrays = {"wavelength": wavelength, "flux": np.ones((2, 20)), "flux_error": np.full((2, 20), 0.01)}
    np.savez(tmp_path / "a.npz", **arrays, R=[9876.5, 9000.0], sharp=[3e4, 9e3], same=22500.0, bad=[np.nan, 1.0])
    layout = {**CONFIG["fit"]["layout"], "resolution": "R"}
    fit = {**CONFIG["fit"], "spectra": str(tmp_path / "a.npz"), "layout": layout}

    def of(name, **settings):
        config = {**CONFIG, "grid": str(grid), "fit": {**fit, **settings, "layout": {**layout, "resolution": name}}}
        return config, fits.plan_fits(config["fit"])

    config, shards = of("R")
    assert fits.resolution_of_spectra(config, shards) == 9880.0
    assert fits.calibration_options(config, shards) == f"{fits.fit_options(fit)} --resolution 9880"
    assert "--array resolution=R" in fits.layout_options(layout)
    fits.check_resolution(config, FitSettings(), shards)
    with pytest.raises(
        SettingsError, match="fit.resolution is 9000, but fit.layout names resolution: resolution, R of"
    ):
        fits.check_resolution(config, FitSettings(resolution=9e3), shards)
    for name in ("same", "bad", ""):
        config, shards = of(name)
        fits.check_resolution(config, FitSettings(), shards)
        assert fits.calibration_options(config, shards) == fits.fit_options(fit)
    config, shards = of("sharp")
    with pytest.raises(SettingsError, match="the resolution of the first spectrum is 30000, that of .*grid.npz 22500"):
        fits.check_resolution(config, FitSettings(), shards)
    config, shards = of("R", spectra=[])
    fits.check_resolution(config, FitSettings(resolution=9e3), shards)
    assert fits.calibration_options(config, shards) == fits.fit_options(fit)
    lsf = {**CONFIG["fit"]["layout"], "lsf_sigma": "1:WDISP", "lsf_unit": "km/s"}
    options = fits.layout_options(lsf)
    assert "--array lsf_sigma=1:WDISP --lsf-unit km/s" in options


def test_how_the_grid_is_taken_is_said_where_it_is_not_as_published():
    assert workflow.grid_options(CONFIG) == workflow.check_options({**CONFIG, "seed": 5}) == ""
    other = {**CONFIG, "split": "it's mine", "grid_medium": "air", "flux_scale": "grid", "seed": 5}
    said = """--split 'it'"'"'s mine' --flux-scale grid --grid-medium air"""
    assert workflow.grid_options(other) == workflow.check_options(other) == said
    drawn = {**CONFIG, "split": "random", "seed": 5}
    assert (
        workflow.grid_options(drawn) == "--split random" and workflow.check_options(drawn) == "--split random --seed 5"
    )


def test_the_spectra_that_train_are_counted_as_the_split_says(tmp_path):
    path = write_small_grid(tmp_path / "grid.npz")
    with np.load(path) as arrays:
        n_spectrum = len(arrays["Y_u_all"])
        np.savez(path, **arrays, mine=np.arange(n_spectrum) < 4)
    site = workflow.Site.of(CONFIG, {})
    for split, expected in (("alternate", -(-n_spectrum // 2)), ("random", -(-n_spectrum // 2)), ("mine", 4)):
        assert workflow.plan_training({**CONFIG, "grid": path, "split": split}, site).n_training == expected


def test_what_is_worth_nothing_is_removed_by_a_run_that_has_the_directory_for_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = write_small_grid(tmp_path / "grid.npz")
    config = {**CONFIG, "grid": "grid.npz", "chunk_size": 20}
    training = workflow.plan_training(config, workflow.Site.of(CONFIG, {}))
    (chunk,) = training.chunks
    results, locks = tmp_path / "results", tmp_path / ".snakemake/locks"
    junk = results / f"chunks/{chunk}.npz"
    junk.parent.mkdir(parents=True)
    junk.write_text("junk")
    findings = [Finding(f"chunks/{chunk}.npz", State.DAMAGED, "torn"), Finding(f"trained/{chunk}.npz", State.WHOLE)]
    findings += [Finding("fits.ecsv", State.STALE, "others")]
    monkeypatch.setattr(workflow, "verify", lambda *_, **__: findings)
    again = [results / "known/grid.json", results / "fits.ecsv"]

    def look(runs):
        return workflow.look_at_content(results, config, training, {"test_set": None}, runs)

    assert look(runs=False) == again and junk.exists() and not (results / PLAN).exists()
    said = capsys.readouterr().err
    assert f"{junk}: damaged, needed no more, to be removed: torn" in said
    assert "fits.ecsv: stale, to be made again: others" in said
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("results/fits.ecsv")
    assert look(runs=True) == again and junk.exists() and not (results / PLAN).exists()
    (locks / "0.output.lock").unlink()
    assert look(runs=True) == again and not junk.exists()
    assert Plan.read(results) == workflow.plan_of_run(config, training, {"test_set": None})
    write_digest(again[0], sha256_of(grid))
    assert look(runs=True) == again[1:]


@pytest.mark.parametrize(("name", "option"), [("-v", "--fix=-v=2"), ("a=b", "--fix a=b=2")])
def test_labels_of_any_name_are_options(name, option):
    assert fits.fit_options({**CONFIG["fit"], "fixed": {name: 2}}).startswith(option)


@pytest.mark.parametrize("trainer", ["lm", "sgd", "theano"])
def test_the_chunks_get_trainer_seed_and_all_settings(trainer):
    options = workflow.preparation_options({**CONFIG, "trainer": trainer, "seed": 3})
    section = CONFIG["lm" if trainer == "lm" else "sgd"]
    assert options.startswith(f"--trainer {trainer} --seed 3 --n-neurons {section['n_neurons']} ")
    assert options.count(" --") == 1 + len(section)


def test_theano_without_its_environment_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="make theano"):
        workflow.environment_of("theano", Path("results"), tmp_path)
    flags = workflow.environment_of("theano", Path("it's, results"), None)
    assert "'" not in flags and flags.startswith("env THEANO_FLAGS=base_compiledir=.snakemake/payneflow/trained-")


def test_observed_spectra_have_no_figure_of_true_labels():
    fit = {**CONFIG["fit"], "spectra": ["a.npz"]}
    drawn = {path.name for path in workflow.final_output(Path("r"), fit)}
    assert "fitting_results.png" not in drawn and "fit_overview.png" in drawn
    assert {path.name for path in workflow.final_output(Path("r"), {**fit, "parquet": True})} - drawn == {
        "fits.parquet"
    }


@pytest.mark.parametrize(("name", "package"), [("parquet", "pyarrow"), ("posterior", "emcee")])
def test_an_extra_that_is_missing_is_refused_before_anything_runs(monkeypatch, name, package):
    asked = {**CONFIG["fit"], name: True}
    fits.check_extras(asked, with_conda=False)
    monkeypatch.setattr(fits, "find_spec", {}.get)
    fits.check_extras(CONFIG["fit"], with_conda=False)
    fits.check_extras(asked, with_conda=True)
    with pytest.raises(SettingsError, match=rf"fit.{name} is true, but {package}.*pip install 'payneflow\[{name}\]'"):
        fits.check_extras(asked, with_conda=False)


def test_the_last_words_of_a_run_that_failed_say_so(tmp_path):
    (tmp_path / "logs").mkdir()
    for stage, said in [("gather_networks", "FAILED: cause\n20 pixels"), ("evaluate_networks", "FAILED: cause\nrms")]:
        (tmp_path / f"logs/{stage}.log").write_text(said)
    assert workflow.summary_of_run(tmp_path).endswith(f"{tmp_path}/figures/.\n\nFAILED: cause")
    (tmp_path / "logs/gather_networks.log").write_text("20 pixels")
    (tmp_path / "logs/evaluate_networks.log").write_text("rms")
    (tmp_path / "logs/gather_fits.log").write_text("5 spectra fitted\n  FAILED             1  no labels")
    assert workflow.summary_of_run(tmp_path).endswith(f"{tmp_path}/figures/.")


def test_windows_go_to_the_jobs_by_their_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    windows = {"label": ["logg"], "start": [5000.0], "end": [5001.0], "use": ["only"], "frame": ["star"]}
    for name in ("one", "same"):
        Table(windows).write(tmp_path / f"{name}.ecsv")
    one, same = (fits.fit_options({**CONFIG["fit"], "windows": f"{name}.ecsv"}) for name in ("one", "same"))
    assert one == same
    copy = one.rpartition("--windows ")[2]
    assert read_windows(copy) == (Window("logg", 5000.0, 5001.0),)
    assert "--windows" not in fits.fit_options(CONFIG["fit"])
    with pytest.raises(SettingsError, match="none.ecsv: no such file"):
        fits.fit_options({**CONFIG["fit"], "windows": "none.ecsv"})
