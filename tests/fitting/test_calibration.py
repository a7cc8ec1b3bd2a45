"""Label errors whose correction and covariance are known, because the tests made them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_networks import line_networks, random_networks

from payneflow import PixelNetworks, fit_spectra
from payneflow.errors import CalibrationError, NetworkFileError
from payneflow.fitting.calibration import measure_label_errors, read_label_errors, ruinous, write_label_errors
from payneflow.fitting.flags import FitFlag
from payneflow.fitting.label_errors import FLUX_ERROR, LabelErrors, _best_shares, smoothness
from payneflow.fitting.settings import FitSettings
from payneflow.fitting.windows import Window
from payneflow.grid import SpectralGrid, Split

N_LABEL = 2
MODE = "labels Teff logg; velocity"


def networks(weight=0.0):
    return PixelNetworks(
        w_array_0=np.full((4, 3, N_LABEL), weight),
        b_array_0=np.zeros((4, 3)),
        w_array_1=np.ones((4, 3)),
        b_array_1=np.zeros(4),
        x_min=np.array([4000.0, 1.0]),
        x_max=np.array([6000.0, 5.0]),
        wavelength=15000.0 + np.arange(4),
        label_names=("Teff", "logg"),
        label_units=("K", "dex"),
        emulator_rms=np.full(4, 1e-3),
    )


def label_errors(scaled, errors, lengths=None, nugget=1e-3, **replaced):
    """Label errors at scaled labels (n, 2), odd rows held back; kriging's lengths searched for where none are given."""
    every = np.arange(len(scaled))
    smooth = {"lengths": lengths, "nugget": nugget, "size_lengths": np.ones(N_LABEL), "size_nugget": 1.0}
    if lengths is None:
        smooth = smoothness(scaled + errors[:, :N_LABEL], errors, every % 2 == 1)
    arrays = {
        "scaled": scaled,
        "errors": errors,
        "rows": every,
        "held_back": every % 2 == 1,
        "training": scaled[::2],
        **smooth,
        "mode": MODE,
        "networks": networks().digest,
        "provenance": {"fitted": len(scaled)},
        **replaced,
    }
    return LabelErrors(**{**arrays, "lengths": np.asarray(arrays["lengths"], dtype=float)})


def random_labels(n, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 0.9, (n, N_LABEL))


@pytest.fixture(scope="module")
def some():
    """60 spectra with smooth errors of two labels and a velocity, and some scatter."""
    scaled = random_labels(60)
    smooth = np.column_stack([np.sin(5 * scaled[:, 0]), np.cos(4 * scaled.sum(1)), scaled.prod(1)])
    scatter = 0.2 * np.random.default_rng(1).normal(size=smooth.shape)
    return label_errors(scaled, 1e-3 * (smooth + scatter), lengths=[0.3, 0.5], nugget=0.03)


# ------------------------------------------------------------------------------------------------------- known answers


def test_scatter_of_a_known_covariance_comes_back_as_that_covariance():
    known = 1e-6 * np.array([[4.0, 1.5], [1.5, 1.0]])
    scaled = random_labels(1000)
    scatter = np.random.default_rng(2).multivariate_normal(np.zeros(2), known, len(scaled))
    errors = label_errors(scaled, scatter)
    inside = 0.2 + 0.75 * (random_labels(200, seed=3) - 0.1)
    correction, covariance = errors.estimate(inside)
    sigma = np.sqrt(np.diag(known))
    size = np.outer(sigma, sigma)
    assert covariance.mean(axis=0) / size == pytest.approx(known / size, abs=0.1)
    assert (np.abs(correction).mean(axis=0) < 0.4 * sigma).all(), "scatter cannot be corrected"
    local = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)) / sigma
    assert (np.abs(np.percentile(local, [2, 98]) - 1) < 0.3).all()


def test_smooth_errors_are_corrected_also_where_none_was_measured():
    def truth(scaled):
        return 1e-3 * np.column_stack([np.sin(6 * scaled[:, 0]), np.cos(5 * scaled.sum(1))])

    scaled = random_labels(300)
    errors = label_errors(scaled, truth(scaled))
    stars = random_labels(500, seed=5)
    correction, covariance = errors.estimate(stars)
    left = truth(stars) - correction
    assert np.sqrt((left**2).mean()) < 0.02 * np.sqrt((truth(stars) ** 2).mean())
    size = np.sqrt(np.trace(covariance, axis1=1, axis2=2))
    assert np.percentile(size, 95) < 0.15 * np.sqrt((truth(stars) ** 2).mean())


def test_corrected_labels_of_noisy_fits_have_pulls_of_one():
    """Smooth errors, scatter that grows with one label, and photon noise; with each star's own error left out."""
    rng = np.random.default_rng(6)
    scaled = random_labels(600)
    scatter = rng.normal(size=scaled.shape) * (0.4 + scaled[:, :1])
    errors = label_errors(scaled, 1e-3 * (3 * np.sin(4 * scaled) + scatter))
    held = errors.held_back
    for noise in (0.0, 5e-4, 2e-3):
        fitted = scaled[held] + errors.errors[held] + noise * rng.normal(size=scaled[held].shape)
        correction, covariance = errors.estimate(fitted, exclude=errors.rows[held])
        sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2) + noise**2)
        pulls = (fitted - correction - scaled[held]) / sigma
        assert pulls.std(axis=0) == pytest.approx([1, 1], abs=0.1)
        warm = scaled[held][:, 0] > 0.6
        assert pulls[warm].std() == pytest.approx(1, abs=0.15) and pulls[~warm].std() == pytest.approx(1, abs=0.15)


def test_far_from_all_spectra_nothing_is_corrected_and_the_covariance_is_largest(some):
    away = 0.5 + np.array([[0.0], [1.0], [3.0], [30.0]]) * [1.0, 1.0]
    correction, covariance = some.estimate(away)
    assert np.abs(correction[3]) == pytest.approx(np.zeros(3), abs=1e-12)
    trace = np.trace(covariance, axis1=1, axis2=2)
    assert (trace[1:] > 5 * trace[0]).all() and trace[3] > 0.7 * trace.max()
    size = np.diag(some.errors.T @ some.errors) / len(some.errors)
    assert (np.diag(covariance[3]) > 0.3 * size).all()


def test_far_from_all_spectra_errors_are_thought_twice_as_large_as_those_measured_around_there_but_no_larger():
    """Errors that rise with a label and hardly scatter: kriging's own variance grows to many times their square."""
    scaled = random_labels(200)
    scatter = np.random.default_rng(3).normal(size=scaled.shape)
    errors = label_errors(scaled, 1e-3 * (5 * scaled - 2.5 + 0.1 * scatter), lengths=[1.5, 1.5], nugget=1e-4)
    rms = np.sqrt((errors.errors[errors.held_back] ** 2).mean(axis=0))
    away = np.array([[0.5, 0.5], [1.1, 1.1], [2.0, 2.0], [9.0, 9.0]])
    correction, covariance = errors.estimate(away)
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)) / rms
    mean = np.sqrt((sigma**2).mean(axis=1))
    assert mean[0] < 0.15 and mean[3] == pytest.approx(2, rel=0.5)
    corner = (scaled > 0.75).all(axis=1)
    assert mean[2] < 3 * np.sqrt((errors.errors[corner] ** 2).mean() / (rms**2).mean())
    assert (np.abs(correction[2]) < rms).all() and correction[3] == pytest.approx([0, 0], abs=1e-7)


def test_an_emulator_without_error_needs_no_correction():
    errors = label_errors(random_labels(40), np.zeros((40, 3)))
    correction, covariance = errors.estimate(random_labels(5))
    assert (correction == 0).all() and (covariance == 0).all()


def test_a_label_that_the_mode_fixes_stays_as_it_is(some):
    errors = replace(some, errors=some.errors * [1, 0, 1])
    correction, covariance = errors.estimate(random_labels(9, seed=8))
    assert (correction[:, 1] == 0).all() and (covariance[:, 1] == 0).all() and (covariance[:, :, 1] == 0).all()
    assert (np.diagonal(covariance, axis1=1, axis2=2)[:, [0, 2]] > 0).all()


def test_the_parts_are_those_of_the_whole(some):
    stars, rows = random_labels(7, seed=9), np.arange(7)
    correction, covariance = some.estimate(stars, rows)
    assert (some.correction(stars, rows) == correction[:, :2]).all()
    assert (some.covariance(stars, rows) == covariance[:, :2, :2]).all()
    assert (some.velocity_variance(stars, rows) == covariance[:, 2, 2]).all()
    with pytest.raises(CalibrationError, match="say nothing about velocities"):
        replace(some, errors=some.errors[:, :2]).velocity_variance(stars)


# -------------------------------------------------------------------------------------- many labels, and wild spectra


def many_labels(n, n_label=12, seed=0):
    """Scaled labels (n, n_label) and errors (n, 3) whose size is ruled by the first: by a factor of a hundred."""
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(0.1, 0.9, (n, n_label))
    size = 1e-3 * np.exp(3 * (scaled[:, 0] - 0.5) / 0.4)[:, None] * [1.0, 2.0, 0.5]
    return scaled, size, size * rng.normal(size=(n, 3))


def of_many(scaled, errors, held_back):
    every = np.arange(len(scaled))
    fitted = scaled.copy()
    fitted[:, :3] += errors
    padded = np.column_stack([errors, np.zeros((len(scaled), scaled.shape[1] - 3))])
    return LabelErrors(
        scaled, padded, every, held_back, scaled[~held_back], **smoothness(fitted, padded, held_back),
        mode="labels", networks="none",
    )  # fmt: skip


@pytest.fixture(scope="module")
def many():
    scaled, _, errors = many_labels(300)
    return scaled, errors, of_many(scaled, errors, np.arange(300) % 2 == 1)


def pulls_of(errors, stars, off):
    correction, covariance = errors.estimate(stars)
    return (off - correction[:, :3]) / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)[:, :3])


def test_among_many_labels_the_ones_that_matter_rule_the_size(many):
    """In scaled labels no spectrum is near another: one covariance would be 3 times too wide here, too narrow there."""
    _, _, errors = many
    stars, _, off = many_labels(600, seed=1)
    pulls = pulls_of(errors, stars, off)
    small, large = stars[:, 0] < 0.3, stars[:, 0] > 0.7
    assert pulls[small].std() == pytest.approx(1, abs=0.2) and pulls[large].std() == pytest.approx(1, abs=0.2)
    assert errors.size_lengths[0] < 0.5 * np.median(errors.size_lengths[1:])


def test_errors_that_nothing_predicts_are_not_corrected(many):
    _, _, errors = many
    stars, size, _ = many_labels(200, seed=2)
    assert (np.abs(errors.estimate(stars)[0][:, :3]).mean(axis=0) < 0.25 * size.mean(axis=0)).all()


def test_a_correction_is_made_where_it_helps_and_not_for_one_lucky_spectrum():
    rng = np.random.default_rng(7)
    errors, size = rng.normal(size=(200, 3)), np.ones((200, 3))
    predicted = np.column_stack([0.8 * errors[:, 0], rng.normal(size=200), np.zeros(200)])
    errors[50, 2] = predicted[50, 2] = 40.0
    assert _best_shares(errors, predicted, size).tolist() == [1.0, 0.0, 0.0]
    assert _best_shares(np.zeros((20, 1)), np.zeros((20, 1)), np.zeros((20, 1))).tolist() == [0.0]


@pytest.mark.parametrize("row", [40, 41])
def test_a_wild_spectrum_spoils_no_other(many, row):
    """A training spectrum (even) or a held-back one (odd), off by hundreds of sizes."""
    scaled, errors, calm = many
    wild = errors.copy()
    wild[row] = 0.5
    ruled = replace(calm, errors=np.column_stack([wild, np.zeros((300, scaled.shape[1] - 3))]))
    stars, size, off = many_labels(300, seed=3)
    before, after = calm.estimate(stars), ruled.estimate(stars)
    assert (np.abs(after[0] - before[0])[:, :3] < 1.5 * size).all()
    ratio = np.diagonal(after[1], axis1=1, axis2=2)[:, :3] / np.diagonal(before[1], axis1=1, axis2=2)[:, :3]
    assert np.median(ratio) == pytest.approx(1, abs=0.1) and ratio.max() < 4
    assert pulls_of(ruled, stars, off).std() == pytest.approx(1, abs=0.2)


def test_a_star_is_not_far_for_the_uncertainty_of_its_labels(many):
    _, _, errors = many
    away = errors.scaled[:1] + 1.5 * errors.reach * errors.size_lengths * np.eye(12)[3]
    assert errors.far(away)[0]
    uncertain = np.zeros((1, 12))
    uncertain[0, 3] = (1.5 * errors.reach * errors.size_lengths[3]) ** 2
    assert not errors.far(away, uncertain)[0]


def test_far_knows_which_labels_matter():
    """Giants and dwarfs on two lines of the first two labels; ten more that hardly act: a star between the lines."""
    rng = np.random.default_rng(5)
    scaled = rng.uniform(0.1, 0.9, (300, 12))
    scaled[:, 1] = np.where(scaled[:, 2] > 0.5, 0.85, 0.1 + 0.7 * scaled[:, 0]) + 0.02 * rng.normal(size=300)
    lengths = np.array([0.7, 0.7, *[9.0] * 10])
    held_back = np.arange(300) % 2 == 1
    errors = LabelErrors(
        scaled, 1e-3 * rng.normal(size=scaled.shape), np.arange(300), held_back, scaled[~held_back],
        lengths, 1e-2, "labels", "none", size_lengths=lengths, size_nugget=1.0,
    )  # fmt: skip
    stars = scaled[held_back].copy()
    assert not errors.far(stars).any()
    between = stars[stars[:, 0] < 0.25]
    between[:, 1] = 0.6
    assert len(between) > 5 and errors.far(between).all()


# ---------------------------------------------------------------------------------------------------------- held back


@pytest.mark.parametrize("row", [4, 7])
def test_exclude_is_as_if_the_spectrum_had_never_been_fitted(some, row):
    """A training spectrum (even) and a held-back one (odd). What all spectra say together hardly knows one of them."""
    kept = some.rows != row
    names = ("scaled", "errors", "rows", "held_back")
    never = replace(some, **{name: getattr(some, name)[kept] for name in names})
    for star in (some.scaled[[row]], random_labels(1, seed=row)):
        with_exclude, without = some.estimate(star, np.array([row])), never.estimate(star)
        size = np.sqrt(np.diagonal(without[1], axis1=1, axis2=2))
        assert np.abs(with_exclude[0] - without[0]).max() < 0.3 * size.min()
        assert np.diagonal(with_exclude[1], axis1=1, axis2=2) == pytest.approx(size**2, rel=0.25)
        assert with_exclude[0] != pytest.approx(some.estimate(star)[0], rel=1e-3)


def test_an_excluded_spectrum_may_be_any_grid_row_or_none(some):
    stars = random_labels(4, seed=1)
    everything = some.estimate(stars)
    for rows in (np.full(4, -1), np.full(4, 10**6)):
        assert all((one == other).all() for one, other in zip(some.estimate(stars, rows), everything, strict=True))


def test_without_forgets_the_rows_and_searches_for_the_smoothness_again(some):
    fold = some.rows[some.rows % 5 == 0]
    errors = some.without(fold)
    assert not np.isin(errors.rows, fold).any() and len(errors.rows) == 48
    assert errors.nugget != some.nugget
    changed = replace(some, errors=np.where(np.isin(some.rows, fold)[:, None], 1.0, some.errors)).without(fold)
    assert (changed.estimate(some.scaled)[1] == errors.estimate(some.scaled)[1]).all()


def test_too_few_held_back_spectra_are_refused(some):
    with pytest.raises(CalibrationError, match="9 held-back spectra: at least 10"):
        some.without(some.rows[1:43:2])


# --------------------------------------------------------------------------------------------------------- invariants


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_and_company_change_no_bit_and_the_order_of_the_grid_only_rounding(some, seed):
    rng = np.random.default_rng(seed)
    stars, rows = random_labels(12, seed=2), rng.integers(-1, 60, 12)
    correction, covariance = some.estimate(stars, rows)
    order = rng.permutation(12)[: rng.integers(1, 13)]
    again = some.estimate(stars[order], rows[order])
    assert (again[0] == correction[order]).all() and (again[1] == covariance[order]).all()
    grid = rng.permutation(60)
    names = ("scaled", "errors", "held_back")
    shuffled = replace(some, **{name: getattr(some, name)[grid] for name in names})
    place = np.where(rows < 0, -1, np.argsort(grid)[rows])
    correction_too, covariance_too = shuffled.estimate(stars, place)
    assert correction_too == pytest.approx(correction, rel=1e-7, abs=1e-12)
    assert covariance_too == pytest.approx(covariance, rel=1e-7, abs=1e-15)


def test_the_unit_of_a_parameter_changes_nothing_but_the_unit(some):
    """Errors e -> U e at the same fitted labels: correction c -> U c, covariance V -> U V U; and V is positive."""
    unit = np.array([1e3, 2.0, 1e-2])
    stars, rows = random_labels(6, seed=4), np.arange(6)
    correction, covariance = some.estimate(stars, rows)
    errors = some.errors * unit
    other, other_covariance = replace(some, scaled=some.fitted - errors[:, :2], errors=errors).estimate(stars, rows)
    assert other == pytest.approx(correction * unit, rel=1e-7, abs=1e-12)
    assert other_covariance == pytest.approx(covariance * np.outer(unit, unit), rel=1e-7, abs=1e-15)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_a_failed_fit_stays_nan_and_disturbs_no_other(some):
    stars = random_labels(5, seed=7)
    correction, covariance = some.estimate(stars)
    stars[2, 0] = np.nan
    with_nan = some.estimate(stars)
    others = [0, 1, 3, 4]
    assert np.isnan(with_nan[0][2]).all() and np.isnan(with_nan[1][2]).all()
    assert (with_nan[0][others] == correction[others]).all() and (with_nan[1][others] == covariance[others]).all()
    assert not some.far(stars)[2]


# ---------------------------------------------------------------------------------------------------------------- far


def test_far_is_farther_from_training_than_any_held_back_spectrum():
    """Training labels on a square lattice of step 0.1, held-back ones in the middle of its cells."""
    side = 0.1 * np.arange(1, 10)
    training = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    middle = np.stack(np.meshgrid(side[:-1] + 0.05, side[:-1] + 0.05), -1).reshape(-1, 2)
    scaled = np.concatenate([training, middle])
    held_back = np.arange(len(scaled)) >= len(training)
    scatter = np.random.default_rng(0).normal(size=scaled.shape)
    errors = label_errors(scaled, scatter, [0.1, 0.1], held_back=held_back, training=training)  # size_lengths: 1
    reach = 0.05 * np.sqrt(2)
    assert errors.reach == pytest.approx(reach)
    corner = np.array([0.9, 0.9])
    stars = [[0.42, 0.57], corner + 0.99 * reach / np.sqrt(2), corner + 1.01 * reach / np.sqrt(2), [0.5, 0.99], [2, 2]]
    assert errors.far(np.array(stars)).tolist() == [False, False, True, True, True]


# ------------------------------------------------------------------------------------------- what belongs to what; file


def test_label_errors_of_other_networks_or_another_mode_are_refused(some):
    some.check(networks(), MODE)
    with pytest.raises(CalibrationError, match="those of other networks.*run `payneflow calibrate`"):
        some.check(networks(weight=1e-9), MODE)
    with pytest.raises(
        CalibrationError, match=f"mode '{MODE}', not 'labels Teff; velocity'.*run `payneflow calibrate`"
    ):
        some.check(networks(), "labels Teff; velocity")


def test_round_trip(some, tmp_path):
    write_label_errors(some, tmp_path / "errors.npz")
    again = read_label_errors(tmp_path / "errors.npz")
    stars = random_labels(8)
    assert all((a == b).all() for a, b in zip(again.estimate(stars), some.estimate(stars), strict=True))
    assert (again.mode, again.networks, again.provenance) == (some.mode, some.networks, some.provenance)
    assert [path.name for path in tmp_path.iterdir()] == ["errors.npz"]


def test_a_file_of_an_earlier_version_is_read_and_its_sizes_are_searched_for(some, tmp_path):
    earlier = replace(some, size_lengths=None, size_nugget=None)
    write_label_errors(earlier, tmp_path / "errors.npz")
    again, stars = read_label_errors(tmp_path / "errors.npz"), random_labels(8)
    assert again.size_lengths is None and again.photon_share is None
    assert all((a == b).all() for a, b in zip(again.estimate(stars), earlier.estimate(stars), strict=True))


def test_the_emulator_s_error_is_counted_once(some, tmp_path):
    """Formal variances keep the part that is noise: that of the calibration at its noise, nearly all in more noise."""
    known = replace(some, photon_share=np.array([0.5, 1.0, 0.25]))
    rms = np.full(9, 2e-3)
    at_calibration = FLUX_ERROR**2 + 4e-6
    shares = known.photon_shares(np.array([at_calibration, 100 * FLUX_ERROR**2 + 4e-6]), rms)
    assert shares[0] == pytest.approx([0.5, 1.0, 0.25])
    assert shares[1] == pytest.approx([100 / 101, 1.0, 100 / 103])
    assert (some.photon_shares(np.array([at_calibration]), rms) == 1).all(), "not measured"
    write_label_errors(known, tmp_path / "errors.npz")
    assert (read_label_errors(tmp_path / "errors.npz").photon_share == known.photon_share).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size_nugget": None}, "size_lengths and size_nugget belong together"),
        ({"errors": None}, "no errors; expected label errors"),
        ({"mode": None, "nugget": None}, "no nugget, mode; expected"),
        ({"format_version": np.array(99)}, "format_version 99 is newer"),
        ({"errors": np.zeros((59, 2))}, r"errors has shape \(59, 2\), expected \(60, n_parameter\)"),
        ({"errors": np.zeros((60, 4))}, "errors has 4 columns.*2 labels"),
        ({"scaled": np.zeros(60)}, r"scaled has shape \(60,\), expected \(n_row, n_label\)"),
        ({"lengths": np.ones(3)}, r"lengths has shape \(3,\), expected \(2,\)"),
        ({"training": np.full((30, 2), np.nan)}, "training is not finite"),
        ({"held_back": np.zeros(60)}, "held_back is float64, expected true or false"),
        ({"nugget": np.array(-1e-3)}, "nugget holds -0.001, expected 0 or more"),
        ({"lengths": np.zeros(2)}, "lengths holds 0.0, expected 1e-09 or more"),
        ({"rows": np.zeros(60, int)}, "rows does not increase: 0 is followed by 0 at 1"),
        ({"held_back": np.zeros(60, bool)}, "0 held-back spectra"),
        ({"mode": np.array(3)}, "mode is int64, expected text"),
        ({"provenance": np.array("{")}, "provenance is not JSON"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_key(some, tmp_path, change, says):
    path = tmp_path / "errors.npz"
    write_label_errors(some, path)
    arrays = {**np.load(path), **change}
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(CalibrationError, match=says) as raised:
        read_label_errors(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "errors.npz").write_text("labels")
    with pytest.raises(CalibrationError, match="errors.npz: not an npz file"):
        read_label_errors(tmp_path / "errors.npz")


# ---------------------------------------------------------------------------------------------------------- measured


NAMES = "Teff", "logg", "[Fe/H]"


@pytest.fixture(scope="module")
def emulator():
    """Networks of 60 pixels and three labels."""
    return replace(random_networks(60), provenance={"grid_sha256": "of the grid"})


def known_errors(labels):
    """A smooth label error (n, 3) in K, dex, dex."""
    unit = (labels - [4000, 1, -2]) / [2500, 4, 2.5]
    return np.column_stack([20 * np.sin(3 * unit[:, 0]), 0.05 * np.cos(3 * unit[:, 1]), 0.03 * unit[:, 0] * unit[:, 2]])


@pytest.fixture(scope="module")
def grid(emulator):
    """A grid whose spectra the networks take for those of other labels, off by `known_errors`."""
    labels = np.random.default_rng(3).uniform([4100, 1.2, -1.9], [6400, 4.8, 0.4], (120, 3))
    flux = emulator.predict(labels + known_errors(labels))
    names, units = emulator.label_names, emulator.label_units
    return SpectralGrid("grid.npz", emulator.wavelength, flux, labels, names, units, "of the grid")


@pytest.fixture(scope="module")
def measured(emulator, grid):
    return measure_label_errors(emulator, grid, FitSettings())


def test_measured_errors_are_those_that_were_put_in(emulator, grid, measured):
    assert measured.errors * emulator.scaler.width == pytest.approx(known_errors(grid.labels), rel=1e-3, abs=1e-4)
    assert measured.scaled == pytest.approx(emulator.scaler.scale(grid.labels))
    assert measured.rows.tolist() == list(range(120)) and (measured.held_back == (measured.rows % 2 == 1)).all()
    assert (measured.training == measured.scaled[::2]).all()
    assert measured.provenance["grid_sha256"] == "of the grid" and measured.provenance["left_out"] == 0
    measured.check(emulator, "labels Teff logg [Fe/H]")
    square = emulator.emulator_rms**2
    assert measured.photon_share == pytest.approx(np.mean(FLUX_ERROR**2 / (FLUX_ERROR**2 + square)), abs=0.25)


def test_fits_are_corrected_and_say_how_well(emulator, measured):
    """Stars that are not in the grid, with noise: without label errors they are off by many of their sigma."""
    rng = np.random.default_rng(4)
    labels = rng.uniform([4300, 1.6, -1.6], [6200, 4.4, 0.1], (300, 3))
    flux = emulator.predict(labels + known_errors(labels)) + rng.normal(0, 1e-3, (300, 60))
    pulls = {}
    for name, errors in (("formal", None), ("calibrated", measured)):
        fits = fit_spectra(emulator, flux, 1e-3, settings=FitSettings(emulator_error=False), label_errors=errors)
        off = np.column_stack([fits[label] for label in emulator.label_names]) - labels
        pulls[name] = off / np.column_stack([fits[f"{label}_error"] for label in emulator.label_names])
    assert (np.sqrt((pulls["formal"] ** 2).mean(axis=0)) > 1.5).all()
    assert np.sqrt((pulls["calibrated"] ** 2).mean(axis=0)) == pytest.approx(np.ones(3), abs=0.12)


def test_with_windows_fits_are_corrected_as_the_same_windows_are_off(emulator, grid):
    first, last = emulator.wavelength[[15, 45]]
    wanted = FitSettings(windows=[Window("[Fe/H]", first, last)], emulator_error=False)
    errors = measure_label_errors(emulator, grid, wanted)
    assert errors.errors * emulator.scaler.width == pytest.approx(known_errors(grid.labels), rel=1e-3, abs=1e-3)
    rng = np.random.default_rng(4)
    labels = rng.uniform([4300, 1.6, -1.6], [6200, 4.4, 0.1], (150, 3))
    flux = emulator.predict(labels + known_errors(labels)) + rng.normal(0, 1e-3, (150, 60))
    fits = fit_spectra(emulator, flux, 1e-3, settings=wanted, label_errors=errors)
    pulls = np.column_stack([(fits[name] - labels[:, j]) / fits[f"{name}_error"] for j, name in enumerate(NAMES)])
    assert np.sqrt((pulls**2).mean(axis=0)) == pytest.approx(np.ones(3), abs=0.15)
    for other in ([], [Window("[Fe/H]", first, last + 1.0)]):
        with pytest.raises(CalibrationError, match="run `payneflow calibrate`"):
            fit_spectra(emulator, flux[:1], 1e-3, settings=replace(wanted, windows=other), label_errors=errors)


def test_a_fixed_label_is_fixed_at_each_spectrum_s_true_value(emulator, grid):
    """Not at the one value that all stars are to have; and priors, which would draw the labels, take no part."""
    wanted = FitSettings(fixed={"logg": 3.0}, priors={"Teff": (5000.0, 1.0)})
    errors = measure_label_errors(emulator, grid, wanted)
    errors.check(emulator, "labels Teff [Fe/H]")
    assert (errors.errors[:, 1] == 0).all() and (errors.errors[:, [0, 2]] != 0).all()
    assert np.abs(errors.errors[:, 0] * emulator.scaler.width[0]).max() < 100, "not drawn to 5000 K"
    stars = emulator.scaler.scale(grid.labels[:5])
    correction, covariance = errors.estimate(stars)
    assert (correction[:, 1] == 0).all() and (covariance[:, 1] == 0).all()


@pytest.mark.parametrize(
    "wrong",
    [{31: (2, -999.0)}, {31: (0, 4101.0), 77: (2, -32768.0), 90: (1, 1.21)}],
    ids=["a placeholder", "and labels within the range of the grid"],
)
def test_rows_with_other_labels_than_their_spectrum_change_no_star(emulator, grid, measured, wrong):
    labels = grid.labels.copy()
    for row, (label, value) in wrong.items():
        labels[row, label] = value
    errors = measure_label_errors(emulator, replace(grid, labels=labels), FitSettings())
    assert errors.provenance["wrong_labels"] == sorted(wrong) and errors.provenance["left_out"] == len(wrong)
    assert len(errors.rows) == 120 - len(wrong)
    stars = emulator.scaler.scale(np.random.default_rng(6).uniform([4300, 1.6, -1.6], [6200, 4.4, 0.1], (50, 3)))
    assert errors.correction(stars) == pytest.approx(measured.correction(stars), abs=2e-3)
    assert errors.reach == pytest.approx(measured.reach, rel=0.2)


def test_errors_of_many_spectra_are_the_networks_fault_not_their_labels():
    errors = 1e-3 * np.random.default_rng(7).normal(size=(100, 2))
    assert not ruinous(errors).any()
    errors[:6, 1] = 0.5
    assert not ruinous(errors).any()
    errors[2:6, 1] = 1e-3
    assert np.flatnonzero(ruinous(errors)).tolist() == [0, 1]
    assert not ruinous(np.zeros((40, 3))).any()


def bumpy_networks(width, n_pixel):
    """One label, and pixels each of which knows it only within `width` (scaled) of a place of its own."""
    place, steep = np.linspace(0.05, 0.95, n_pixel), 2.0 / width
    edges = np.stack([place - width, place + width], axis=1)
    return PixelNetworks(
        w_array_0=np.full((n_pixel, 2, 1), steep),
        b_array_0=-steep * edges,
        w_array_1=np.tile([-4.0, 4.0], (n_pixel, 1)),
        b_array_1=np.full(n_pixel, 2.5),
        x_min=np.array([4000.0]),
        x_max=np.array([6000.0]),
        wavelength=15000.0 + 0.2 * np.arange(n_pixel),
        label_names=("Teff",),
        label_units=("K",),
        emulator_rms=np.full(n_pixel, 1e-3),
    )


@pytest.mark.parametrize(("width", "n_pixel", "several"), [(0.6, 16, False), (0.015, 32, True)])
def test_calibration_walks_the_path_of_a_star_and_starts_where_that_takes_it(width, n_pixel, several):
    """Where chi2 has several minima, fits that know no labels get more starts; and so do those of stars."""
    emulator = bumpy_networks(width, n_pixel)
    labels = np.random.default_rng(9).uniform(4250, 5750, (100, 1))
    flux = emulator.predict(labels + 2.0 * np.sin(labels / 300.0))
    grid = SpectralGrid("grid.npz", emulator.wavelength, flux, labels, ("Teff",), ("K",), "of the grid")
    errors = measure_label_errors(emulator, grid, FitSettings())
    assert (errors.n_starts > 1) == several
    assert np.abs(errors.errors * emulator.scaler.width).max() < 3.0
    stars = np.random.default_rng(10).uniform(4300, 5700, (200, 1))
    noisy = emulator.predict(stars + 2.0 * np.sin(stars / 300.0)) + np.random.default_rng(11).normal(
        0, 3e-3, (200, n_pixel)
    )
    fits = fit_spectra(emulator, noisy, 3e-3, label_errors=errors)
    unsure = (fits["flags"] & FitFlag.STARTS_DISAGREE) > 0
    assert np.mean(np.abs(fits["Teff"] - stars[:, 0])[~unsure] < 6 * fits["Teff_error"][~unsure]) > 0.98
    assert unsure.mean() < 0.1


def test_what_is_held_back_is_what_the_networks_were_not_trained_on(emulator, grid):
    """Not what the split of the grid says that happens to be given."""
    trains = np.random.default_rng(8).permutation(120) < 70
    errors = measure_label_errors(replace(emulator, split=Split("random", trains)), grid, FitSettings())
    assert (errors.held_back == ~trains).all()
    assert (errors.training == emulator.scaler.scale(grid.labels[trains])).all()


def test_the_velocity_is_one_more_parameter():
    """Labels known to be off, velocity not; the covariance of both serves fits in the same mode and no other."""
    emulator = line_networks(2, 3, n_pixel=400, seed=4)
    width, rng = emulator.scaler.width, np.random.default_rng(5)
    labels = emulator.scaler.unscale(rng.uniform(0.2, 0.8, (100, 2)))
    off = 0.02 * width * np.sin(3 * emulator.scaler.scale(labels))
    flux = emulator.predict(labels + off)
    names, units = emulator.label_names, emulator.label_units
    grid = SpectralGrid("grid.npz", emulator.wavelength, flux, labels, names, units, "of the grid")
    wanted = FitSettings(velocity=True, continuum=2, max_velocity=100.0)
    errors = measure_label_errors(emulator, grid, wanted)
    assert errors.errors[:, :2] * width == pytest.approx(off, abs=0.03 * np.abs(off).max())
    assert np.abs(errors.errors[:, 2]).max() < 1e-2, "km/s"
    kept = errors.held_back
    fits = fit_spectra(emulator, flux[kept], 1e-3, settings=wanted, label_errors=errors, exclude=errors.rows[kept])
    left = np.column_stack([fits[name] for name in names]) - labels[kept]
    assert (np.sqrt((left**2).mean(axis=0)) < 0.1 * np.sqrt((off**2).mean(axis=0))).all()
    assert (errors.velocity_variance(errors.scaled) >= 0).all() and (fits["RV_error"] > 0).all()
    with pytest.raises(CalibrationError, match="run `payneflow calibrate`"):
        fit_spectra(emulator, flux[:1], 1e-3, label_errors=errors)
    flux[41] = np.interp(emulator.wavelength, emulator.wavelength * (1 + 3.0 / 299792.458), flux[41])
    moving = measure_label_errors(emulator, replace(grid, flux=flux), wanted)
    assert moving.errors[41, 2] == pytest.approx(3.0, abs=0.3) and moving.provenance["wrong_labels"] == []


def test_a_spectrum_that_cannot_be_fitted_is_left_out_and_counted(emulator, grid):
    flux = grid.flux.copy()
    flux[[4, 7]] = np.nan
    errors = measure_label_errors(emulator, replace(grid, flux=flux), FitSettings())
    assert len(errors.rows) == 118 and not np.isin([4, 7], errors.rows).any()
    assert errors.provenance["fitted"] == 120 and errors.provenance["left_out"] == 2
    assert len(errors.training) == 60, "distances are to all training spectra"


def test_a_large_grid_gives_as_many_spectra_of_each_half(emulator, grid, monkeypatch):
    monkeypatch.setattr("payneflow.fitting.calibration.MOST_OF_A_SET", 20)
    done = []
    errors = measure_label_errors(emulator, grid, FitSettings(), done.append)
    assert errors.held_back.sum() == 20 and len(errors.rows) == 40 and done[-1] == 40
    assert len(errors.training) == 60


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"sha256": "of another"}, NetworkFileError, "grid.npz: not the grid that the networks were trained on"),
        ({"flux": np.full((120, 60), np.nan)}, CalibrationError, "no noiseless spectrum of the grid could be fitted"),
    ],
)
def test_a_grid_that_cannot_calibrate_is_refused(emulator, grid, change, error, says):
    with pytest.raises(error, match=says):
        measure_label_errors(emulator, replace(grid, **change), FitSettings())


def test_too_few_pixels_for_the_parameters_are_said_before_anything_is_fitted(emulator, grid, monkeypatch):
    """Once the whole grid was fitted first."""
    monkeypatch.setattr("payneflow.fitting.calibration.search_spectra", None)
    few = replace(emulator, b_array_1=np.where(np.arange(60) < 5, emulator.b_array_1, np.nan))
    settings = FitSettings(continuum=3)
    with pytest.raises(CalibrationError, match="5 pixels with a network for [0-9]+ parameters.*Train more pixels"):
        measure_label_errors(few, grid, settings)
