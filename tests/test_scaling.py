"""The two maps between a user's units and those of the networks."""

import numpy as np
import pytest

from payneflow import scaling


def test_slopes_and_deviations_are_those_of_the_unscaled_flux():
    a, b = np.array([0.2, 0.5]), np.array([0.3, 0.1])
    assert scaling.unscale_deviation(a - b) == pytest.approx(scaling.unscale_flux(a) - scaling.unscale_flux(b))
    assert scaling.unscale_slope(a) == pytest.approx(scaling.unscale_flux(1.0 + a) - scaling.unscale_flux(1.0))


def test_training_labels_fill_the_range_that_is_told():
    labels = np.array([[4000.0, -2.0], [6000.0, 0.0], [5000.0, -1.5]])
    scaled = scaling.LabelScaler.of_training_labels(labels).scale(labels)
    assert (scaled.min(axis=0) == scaling.TRAINING_LEAST).all()
    assert scaled.max(axis=0) == pytest.approx(scaling.TRAINING_MOST, rel=1e-15)
    assert (scaling.TRAINING_LEAST, scaling.TRAINING_MOST) == (0.1, 0.9)


def test_one_label_is_scaled_as_all_are():
    scaler = scaling.LabelScaler(np.array([4000.0, -2.0]), np.array([6000.0, 0.5]))
    assert scaler.scale_one(1, -0.7) == pytest.approx(scaler.scale(np.array([5000.0, -0.7]))[1], rel=1e-15)
