"""Templates: which of them suits a pixel is told by a sample of the training spectra where there are very many."""

import numpy as np
import pytest

from payneflow.statistics import evenly
from payneflow.training.lm import templates
from payneflow.training.lm.templates import TemplateFits, Templates


@pytest.fixture
def hidden_layers_and_spectra():
    random = np.random.default_rng(0)
    hidden = Templates(w0=random.normal(0, 4, (8, 5, 3)), b0=random.normal(0, 2, (8, 5)))
    labels = random.uniform(0.1, 0.9, (300, 3))
    logit = (1 / (1 + np.exp(-labels @ hidden.w0[3].T - hidden.b0[3]))) @ np.array([1.0, -2.0, 0.5, 1.5, -1.0])
    return hidden, labels, 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("most", [40, 300, 1000])
def test_the_hidden_layer_that_made_the_flux_is_found(hidden_layers_and_spectra, monkeypatch, most):
    monkeypatch.setattr(templates, "FIT_SPECTRA", most)
    hidden, labels, flux = hidden_layers_and_spectra
    (best,) = TemplateFits(hidden, labels).best(flux, 1)
    np.testing.assert_array_equal(best[:15], hidden.w0[3].ravel())
    np.testing.assert_array_equal(best[15:20], hidden.b0[3])


def test_a_sample_gives_what_its_spectra_alone_give(hidden_layers_and_spectra, monkeypatch):
    hidden, labels, flux = hidden_layers_and_spectra
    sample = evenly(300, 40)
    assert len(sample) == 40 and sample[0] == 0 and sample[-1] == 299
    alone = TemplateFits(hidden, labels[sample]).best(flux[sample], 3)
    whole = TemplateFits(hidden, labels).best(flux, 3)
    monkeypatch.setattr(templates, "FIT_SPECTRA", 40)
    sampled = TemplateFits(hidden, labels).best(flux, 3)
    np.testing.assert_array_equal(sampled, alone)
    assert not np.array_equal(sampled, whole)


def test_the_fits_of_output_layers_are_those_of_numpy():
    random = np.random.default_rng(1)
    solver, features = random.normal(size=(4, 30, 5)), random.normal(size=(4, 5, 30))
    z, weight = random.normal(size=30), random.uniform(0, 1, 30)
    w1, error = templates._fit_outputs(solver, features, z, weight)
    expected = np.array([solver[k].T @ z for k in range(4)])
    np.testing.assert_allclose(w1, expected, rtol=1e-12, atol=1e-13)
    misfit = [weight @ (z - expected[k] @ features[k]) ** 2 for k in range(4)]
    np.testing.assert_allclose(error, misfit, rtol=1e-12)
