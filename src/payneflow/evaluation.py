"""How well the networks reproduce the grid's spectra: the training set, and the test set, which they never saw."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from payneflow.errors import PayneflowError
from payneflow.grid import SpectralGrid, Split
from payneflow.network import NAMES_OF_LABELS, Networks, explained, not_learnt, problem_of_flux_scale
from payneflow.statistics import evenly
from payneflow.stored_arrays import Array, FileOf

BLOCK_BYTES = 64 * 2**20  # of the errors of all spectra at some pixels, which are looked at together
SETS = ("training", "test")
KRIGING_PIXELS = 512  # from which the smoothness is found
KRIGING_TRAINING, KRIGING_TEST = 1000, 400  # spectra at most, evenly spread; its time goes with the cube of the first
LEAST_KRIGING = 30  # training spectra, of which kriging can tell how smooth flux is
PUBLISHED_TRUNC_DIFF = 0.003  # of networks that do not say theirs


def evaluate_networks(networks: Networks, grid: SpectralGrid) -> dict[str, np.ndarray]:
    """Errors of the predicted spectra at the true labels, in the unit of the flux.

    Returns, for both sets, `median_deviation_SET` (median over the spectra of |predicted - true|), `rms_SET` and
    `largest_SET`, each (n_pixel,), `explained_test` (n_pixel,), the part of the variance of the test spectra that the
    networks explain, `failed`, why they are not to be used ("" where they are), by their digests `networks` and `grid`,
    `rms_spectrum` (n_spectrum,), of each spectrum of the grid over the pixels that have a network, and as `example_...`
    truth and prediction of the test spectrum of median rms. To compare: `rms_kriging` (n_pixel,), the error on the test
    set of kriging from `n_kriging` of the training spectra, where these are enough for it.
    Raises NetworkFileError where grid and networks do not have the same labels and wavelengths, or the networks were
    trained on another grid.
    """
    columns = networks.columns_in(grid.wavelength, grid.label_names, grid.path)
    split = networks.split_of(grid)
    sets = tuple(zip(SETS, (split.training, split.test), strict=True))
    scaled = networks.scaler.scale(grid.labels)
    results: dict[str, np.ndarray] = {
        "wavelength": networks.wavelength,
        "label_names": np.array(networks.label_names),
        "label_units": np.array(networks.label_units),
        "flux_scale": np.array([networks.flux_scale.lowest, networks.flux_scale.highest]),
        "trunc_diff": np.array(
            networks.provenance.get("settings", {}).get("trunc_diff", np.nan) * networks.flux_scale.width
        ),
    }
    results["explained_test"] = np.empty(len(columns))
    for measure in ("median_deviation", "rms", "largest"):
        results |= {f"{measure}_{name}": np.empty(len(columns)) for name in SETS}
    square_of_spectrum = np.zeros(len(scaled))  # summed over the pixels that have a network
    has_network = 0
    kriging = _Kriging.of(grid, split, scaled, columns)
    if kriging is not None:
        results |= {"rms_kriging": np.empty(len(columns)), "n_kriging": np.array(len(kriging.training))}
    for pixels in _blocks_of_pixels(len(columns), len(scaled)):
        some = networks.of_pixels(pixels)
        flux = grid.flux[:, columns[pixels]]
        for name, spectra in sets:
            error = np.subtract(some.predict_scaled(scaled[spectra]), flux[spectra], order="C")
            results[f"median_deviation_{name}"][pixels] = np.median(np.abs(error), axis=0)
            results[f"rms_{name}"][pixels] = np.sqrt((error**2).mean(axis=0))
            results[f"largest_{name}"][pixels] = np.abs(error).max(axis=0)
            if name == "test":
                variance = np.array(flux[spectra], dtype=float, order="C").var(axis=0)
                results["explained_test"][pixels] = explained(results["rms_test"][pixels] ** 2, variance)
            known = np.isfinite(error).all(axis=0)
            so_far = square_of_spectrum[spectra]
            # one pixel after the other, as in `cumsum`: blocks then change no bit
            square_of_spectrum[spectra] = np.column_stack([so_far, error[:, known] ** 2]).cumsum(axis=1)[:, -1]
        has_network += int(known.sum())
        if kriging is not None:
            results["rms_kriging"][pixels] = kriging.rms(flux)
    spectra = split.test_rows
    spectrum = int(spectra[np.argsort(square_of_spectrum[split.test])[len(spectra) // 2]])
    truth = grid.flux[spectrum, columns].astype(float)
    return {
        **results,
        "failed": np.array(_failure(networks, results)),
        "networks": np.array(networks.digest),
        "grid": np.array(grid.sha256),
        "rms_spectrum": np.sqrt(square_of_spectrum / max(has_network, 1)),
        "example_spectrum": np.array(spectrum),
        "example_labels": grid.labels[spectrum],
        "example_flux": truth,
        "example_prediction": truth + (networks.predict_scaled(scaled[spectrum]) - truth),
    }


@dataclass(frozen=True)
class _Kriging:
    """Kriging of some training spectra, and the test spectra that it predicts, as rows of the grid; its weights."""

    training: np.ndarray
    test: np.ndarray
    weights: np.ndarray  # (n_test, n_training)

    @classmethod
    def of(cls, grid: SpectralGrid, split: Split, scaled: np.ndarray, columns: np.ndarray) -> "_Kriging | None":
        """From `scaled` labels (n_spectrum, n_label), at the `columns`; None where the training spectra are too few."""
        from payneflow.kriging import descended_lengths, kriging_matrix  # numba: not for whoever reads an evaluation

        if split.n_training < LEAST_KRIGING:
            return None
        training = split.training_rows[evenly(split.n_training, KRIGING_TRAINING)]
        test = split.test_rows[evenly(split.n_test, KRIGING_TEST)]
        some = columns[evenly(len(columns), KRIGING_PIXELS)]
        lengths, nugget = descended_lengths(scaled[training], np.asarray(grid.flux[training][:, some], dtype=float))
        return cls(training, test, kriging_matrix(scaled[training], scaled[test], lengths, nugget))

    def rms(self, flux: np.ndarray) -> np.ndarray:
        """(n_pixel,): the rms error of the prediction of the test spectra; flux (n_spectrum, n_pixel) of the grid."""
        from payneflow.kriging import weighted_sums

        known = np.ascontiguousarray(flux[self.training], dtype=float)
        predicted = weighted_sums(self.weights, known - known[0]) + known[0]  # no digits are lost to a large constant
        return np.sqrt(((predicted - flux[self.test]) ** 2).mean(axis=0))


def _failure(networks: Networks, results: dict[str, np.ndarray]) -> str:
    """What `gather` found of the networks; of those that carry no such finding, whether most are not learnt."""
    if "failed" in networks.provenance:
        return networks.failure
    largest, trunc_diff = results["largest_test"], float(results["trunc_diff"])
    if not np.isfinite(trunc_diff):
        trunc_diff = PUBLISHED_TRUNC_DIFF * networks.flux_scale.width
    lost = not_learnt(largest, results["explained_test"], trunc_diff) | ~np.isfinite(largest)
    if 2 * lost.sum() <= len(lost):
        return ""
    return (
        f"{lost.sum()} of {len(lost)} pixels have no network, or one that explains less than half of how the test "
        "spectra differ. Likely cause: training that ended long before it was done, labels that do not explain the "
        "flux, or networks of other spectra than these."
    )


def _blocks_of_pixels(n_pixel: int, n_spectrum: int) -> list[slice]:
    """Slices of the pixels, whose errors in one set take about BLOCK_BYTES; all pixels at once if they fit."""
    n_block = -(-n_pixel * (n_spectrum // 2) * 8 // BLOCK_BYTES)
    n_block = min(n_block, max(1, n_pixel // 2))  # numpy sums a single column in another order
    edges = np.linspace(0, n_pixel, n_block + 1).astype(int).tolist()
    return [slice(first, last) for first, last in pairwise(edges)]


_FILE = FileOf(
    what="an evaluation file",
    again="Run `payneflow evaluate` again.",
    error=PayneflowError,
    version=1,  # still read: files of earlier versions, which say no version and have no checksum
    checksum_since=1,
    arrays=(
        *NAMES_OF_LABELS,
        Array("wavelength", "f", ("n_pixel",), finite=True, positive=True, increasing=True),
        Array("flux_scale", "f", (2,), finite=True, optional=True),
        Array("trunc_diff", "f", optional=True),
        *(
            Array(f"{measure}_{name}", "f", ("n_pixel",), least=0.0)  # NaN where a pixel has no network
            for measure in ("median_deviation", "rms", "largest")
            for name in SETS
        ),
        Array("explained_test", "f", ("n_pixel",), infinite=True, optional=True),
        Array("rms_kriging", "f", ("n_pixel",), finite=True, least=0.0, optional=True),
        Array("n_kriging", "i", least=0, optional=True),
        Array("rms_spectrum", "f", ("n_spectrum",), finite=True, least=0.0, optional=True),
        *(Array(name, "U", optional=True) for name in ("failed", "networks", "grid")),
        Array("example_spectrum", "i", least=0),
        Array("example_labels", "f", ("n_label",), finite=True),
        Array("example_flux", "f", ("n_pixel",), finite=True),
        Array("example_prediction", "f", ("n_pixel",)),
    ),
    relations=(problem_of_flux_scale,),
)


def write_evaluation(results: dict[str, np.ndarray], path: str | Path) -> None:
    """Write what `evaluate_networks` returned (npz)."""
    _FILE.write(path, results)


def read_evaluation(path: str | Path) -> dict[str, np.ndarray]:
    """Read what `write_evaluation` wrote. Raises PayneflowError naming file and key where it is no such file."""
    return _FILE.read(path)


def evaluation_text(results: dict[str, np.ndarray]) -> str:
    """The accuracy of the networks in a few lines; pixels that failed to train are counted apart.

    Where the networks are not to be used, the first line says FAILED, and why.
    """
    failed = str(results.get("failed", ""))
    lines = [f"FAILED: {failed}"] if failed else []
    for name in SETS:
        good = np.isfinite(results[f"rms_{name}"])
        lines.append(
            f"{name + ' set:':14}median over {good.sum()} pixels of the median absolute deviation "
            f"{np.median(results[f'median_deviation_{name}'][good]):.2e}, "
            f"rms {np.sqrt(np.mean(results[f'rms_{name}'][good] ** 2)):.2e}, "
            f"largest {results[f'largest_{name}'][good].max():.4f}"
            + (f"; {(~good).sum()} pixels have no network" if not good.all() else "")
        )
    if "rms_kriging" in results:
        rms = np.sqrt(np.mean(results["rms_kriging"] ** 2))
        lines.append(f"to compare:   kriging of {results['n_kriging']} training spectra, rms {rms:.2e} on the test set")
    return "\n".join(lines)
