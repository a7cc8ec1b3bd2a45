"""When training as a whole has failed: what the training record says of pixels of known ends, and the likely cause."""

import numpy as np
import pytest

from payneflow.chunks.record import COLUMNS, failure_of, record_table, summary_text
from payneflow.grid.explained import NOTHING
from payneflow.network import LEAST_EXPLAINED, not_learnt
from payneflow.settings import SgdSettings, settings_record
from payneflow.training.policy import Stage

N_PIXEL = 100
TRUNC_DIFF = 0.003
GOOD = {"end": Stage.CONVERGED, "deviation": 0.002, "deviation_test": 0.02, "explained_test": 0.99}
WILD = {"end": Stage.MAX_LOOPS, "deviation": 0.04, "deviation_test": 0.3, "explained_test": LEAST_EXPLAINED - 0.01}


def record(*pixels):
    """A record of N_PIXEL pixels: `pixels` are pairs of how many, and what stands in some columns of theirs."""
    assert sum(n for n, _ in pixels) == N_PIXEL
    settings = settings_record("sgd", SgdSettings(trunc_diff=TRUNC_DIFF), 0)
    columns = {name: np.zeros(N_PIXEL) for name in COLUMNS}
    columns |= {"pixel": np.arange(N_PIXEL), "wavelength": 15000.0 + np.arange(N_PIXEL)}
    columns |= {"chunk": np.full(N_PIXEL, "pixel00-99"), "trainer": np.full(N_PIXEL, "sgd")}
    for name in GOOD:
        columns[name] = np.array([value for n, values in pixels for value in [(GOOD | values)[name]] * n])
    return record_table(columns, settings)


def test_pixels_that_miss_the_goal_and_explain_less_than_half_are_not_learnt():
    largest = np.array([0.002, 0.004, 0.004, np.nan])
    part = np.array([0.0, LEAST_EXPLAINED, LEAST_EXPLAINED - 0.01, np.nan])
    assert not_learnt(largest, part, TRUNC_DIFF).tolist() == [False, False, True, False]


@pytest.mark.parametrize(("n_wild", "failed"), [(0, False), (50, False), (51, True), (100, True)])
def test_training_has_failed_where_most_pixels_are_not_learnt(n_wild, failed):
    table = record((N_PIXEL - n_wild, GOOD), (n_wild, WILD))
    assert bool(failure_of(table)) == failed == summary_text(table).startswith("FAILED: ")
    if failed:
        assert failure_of(table).startswith(f"{n_wild} of 100 pixels have no network, or one that explains less")


def test_short_of_the_goal_is_not_failed_where_the_flux_is_explained():
    """Of the published trainer every other pixel is; its networks explain 99 % all the same."""
    assert not failure_of(record((100, {"end": Stage.MAX_LOOPS, "deviation": 0.01, "deviation_test": 0.05})))


def test_pixels_at_their_noise_floor_are_learnt_unless_no_pixel_is_explained():
    floor = WILD | {"end": Stage.NOISE_FLOOR, "explained_test": 0.02}
    assert not failure_of(record((98, floor), (2, GOOD)))
    assert "labels that do not explain the flux" in failure_of(record((99, floor), (1, GOOD)))


def test_what_labels_in_any_order_seem_to_explain_is_nothing():
    floor = WILD | {"end": Stage.NOISE_FLOOR}
    assert failure_of(record((100, floor | {"explained_test": NOTHING})))
    assert not failure_of(record((100, floor | {"explained_test": NOTHING + 0.01})))


@pytest.mark.parametrize(
    ("pixels", "cause"),
    [
        ({"end": Stage.FAILED, "deviation": np.nan, "deviation_test": np.nan}, "weights that became infinite"),
        (WILD | {"deviation": 0.002}, "the training spectra were learnt by heart"),
        (WILD | {"end": Stage.STALLED}, "no trial ever improved"),
        (WILD, "training ended long before it was done"),
    ],
)
def test_the_likely_cause_is_said(pixels, cause):
    assert f"Likely cause: {cause}" in failure_of(record((40, GOOD), (60, pixels)))
