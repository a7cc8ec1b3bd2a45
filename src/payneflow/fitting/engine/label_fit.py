"""The kernel that fits labels alone to spectra on the networks' own pixels, one spectrum after the other."""

from functools import cache

import numpy as np

from payneflow.fitting.engine.label_pass import build_label_pass, build_subtract
from payneflow.fitting.engine.minimiser import Box
from payneflow.fitting.engine.pixels import add_variance, prepare
from payneflow.fitting.engine.scatter import extra_scatter, is_needed
from payneflow.fitting.engine.search import bound, build_search, without_priors
from payneflow.fitting.engine.starts import build_estimate
from payneflow.simd import kernel


@cache
def build_label_fit(n_label, n_neurons, n_projection):
    """The kernel for networks of this size."""
    search = build_search(build_label_pass(n_label, n_neurons), n_label)
    subtract = build_subtract(n_label, n_neurons)
    estimate = build_estimate(n_label, n_projection)

    @kernel
    def fit_labels(
        weights, weights_single, variance, usable, tables, own_start, box, tolerance, most, flux, error, starts,
        x, matrix, chi2, snr, counts, scatter, one, y, weight, y_single, weight_single,
    ):  # fmt: skip
        """Fit flux (n, n_place) with errors, from starts (n, n_start, n_label); the last line is what is written."""
        held = box.held.sum()
        lowest, highest = np.empty(n_label), np.empty(n_label)
        own_box = Box(lowest, highest, box.held, box.prior_mean, box.prior_weight)
        for i in range(len(flux)):
            # y_single serves as working memory first
            used, snr[i] = prepare(flux[i], error[i], usable, y, weight, y_single)
            counts[i, 0] = used
            if used == 0:
                continue
            add_variance(weight, variance, 1.0)
            for k in range(len(y)):
                y_single[k] = y[k]
                weight_single[k] = weight[k]
            bound(box, starts[i, 0], lowest, highest)
            if own_start:
                estimate(tables, y_single, weight_single, starts[i, 0])
            problem = (weights_single, y_single, weight_single), (weights, y, weight)
            least, passes, ended, disagree = search(problem, own_box, starts[i], tolerance, most, x[i], matrix[i])
            chi2[i] = without_priors(least, own_box, x[i])
            dof = used - n_label + held
            scatter[i] = 0.0
            if is_needed(chi2[i], dof):
                subtract(weights, x[i], y)
                scatter[i] = extra_scatter(y, weight, one, dof)
            counts[i, 1], counts[i, 2], counts[i, 3] = passes, ended, disagree

    return fit_labels
