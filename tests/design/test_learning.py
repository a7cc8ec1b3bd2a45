"""Learning curves: laws that are known, and what a report says of networks whose slopes are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payneflow.design.learning import course, fit_law
from payneflow.errors import SettingsError


@given(st.floats(0.2, 1.5), st.floats(1e-5, 1.0))
def test_a_power_law_is_found_and_goes_on(b, a):
    sizes = np.array([100.0, 200.0, 400.0])
    law = fit_law(sizes, a * sizes**-b)
    assert law.b == pytest.approx(b, rel=0.02)
    assert law.at(800) == pytest.approx(a * 800**-b, rel=0.02)
    assert law.at(200) == pytest.approx(a * 200**-b, rel=0.02)
    assert law.at(400) == pytest.approx(a * 400**-b)


def test_a_floor_that_is_reached_stays():
    sizes = np.array([100.0, 200.0, 400.0, 800.0])
    errors = np.hypot(3.0, 500 * sizes**-0.9)
    assert fit_law(sizes, errors).at(1600) == pytest.approx(np.hypot(3.0, 500 * 1600**-0.9), rel=0.05)


def test_errors_that_do_not_fall_are_not_said_to_fall():
    law = fit_law(np.array([100.0, 200.0, 400.0]), np.array([1e-3, 1e-3, 1e-3]))
    assert law.at(800) == pytest.approx(1e-3, rel=0.05)


def test_the_course_trains_on_disjoint_parts_of_each_size():
    seen = []

    def error_of(rows):
        seen.append(rows)
        return 2.0 * len(rows) ** -0.5

    curve = course(200, error_of, 2.0 * 200**-0.5, seed=1)
    assert curve.sizes.tolist() == [50, 100, 200]
    assert curve.at(400) == pytest.approx(2.0 * 400**-0.5, rel=0.02)
    for parts in (seen[:4], seen[4:]):
        assert np.sort(np.concatenate(parts)).tolist() == list(range(200))
    again = seen.copy()
    course(200, error_of, 0.1, seed=1)
    assert all((a == b).all() for a, b in zip(again, seen[len(again) :], strict=True))


def test_too_few_spectra_are_refused():
    with pytest.raises(SettingsError, match="79 training spectra are too few; expected 80 or more"):
        course(79, lambda rows: 1.0, 1.0)
