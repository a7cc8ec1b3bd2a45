"""The kernel that fits labels alone to spectra on the networks' own pixels, one spectrum after the other."""

from functools import cache

import numpy as np

from payneflow.fitting.engine.alternatives import build_score
from payneflow.fitting.engine.arguments import DISAGREE, ENDED, OUTLIERS, PASSES, USED, LabelProblem, Precisions
from payneflow.fitting.engine.general_pass import build_spectrum
from payneflow.fitting.engine.label_pass import build_label_pass, build_subtract
from payneflow.fitting.engine.minimiser import Box
from payneflow.fitting.engine.outliers import MOST_FITS, leave_out_outliers, no_outliers
from payneflow.fitting.engine.pixels import add_variance, count_used, select_pixels
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
    spectrum, score = build_spectrum(n_label, n_neurons), build_score(n_label, 0, False)

    @kernel
    def fit_labels(weights, noise, tables, own_start, box, limits, alternatives, spectra, written, memory):
        """Fit a block of spectra into `written`.

        `weights`: Precisions of Emulator.weights; `noise`: Noise; `tables`: EstimateTables; `own_start`: bool, whether
        the first start is estimated from the spectrum; `box`: Box; `limits`: Limits; `alternatives`: Alternatives;
        `spectra`: Spectra; `written`: Written; `memory`: LabelMemory.
        """
        x, matrix, chi2, counts, scatter = (
            written.x, written.matrix, written.chi2, written.counts, written.extra_scatter
        )  # fmt: skip
        y, weight, y_single, weight_single = memory.y, memory.weight, memory.y_single, memory.weight_single
        starts = spectra.starts
        held = box.held.sum()
        lowest, highest, again = np.empty(n_label), np.empty(n_label), np.empty((1, n_label))
        own_box = Box(lowest, highest, box.held, box.prior_mean, box.prior_weight, box.is_width)
        for i in range(len(spectra.flux)):
            # y_single serves as working memory first
            used, written.snr[i] = select_pixels(spectra.flux[i], spectra.error[i], noise.usable, y, weight, y_single)
            counts[i, USED] = used
            if used == 0:
                continue
            add_variance(weight, noise.variance, 1.0)
            for k in range(len(y)):
                y_single[k] = y[k]
                weight_single[k] = weight[k]
            bound(box, starts[i, 0], lowest, highest)
            if own_start:
                estimate(tables, y_single, weight_single, starts[i, 0])
            problem = Precisions(
                LabelProblem(weights.single, y_single, weight_single), LabelProblem(weights.double, y, weight)
            )
            least, passes, ended, disagree = search(
                problem, own_box, starts[i], limits, x[i], matrix[i], written.pull[i]
            )
            model, level = memory.alternatives.model, memory.alternatives.level
            no_outliers(memory.outliers, weight)
            for _ in range(MOST_FITS):
                spectrum(weights.single, alternatives.ranges, alternatives.ranges[:, 0], x[i], model, len(y))
                if not leave_out_outliers(
                    y_single, model[: len(y)], level, alternatives.ranges, memory.outliers, weight, weight_single
                ):
                    break
                for j in range(n_label):
                    again[0, j] = x[i, j]
                least, more, ended, _ = search(problem, own_box, again, limits, x[i], matrix[i], written.pull[i])
                passes += more
            used = count_used(weight)
            counts[i, USED], counts[i, OUTLIERS] = used, memory.outliers.n_out[0]
            chi2[i] = without_priors(least, own_box, x[i])
            dof = used - n_label + held
            scatter[i] = 0.0
            if is_needed(chi2[i], dof):
                subtract(weights.double, x[i], y)
                scatter[i] = extra_scatter(y, weight, memory.ones, dof)
            counts[i, PASSES], counts[i, ENDED], counts[i, DISAGREE] = passes, ended, disagree
            score(y_single, weight_single, model, level, level, alternatives, memory.alternatives, written, i)

    return fit_labels
