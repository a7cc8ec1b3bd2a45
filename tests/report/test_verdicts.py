"""Verdicts whose answers are known: a good run is good, and what is put wrong in it is found and named."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from astropy.table import vstack
from conftest import write_small_grid
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.fitting.flags import FitFlag
from payneflow.grid import read_grid
from payneflow.grid.summary import summarise
from payneflow.report import verdicts
from payneflow.report.verdicts import Colour, judge, overall, percent
from report.made import N_PIXEL, ODD

GREEN, AMBER, RED, UNKNOWN = Colour.GREEN, Colour.AMBER, Colour.RED, Colour.UNKNOWN
OPTIONAL = ("summary", "networks", "record", "evaluation", "label_errors", "fits")


def colours(facts):
    return {one.question: one.colour for one in judge(facts) if one.colour is not GREEN}


def with_column(table, **columns):
    """A copy of a table with other values in some columns, given as functions of the old ones."""
    changed = table.copy()
    for name, change in columns.items():
        changed[name] = change(np.asarray(table[name]))
    return changed


def test_a_good_run_is_good(good):
    found = judge(good)
    assert colours(good) == {}, [one for one in found if one.colour is not GREEN]
    assert overall(found) == (GREEN, "All 10 checks are good.")
    assert all(one.rule and one.said.endswith(".") for one in found)


def test_a_fifth_of_the_pixels_unconverged_is_amber_and_they_are_named(good):
    def end(old):
        new = old.astype("U12")
        new[::5] = "max_loops"
        return new

    def deviation(old):
        return np.where(np.arange(len(old)) == 35, 0.2, old)

    facts = replace(good, record=with_column(good.record, end=end, deviation=deviation))
    found = verdicts.training(facts)
    assert found.colour is AMBER and found.said == f"{percent(1 - 61 / 300)} of 300 pixels converged."
    assert found.named[0].startswith("max loops, 60 pixels (the loops were used up")
    assert f": {good.record['wavelength'][35]:.2f} Å, " in found.named[0], "the worst comes first"
    assert overall(judge(facts)) == (AMBER, "To look at: Training.")
    worse = with_column(facts.record, end=lambda old: np.where(np.arange(len(old)) % 2, old, "stalled"))
    assert verdicts.training(replace(good, record=worse)).colour is RED
    failed = good.record.copy()
    failed.meta["failed"] = "too few epochs"
    assert verdicts.training(replace(good, record=failed)).colour is RED


def test_pixels_at_the_noise_of_the_grid_count_as_converged(good):
    record = with_column(good.record, end=lambda old: np.full(len(old), "noise_floor"))
    found = verdicts.training(replace(good, record=record))
    assert found.colour is GREEN and "300 of them to the noise of the grid" in found.said


@pytest.mark.parametrize(("share", "expected"), [(0.4, GREEN), (0.8, AMBER), (1.5, RED)])
def test_the_test_error_is_compared_with_the_noise_as_a_share_of_the_flux(good, share, expected):
    assert good.noise == pytest.approx(0.01 / good.flux_level, rel=0.1), "S/N 100 is that of a flux of 1"
    rms = np.full(N_PIXEL, share * good.noise * good.flux_level)
    found = verdicts.against_noise(replace(good, evaluation={**good.evaluation, "rms_test": rms}))
    assert found.colour is expected and f"is {share:.2g} times the noise" in found.said


def test_pixels_worse_than_the_noise_and_those_without_a_network_are_named(good):
    rms = good.evaluation["rms_test"].copy()
    rms[[10, 20, 30, 40]], rms[50] = [0.3, 0.4, 0.5, 0.6], np.nan
    facts = replace(good, evaluation={**good.evaluation, "rms_test": rms})
    found = verdicts.pixels(facts)
    assert found.colour is AMBER and found.said.startswith("5 of 300 pixels have a test error above the noise")
    wavelength = good.evaluation["wavelength"]
    assert found.named[0] == f"{wavelength[50]:.2f} Å: no network"
    assert found.named[1].startswith(f"{wavelength[40]:.2f} Å: rms 0.6, ")
    everywhere = replace(good, evaluation={**good.evaluation, "rms_test": np.full(N_PIXEL, np.nan)})
    assert {verdicts.pixels(everywhere).colour, verdicts.against_noise(everywhere).colour} == {RED}
    assert verdicts.against_kriging(everywhere).colour is RED


def test_the_test_error_is_compared_with_that_of_kriging_unless_it_is_far_below_the_noise(good):
    def colour(own, of_kriging):
        both = {"rms_test": np.full(N_PIXEL, own), "rms_kriging": np.full(N_PIXEL, of_kriging)}
        return verdicts.against_kriging(replace(good, evaluation={**good.evaluation, **both})).colour

    assert [colour(0.01, 0.01), colour(0.02, 0.01), colour(0.04, 0.01)] == [GREEN, AMBER, RED]
    assert colour(1e-4, 1e-6) is GREEN
    without = {key: value for key, value in good.evaluation.items() if key != "rms_kriging"}
    assert verdicts.against_kriging(replace(good, evaluation=without)).colour is UNKNOWN


def test_pulls_of_two_in_a_larger_sample_are_red_and_a_shift_is_found(good):
    fits = vstack([good.fits] * 10, metadata_conflicts="silent")
    true, error = np.asarray(fits["Teff_true"]), np.asarray(fits["Teff_error"])
    pull = np.random.default_rng(2).normal(size=len(true))
    for factor, shift, expected, said in (
        (2.0, 0.0, RED, "its errors are too small by a factor of 2"),
        (1.5, 0.0, AMBER, "its errors are too small by a factor of 1.5"),
        (0.4, 0.0, RED, "its errors are too large by a factor of 2.5"),
        (1.0, 0.8, AMBER, "fits are above the truth"),
        (1.0, -1.3, RED, "fits are below the truth"),
    ):
        fits["Teff"] = true + (factor * pull + shift) * error
        found = verdicts.pulls(replace(good, fits=fits))
        assert (found.colour, len(found.named)) == (expected, 1), found
        assert found.named[0].startswith("Teff: width ") and said in found.named[0]


def test_spectra_with_the_labels_of_others_are_named(good):
    errors = replace(good.label_errors, provenance={**good.label_errors.provenance, "wrong_labels": [7]})
    found = verdicts.suspicious(replace(good, label_errors=errors))
    assert found.colour is AMBER and found.named == ("spectrum 7: its labels cannot be those of its flux",)
    row = 4  # of the fits: spectrum 9 of the grid
    assert good.fits["spectrum"][row] == 9
    far = np.zeros(len(good.fits))
    far[row] = 20 * good.fits[f"{ODD}_error"][row]
    fits = with_column(good.fits, **{ODD: lambda old: old + far})
    found = verdicts.suspicious(replace(good, fits=fits))
    assert found.colour is AMBER and len(found.named) == 1
    assert found.named[0].startswith(f"spectrum 9: {ODD} is fitted ") and "errors from its label" in found.named[0]
    unsure = with_column(fits, flags=lambda old: np.full(len(old), FitFlag.STARTS_DISAGREE))
    assert verdicts.suspicious(replace(good, fits=unsure)).colour is GREEN, "the fit may be wrong, not the label"
    rms = good.evaluation["rms_spectrum"].copy()
    rms[[3, 5, 8]] = 0.2
    found = verdicts.suspicious(replace(good, evaluation={**good.evaluation, "rms_spectrum": rms}))
    assert found.colour is RED and [one.split(":")[0] for one in found.named] == [
        "spectrum 3",
        "spectrum 5",
        "spectrum 8",
    ]


def test_a_gap_in_the_training_labels_is_named(good, tmp_path):
    def facts_of_gap(low, high):
        labels = np.random.default_rng(0).uniform([4000.0, 1.0, -2.0], [6500.0, 5.0, 0.5], (200, 3))
        inside = (labels[:, 0] > low) & (labels[:, 0] < high)
        labels[inside, 0] = np.where(np.arange(inside.sum()) % 2, low - 1.0, high + 1.0)
        labels[inside, 0] -= np.linspace(0.0, 100.0, inside.sum()) * np.where(np.arange(inside.sum()) % 2, 1, -1)
        unit = (labels - [4000.0, 1.0, -2.0]) / [2500.0, 4.0, 2.5]
        flux = 1 - np.linspace(0.1, 0.4, 20) * np.exp(-unit @ np.linspace(0.1, 2.0, 60).reshape(3, 20))
        path = write_small_grid(tmp_path / "gap.npz", 200, 20, labels_array=labels.T, Y_u_all=flux)
        return replace(good, summary=summarise(read_grid(path)))

    assert verdicts.coverage(facts_of_gap(5000, 5001)).colour is GREEN
    amber, red = verdicts.coverage(facts_of_gap(5000, 5500)), verdicts.coverage(facts_of_gap(5000, 6000))
    assert (amber.colour, red.colour) == (AMBER, RED)
    assert red.named[0].startswith("Teff: no training spectrum between ") and red.named[0].endswith(" K")
    assert red.said.startswith("1 of 3 labels have a gap")


def test_the_steps_of_a_mesh_are_no_gaps(good):
    label = {**good.summary["labels"][0], "gap": [4000.0, 5000.0], "training_min": 4000.0, "training_max": 6000.0}
    mesh = {**good.summary, "labels": [{**label, "usual_gap": 1000.0, "n_value": 3}]}
    assert verdicts.coverage(replace(good, summary=mesh)).colour is GREEN


def test_fits_beyond_the_training_labels_and_without_use_are_counted_and_named(good):
    n = len(good.fits)

    def some(flag, share):
        return with_column(good.fits, flags=lambda old: np.where(np.arange(n) < share * n, flag, 0))

    outside = replace(good, fits=some(FitFlag.FAR_FROM_TRAINING, 0.2))
    found = verdicts.coverage(outside)
    assert found.colour is AMBER and found.named[-1].startswith("fits outside: spectrum 1, spectrum 3, ")
    assert verdicts.coverage(replace(good, fits=some(FitFlag.AT_BOUND, 0.5))).colour is RED
    found = verdicts.fits(replace(good, fits=some(FitFlag.MODEL_MISMATCH, 0.3)))
    assert found.colour is AMBER and found.named[0].startswith("MODEL_MISMATCH, 24 (no labels describe the spectrum")
    assert verdicts.fits(replace(good, fits=some(FitFlag.NOT_CONVERGED, 0.05))).colour is AMBER
    assert verdicts.fits(replace(good, fits=some(FitFlag.FAILED, 0.2))).colour is RED
    unread = some(0, 0)
    unread.meta["unreadable"] = {"night 3": "no file"}
    assert verdicts.fits(replace(good, fits=unread)).named[-1] == "could not be read: night 3: no file"


def test_flux_that_the_labels_do_not_explain_is_amber_with_its_wavelengths(good):
    explained = {**good.summary["explained"], "share_above": 0.4, "noise_above": 0.02}
    explained["worst"] = [{"wavelength": 15000.0, "noise": 0.05}]
    found = verdicts.grid(replace(good, summary={**good.summary, "explained": explained}))
    assert found.colour is AMBER and found.named == ("15000.00 Å: 0.05",) and "40.0 % of the pixels" in found.said


def test_what_cannot_be_known_is_said_and_is_not_good(good):
    noiseless = good.fits.copy()
    noiseless.meta["test_snr"] = "none"
    found = verdicts.pulls(replace(good, fits=noiseless))
    assert found.colour is UNKNOWN and "fitted without noise" in found.said
    observed = good.fits.copy()
    observed.remove_columns([name for name in observed.colnames if name.endswith(("_true", "_noiseless"))])
    facts = replace(good, fits=observed)
    found = verdicts.pulls(facts)
    assert found.colour is UNKNOWN and "observed spectra have no true labels" in found.said
    assert overall(judge(facts)) == (
        UNKNOWN,
        "Nothing bad was found, but not all can be known. Not known: Pulls of the labels.",
    )
    formal = good.fits.copy()
    formal.meta["label_errors"] = "none"
    assert verdicts.label_errors(replace(good, fits=formal)).colour is AMBER
    few = replace(good, fits=good.fits[:10])
    assert verdicts.pulls(few).colour is UNKNOWN
    old = {**good.summary, "labels": [{k: v for k, v in one.items() if k != "gap"} for one in good.summary["labels"]]}
    assert verdicts.coverage(replace(good, summary=old)).colour is UNKNOWN


@settings(max_examples=30)
@given(missing=st.sets(st.sampled_from([name for name in OPTIONAL if name != "networks"]), min_size=1))
def test_whatever_is_missing_no_run_is_good_as_a_whole(good, missing):
    assert set(OPTIONAL) < {field.name for field in fields(good)}
    facts = replace(good, **dict.fromkeys(missing))
    colour, said = overall(judge(facts))
    assert colour is UNKNOWN and "Not known: " in said, missing


def test_a_share_is_nothing_or_all_only_where_it_is():
    assert [percent(x) for x in (0, 1, 0.5, 0.9999, 0.0001)] == ["0 %", "100 %", "50.0 %", "99.99 %", "0.01 %"]


def test_the_summary_of_a_grid_says_where_its_training_spectra_lie(tmp_path):
    labels = np.random.default_rng(0).uniform(0, 1, (40, 3))
    labels[::2, 1] = np.repeat([0.0, 0.5, 2.0, 2.5], 5)
    flux = 1 - 0.3 * np.exp(-labels @ np.ones((3, 12)))
    summary = summarise(read_grid(write_small_grid(tmp_path / "g.npz", 40, 12, labels_array=labels.T, Y_u_all=flux)))
    label = json.loads(json.dumps(summary))["labels"][1]
    assert (label["n_value"], label["gap"], label["usual_gap"]) == (4, [0.5, 2.0], 0.5)
    assert sum(label["counts"]) == 20 and label["counts"][0] == label["counts"][-1] == 5
