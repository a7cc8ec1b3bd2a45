"""What `payneflow check` says of the physics of a grid: labels that nothing answers to, and labels that act alike."""

import numpy as np
import pytest
from conftest import ROOT, write_small_grid
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.grid import read_grid
from payneflow.grid.answers import CHANCE, alike, find_answers
from payneflow.grid.physics import measure_physics, warnings_of
from payneflow.grid.sample import Sample
from payneflow.grid.summary import summarise, summary_text

DEMONSTRATION = ROOT / "resources/hband_grid.npz"
PIXELS = slice(0, None, 40)


@pytest.fixture(scope="module")
def demonstration() -> dict:
    with np.load(DEMONSTRATION) as stored:
        arrays = dict(stored)
    return arrays | {key: arrays[key][..., PIXELS] for key in ("wavelength", "Y_u_all")}


def checked(path, arrays, **more):
    """Physics and warnings of the demonstration grid with labels added or changed: NAME=values (n_spectrum,)."""
    labels, names, units = arrays["labels_array"], list(arrays["label_names"]), list(arrays["label_units"])
    for name, values in more.items():
        if name in names:
            labels = np.where((np.array(names) == name)[:, None], values, labels)
            continue
        labels, names, units = np.vstack([labels, values]), [*names, name], [*units, "dex"]
    more = {"labels_array": labels, "label_names": np.array(names), "label_units": np.array(units)}
    np.savez(path, **{**arrays, **more})
    grid = read_grid(path)
    physics = measure_physics(grid, Sample.of(grid))
    return {one["name"]: one for one in physics}, warnings_of(physics, len(grid.wavelength))


def test_all_labels_of_the_demonstration_grid_are_answered(demonstration, tmp_path):
    physics, warnings = checked(tmp_path / "grid.npz", demonstration)
    assert warnings == []
    for one in physics.values():
        assert one["answered"] and one["p"] == 0.005 and one["free"] > 0.3 and abs(one["cosine"]) < 0.7
    assert (physics["Teff"]["step"], physics["logg"]["step"]) == (100.0, 0.1)


def test_a_label_of_random_numbers_is_not_answered(demonstration, tmp_path):
    random = np.random.default_rng(0).normal(size=demonstration["labels_array"].shape[1])
    physics, (warning,) = checked(tmp_path / "grid.npz", demonstration, random=random)
    assert physics["random"]["p"] > CHANCE and physics["logg"]["answered"]
    assert warning.startswith("no pixel answers to random: chance alone gives so clear an answer in")


@pytest.mark.parametrize("of", ["Teff", "all"])
def test_a_label_that_follows_from_others_is_named(demonstration, tmp_path, of):
    teff, logg, _ = demonstration["labels_array"][:3]
    follows = teff / 500 + (0.5 * logg if of == "all" else 1.0)
    physics, warnings = checked(tmp_path / "grid.npz", demonstration, follows=follows)
    assert physics["follows"]["rms"] is None and physics["follows"]["free"] < 0.01
    assert any(warning.startswith("follows follows from the other labels: 0.") for warning in warnings)
    assert any(warning.startswith("Teff follows from the other labels") for warning in warnings)
    assert not any("[Fe/H] follows" in warning for warning in warnings)


def test_two_labels_that_act_alike_are_named_once(demonstration, tmp_path):
    metals = demonstration["labels_array"][list(demonstration["label_names"]).index("[Fe/H]")]
    other = np.random.default_rng(5).uniform(-1, 1, len(metals))
    physics, (warning,) = checked(tmp_path / "grid.npz", demonstration, **{"[Fe/H]": metals - other, "[a/Fe]": other})
    assert warning.startswith("[Fe/H] moves the flux as [a/Fe] does, in all pixels (cosine 0.99")
    assert physics["[Fe/H]"]["like"] == "[a/Fe]" and physics["Teff"]["answered"]


# ------------------------------------------------------------------------------------------------- known answers


def planted(n: int, effect: np.ndarray, seed: int = 0):
    """Scaled labels (n, n_label) and flux (n, n_pixel) that changes by `effect` (n_label, n_pixel) over their range."""
    labels = np.random.default_rng(seed).uniform(0.1, 0.9, (n, len(effect)))
    return labels, 1.0 - (labels - 0.1) / 0.8 @ effect


def test_the_size_and_the_place_of_an_answer_are_those_planted():
    effect = np.zeros((2, 60))
    effect[0, 7], effect[0, 40], effect[1, 20:30] = 0.20, 0.05, 0.10
    labels, flux = planted(80, effect)
    first, second = find_answers(labels, flux, np.ones(2))
    np.testing.assert_allclose(first.slope, -effect[0], atol=0.004)
    np.testing.assert_allclose(second.slope, -effect[1], atol=0.004)
    assert first.rms == pytest.approx(np.sqrt((effect[0] ** 2).mean()), rel=0.05)
    assert first.free > 0.9 and abs(alike([first, second])[0, 1]) < 0.1


def test_an_answer_that_goes_up_and_down_again_is_seen():
    labels, flux = planted(80, np.array([[0.2] * 30, [0.0] * 30]))
    flux = flux - 0.4 * np.outer((labels[:, 1] - 0.5) ** 2, np.arange(30) > 20)
    assert find_answers(labels, flux, np.ones(2))[1].p <= CHANCE


def test_one_label_alone_is_answered_and_like_no_other(tmp_path):
    path = write_small_grid(tmp_path / "grid.npz", 80, 30)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays |= {key: arrays[key][:1] for key in ("labels_array", "label_names", "label_units")}
    np.savez(path, **arrays)
    grid = read_grid(path)
    (one,) = measure_physics(grid, Sample.of(grid))
    assert one["free"] == pytest.approx(1.0) and "like" not in one
    assert warnings_of([one], 30) == [] or not one["answered"]


@settings(max_examples=20)
@given(scale=st.floats(1e-3, 1e3), moved=st.floats(-1.0, 1.0), seed=st.integers(0, 20))
def test_a_verdict_depends_on_neither_the_unit_nor_the_zero_of_the_flux(scale, moved, seed):
    rng = np.random.default_rng(seed)
    labels, flux = planted(40, rng.uniform(0, 0.2, (2, 12)), seed)
    flux += 0.01 * rng.normal(size=flux.shape)
    for one, other in zip(
        find_answers(labels, flux, np.ones(2)), find_answers(labels, scale * flux + moved, np.ones(2)), strict=True
    ):
        assert one.p == other.p and one.free == other.free
        np.testing.assert_allclose(scale * one.slope, other.slope, rtol=1e-6, atol=1e-9 * max(scale, 1))


@pytest.mark.parametrize("seed", range(4))
def test_of_pure_noise_few_labels_are_called_answered(seed):
    """20 random labels: at a significance of 1 % one is answered in a fifth of such grids, three never here."""
    rng = np.random.default_rng(seed)
    labels, flux = rng.uniform(0.1, 0.9, (60, 20)), rng.normal(size=(60, 50)).cumsum(axis=1)
    assert sum(one.p <= CHANCE for one in find_answers(labels, flux, np.full(20, 2.0))) <= 2


def test_the_check_prints_the_answers_and_keeps_them(tmp_path):
    summary = summarise(read_grid(write_small_grid(tmp_path / "grid.npz", 80, 40)))
    assert [one["name"] for one in summary["physics"]] == ["Teff", "logg", "[Fe/H]"]
    lines = [line for line in summary_text(summary).splitlines() if "% of the flux (rms) per" in line]
    assert len(lines) == 3 and lines[0].startswith("answers     Teff") and "per 100 K, most" in lines[0]
    few = summarise(read_grid(write_small_grid(tmp_path / "few.npz", 24, 40)))
    assert few["physics"] == [] and "answers" not in summary_text(few)
