"""Points of a first grid: well spread whatever number of them is computed, and its even rows are like its odd ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from payneflow.design.region import Polygon, Range, make_region, parse_polygon, parse_range
from payneflow.design.relations import parse_relation
from payneflow.design.spread import MOST, spread_points
from payneflow.design.stars import Stars
from payneflow.errors import SettingsError
from payneflow.grid.aliasing import find_alias

NAMES = ("Teff", "logg", "[Fe/H]")
RANGES = [Range("Teff", 4000.0, 6000.0), Range("logg", 0.5, 5.0), Range("[Fe/H]", -2.0, 0.5)]


def box(n_label: int):
    names = [f"label{i}" for i in range(n_label)]
    return make_region(names, [Range(name, 0.0, 1.0) for name in names])


@pytest.mark.parametrize("n_label", [3, 8])
def test_any_first_rows_and_their_even_and_odd_ones_are_better_spread_than_random_points(n_label):
    points = spread_points(box(n_label), 600, 0)
    rng = np.random.default_rng(0)
    for n in (60, 130, 257, 600):
        for rows in (points[:n], points[:n:2], points[1:n:2]):
            by_chance = [qmc.discrepancy(rng.random(rows.shape)) for _ in range(10)]
            assert qmc.discrepancy(rows) < min(by_chance)


@pytest.mark.parametrize("seed", range(3))
def test_even_and_odd_rows_have_the_same_mean_and_pass_the_check_of_grids(seed):
    points = spread_points(box(6), 512, seed)
    assert np.abs(points[::2].mean(axis=0) - points[1::2].mean(axis=0)).max() < 0.01
    trains = np.arange(512) % 2 == 0
    assert find_alias(points, trains) is None
    plain = qmc.Sobol(6, scramble=True, seed=np.random.default_rng(seed)).random(512)
    assert find_alias(plain, trains) is not None, "what the extra coordinate is for"


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32), st.integers(1, 22))
def test_points_are_different_within_their_region_and_a_longer_list_begins_with_the_shorter(n, seed, n_label):
    region = box(n_label)
    points = spread_points(region, n, seed)
    assert len(np.unique(points, axis=0)) == n
    assert (points >= 0).all() and (points <= 1).all()
    assert (spread_points(region, n + 40, seed)[:n] == points).all()


def test_polygons_and_relations_keep_points_out():
    triangle = Polygon(("Teff", "logg"), np.array([[4000.0, 1.0], [6000.0, 3.0], [6000.0, 1.0]]))
    relation = parse_relation("[Fe/H] < 3 - logg", NAMES)
    points = spread_points(make_region(NAMES, [triangle, RANGES[2]], [relation]), 300, 1)
    teff, logg, metal = points.T
    assert (logg <= 1 + (teff - 4000) / 1000).all() and (logg >= 1).all() and (metal < 3 - logg).all()


def test_points_like_stars_are_where_they_are_and_a_margin_around():
    rng = np.random.default_rng(0)
    teff = rng.uniform(4000, 5000, 400)
    labels = np.column_stack([teff, (teff - 4000) / 400 + rng.normal(0, 0.02, 400)])
    few = labels[: len(labels) // 4]
    labels = np.concatenate([labels, few[few[:, 0] > 4500].repeat(8, axis=0) + rng.normal(0, 1e-3, (1, 2))])
    stars = Stars(("Teff", "logg"), labels, margin=0.02)
    region = make_region(NAMES, [RANGES[2]], stars=stars)
    points = spread_points(region, 500, 3)
    width = np.ptp(labels, axis=0)
    off = np.abs(points[:, 1] - (points[:, 0] - 4000) / 400)
    assert off.max() < 0.1 + 0.04 * width[1], "along the sequence"
    assert (points[:, :2] >= labels.min(axis=0) - 0.0201 * width).all()
    dense = (points[:, 0] > 4500).mean()
    assert dense == pytest.approx((labels[:, 0] > 4500).mean(), abs=0.05), "as dense as the stars"
    cut = make_region(NAMES, [RANGES[2], Range("Teff", 4200.0, 4400.0)], stars=stars)
    inside = spread_points(cut, 100, 3)[:, 0]
    assert inside.min() >= 4200 and inside.max() <= 4400


def test_relations_that_contradict_each_other_are_named_with_what_each_rejects():
    relations = [parse_relation(text, NAMES) for text in ("logg > 3", "logg < 2.9", "Teff < 5990")]
    with pytest.raises(SettingsError, match=r"0 of \d+ points.*g > 3 rejects 55.*g < 2.9 rejects 4.*Teff < 5990"):
        spread_points(make_region(NAMES, RANGES, relations), 10, 0)


@pytest.mark.parametrize("n", [0, -1, MOST + 1])
def test_a_number_that_cannot_be_is_refused(n):
    with pytest.raises(SettingsError, match=f"-n {n}: expected 1 to {MOST}"):
        spread_points(box(2), n, 0)


def test_a_range_without_enough_numbers_in_it_is_refused():
    with pytest.raises(SettingsError, match="points are left, each counted once: nothing rejects any"):
        spread_points(make_region(["a"], [Range("a", 1.0, np.nextafter(1.0, 2))]), 50, 0)


def test_every_label_is_limited_once():
    with pytest.raises(SettingsError, match=r"no range for \[Fe/H\]"):
        make_region(NAMES, RANGES[:2])
    with pytest.raises(SettingsError, match="logg has --range logg=0.5:5 already"):
        make_region(NAMES, [*RANGES, Range("logg", 1.0, 2.0)])
    with pytest.raises(SettingsError, match="no label 'loggg'.*Did you mean logg"):
        make_region(NAMES, [*RANGES, Range("loggg", 1.0, 2.0)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Teff", "expected NAME=LOWEST:HIGHEST"),
        ("Teff=4000", "expected NAME=LOWEST:HIGHEST"),
        ("Teff=4000:nan", "'nan' is no number"),
        ("Teff=4000:hot", "'hot' is no number"),
        ("Teff=6000:4000", "the lower one first"),
        ("Teff=4000:4000", "the lower one first"),
        ("Teff=-inf:4000", "'-inf' is no number"),
    ],
)
def test_what_is_no_range_is_said(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_range(text)


def test_ranges_and_polygons_are_read():
    assert parse_range("a=b=-1:2e3") == Range("a=b", -1.0, 2000.0)
    polygon = parse_polygon("Teff,logg=4000,0.5 5000,3.5 6500,-4.5")
    assert polygon.labels == ("Teff", "logg") and polygon.corners.tolist() == [[4000, 0.5], [5000, 3.5], [6500, -4.5]]


NO_POLYGONS = (
    "Teff=1,2 3,4 5,7",
    "a,b=1,2 3,4",
    "a,b=1,1 2,2 3,3",
    "a,b=1,2 3 5,7",
    "a,b=1,2 3,nan 5,7",
    "a,a=1,2 3,9 4,1",
)


@pytest.mark.parametrize("text", NO_POLYGONS)
def test_what_is_no_polygon_is_said(text):
    with pytest.raises(SettingsError, match="--polygon"):
        parse_polygon(text)
