"""What a user must know before using a fit, or one of its labels, as bit masks."""

from enum import IntFlag


class FitFlag(IntFlag):
    """The column `flags` of the fits holds the sum of those that apply."""

    NOT_CONVERGED = 1
    AT_BOUND = 2
    FAILED = 4
    OUTSIDE_TRAINING = 8
    FAR_FROM_TRAINING = 16
    MODEL_MISMATCH = 32
    RV_UNSURE = 64
    RV_EDGE = 128
    FEW_PIXELS = 256
    STARTS_DISAGREE = 512
    MANY_OUTLIERS = 1024
    POOR_NETWORKS = 2048
    RV_VARIABLE = 4096
    DOUBLE_LINED = 8192


FLAG_MEANINGS = {
    FitFlag.NOT_CONVERGED: "the least-squares search stopped before it converged",
    FitFlag.AT_BOUND: "a label is stopped at the bound of the fit, more than 3 errors outside the training labels",
    FitFlag.FAILED: "no labels: too few usable pixels, or the search broke down; all results are NaN",
    FitFlag.OUTSIDE_TRAINING: "a label lies outside the range of the training labels by more than 3 of its errors",
    FitFlag.FAR_FROM_TRAINING: "the labels lie far from those of every training spectrum",
    FitFlag.MODEL_MISMATCH: "no labels describe the spectrum: mismatch_kind says how it differs; errors are widened",
    FitFlag.RV_UNSURE: "another velocity correlates nearly as well: its chi2 is less than 16 (chi2/dof) higher",
    FitFlag.RV_EDGE: "the velocity lies at the end of the range that was searched",
    FitFlag.FEW_PIXELS: "fewer than ten used pixels for each fitted parameter",
    FitFlag.STARTS_DISAGREE: "another start ended at labels more than 1 sigma away with a chi2 less than 9 higher",
    FitFlag.MANY_OUTLIERS: "more than 1 % of the pixels are outliers (cosmic rays, dead columns), and were left out",
    FitFlag.POOR_NETWORKS: "most networks explain less than half of how their grid's spectra differ: training failed",
    FitFlag.RV_VARIABLE: "velocities of the pieces of a star differ by more than their errors: a chance below 0.1 %",
    FitFlag.DOUBLE_LINED: "the light of two stars: RV1, RV2 and light_ratio; the labels are those of neither",
}


class LabelFlag(IntFlag):
    """The column `<label>_flags` of the fits holds the sum of those that apply to this label, or broadening."""

    AT_BOUND = 1
    OUTSIDE_TRAINING = 2
    NO_INFORMATION = 4
    LOPSIDED = 8
    UPPER_LIMIT = 16


LABEL_FLAG_MEANINGS = {
    LabelFlag.AT_BOUND: "the label lies at the bound of the fit",
    LabelFlag.OUTSIDE_TRAINING: "it lies outside the range of the training labels by more than its error",
    LabelFlag.NO_INFORMATION: "the spectrum does not tell it: its error is more than half the range of the training "
    "labels, and is given as that range where it is more",
    LabelFlag.LOPSIDED: "labels five errors away fit nearly as well: a line so weak that it may be weaker still",
    LabelFlag.UPPER_LIMIT: "a width of lines that the spectrum does not tell from 0: an upper limit, of 95 %, is given",
}
