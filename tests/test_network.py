"""Networks with weights set by hand, the scaling, and the network file."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import payneflow
from payneflow import LabelRangeWarning, PixelNetworks, read_networks
from payneflow.errors import NetworkFileError
from payneflow.scaling import LabelScaler, scale_flux, unscale_flux
from payneflow.stored_arrays import write_arrays


def by_hand() -> PixelNetworks:
    """Two pixels, two neurons, two labels; numbers small enough to follow with a pencil."""
    return PixelNetworks(
        w_array_0=np.array([[[1.0, 0.0], [0.0, 2.0]], [[-1.0, 1.0], [0.5, 0.5]]]),
        b_array_0=np.array([[0.0, -1.0], [0.5, 0.0]]),
        w_array_1=np.array([[2.0, -1.0], [1.0, 1.0]]),
        b_array_1=np.array([0.25, -0.5]),
        x_min=np.array([4000.0, -2.0]),
        x_max=np.array([6000.0, 0.0]),
        wavelength=np.array([15000.0, 15000.2]),
        label_names=("Teff", "[Fe/H]"),
        label_units=("K", "dex"),
        emulator_rms=np.array([0.001, 0.002]),
        provenance={"seed": 3},
    )


def sigma(z):
    return 1 / (1 + np.exp(-z))


def test_prediction_by_hand():
    # Teff 5000 K is the middle, 0.5; [Fe/H] -2 is the lowest, 0.1
    flux = by_hand().predict(np.array([5000.0, -2.0]))
    first = sigma(2 * sigma(0.5) - sigma(2 * 0.1 - 1) + 0.25)
    second = sigma(sigma(-0.5 + 0.1 + 0.5) + sigma(0.25 + 0.05) - 0.5)
    assert flux == pytest.approx((np.array([first, second]) - 0.1) / 0.8, rel=1e-14)


def test_many_spectra_are_the_single_ones_to_the_bit():
    labels = np.random.default_rng(0).uniform([4000, -2], [6000, 0], (7, 2))
    together = by_hand().predict(labels)
    assert together.shape == (7, 2)
    assert (together == [by_hand().predict(one) for one in labels]).all()


def test_jacobian_is_the_difference_quotient():
    networks, at, step = by_hand(), np.array([0.4, 0.7]), 1e-6
    flux, jacobian = networks.jacobian_scaled(at)
    assert (flux == networks.predict_scaled(at)).all()
    for j, move in enumerate(np.eye(2) * step):
        quotient = (networks.predict_scaled(at + move) - networks.predict_scaled(at - move)) / (2 * step)
        assert jacobian[:, j] == pytest.approx(quotient, abs=1e-9)


def test_a_label_outside_the_training_range_is_named():
    with pytest.warns(LabelRangeWarning, match=r"\[Fe/H\] of 1 of 2 spectra .* -2 \.\.\. 0 dex"):
        by_hand().predict(np.array([[5000.0, -1.0], [5000.0, 0.3]]))


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (1, 1, 2)])
def test_labels_of_the_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"\(n_spectrum, 2\).*Teff, \[Fe/H\]"):
        by_hand().predict(np.zeros(shape))


def test_file_round_trip(tmp_path):
    networks = by_hand()
    networks.write(tmp_path / "net.npz")
    again = read_networks(tmp_path / "net.npz")
    for name in PixelNetworks.__dataclass_fields__:
        assert np.array_equal(getattr(networks, name), getattr(again, name)), name
    assert payneflow.read_networks is read_networks


def test_a_resolution_is_a_number_of_the_provenance_or_an_array_that_only_the_next_format_has(tmp_path):
    path, one = tmp_path / "net.npz", replace(by_hand(), provenance={"resolution": 22500.0})
    one.write(path)
    with np.load(path) as stored:
        assert stored["format_version"] == 4 and "resolution" not in stored
    assert read_networks(path).resolution == 22500.0 and by_hand().resolution == 0.0
    each = replace(by_hand(), resolution_of_pixels=np.array([2e4, 2.5e4]))
    each.write(path)
    assert read_networks(path).resolution.tolist() == [2e4, 2.5e4] and each.digest == by_hand().digest
    with np.load(path) as opened:
        stored = dict(opened)
    assert stored["format_version"] == 5
    for wrong, says in (
        ({"resolution": np.ones(3)}, r"resolution has shape \(3,\), expected \(2,\): \(n_pixel,\)"),
        ({"resolution": np.array([2e4, 0.0])}, "resolution holds 0.0, expected positive numbers"),
        ({"resolution": np.array([np.inf, 2e4])}, "resolution is not finite everywhere"),
        ({"provenance": '{"resolution": 2e4}'}, "resolution has one for each pixel, expected one of both"),
    ):
        write_arrays(path, {**stored, **wrong})
        with pytest.raises(NetworkFileError, match=f"net.npz: .*{says}"):
            read_networks(path)
    with pytest.raises(NetworkFileError, match="one of both. Leave out resolution_of_pixels"):
        replace(each, provenance={"resolution": 2e4}).write(path)


def test_an_existing_script_reads_the_published_keys(tmp_path):
    by_hand().write(tmp_path / "net.npz")
    stored = np.load(tmp_path / "net.npz", allow_pickle=False)
    # the prediction of the published fitting code
    scaled = (np.array([5000.0, -1.0]) - stored["x_min"]) * 0.8 / (stored["x_max"] - stored["x_min"]) + 0.1
    inside = np.einsum("ijk,k->ij", stored["w_array_0"], scaled) + stored["b_array_0"]
    outside = np.einsum("ij,ij->i", stored["w_array_1"], sigma(inside)) + stored["b_array_1"]
    assert (sigma(outside) - 0.1) / 0.8 == pytest.approx(by_hand().predict(np.array([5000.0, -1.0])), rel=1e-14)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("w_array_1", None, "no w_array_1"),
        ("b_array_0", np.zeros((2, 3)), r"b_array_0 has shape \(2, 3\), expected \(2, 2\): \(n_pixel, n_neurons\)"),
        ("w_array_0", np.zeros((2, 2)), r"w_array_0 has shape \(2, 2\).*n_neurons"),
        ("wavelength", np.zeros(5), r"wavelength has shape \(5,\).*\(2,\)"),
        ("format_version", np.array(99), "update payneflow"),
    ],
)
def test_a_damaged_network_file_is_refused(tmp_path, key, value, says):
    path = tmp_path / "net.npz"
    by_hand().write(path)
    stored = dict(np.load(path))
    stored.pop(key)
    if value is not None:
        stored[key] = value
    np.savez(path, **stored)  # with the checksum of what it was: what is wrong is named all the same
    with pytest.raises(NetworkFileError, match=f"net.npz.*{says}"):
        read_networks(path)


def test_a_file_of_format_1_is_read_and_written_again_in_the_newest(tmp_path):
    """Format 1 calls the emulator's rms flux_error; all else is the same."""
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    by_hand().write(new)
    stored = dict(np.load(new))
    assert stored["format_version"] == 4 and "flux_error" not in stored
    np.savez(old, **{**stored, "flux_error": stored["emulator_rms"], "format_version": np.array(1)})
    renamed = {key: value for key, value in np.load(old).items() if key not in ("emulator_rms", "checksum")}
    np.savez(old, **renamed)
    networks = read_networks(old)
    assert networks.emulator_rms.tolist() == [0.001, 0.002]
    networks.write(old)
    again = dict(np.load(old))
    assert set(again) == set(stored) and all((again[key] == stored[key]).all() for key in stored)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_what_is_no_network_file_is_refused(tmp_path, content):
    (tmp_path / "net.npz").write_bytes(content)
    with pytest.raises(NetworkFileError, match="net.npz"):
        read_networks(tmp_path / "net.npz")
    with pytest.raises(NetworkFileError, match=r"absent.npz: no such file"):
        read_networks(tmp_path / "absent.npz")


def test_scaling_by_hand():
    scaler = LabelScaler.of_training_labels(np.array([[4000.0, -2.0], [6000.0, 0.0], [5000.0, -1.5]]))
    assert scaler.scale(np.array([4000.0, 0.0])) == pytest.approx([0.1, 0.9], rel=1e-15)
    assert scaler.scale(np.array([5000.0, -1.0])) == pytest.approx([0.5, 0.5], rel=1e-15)
    assert scaler.width == pytest.approx([2500.0, 2.5], rel=1e-15)
    assert scale_flux(np.array([0.0, 1.0])) == pytest.approx([0.1, 0.9], rel=1e-15)


finite = st.floats(-1e6, 1e6)


@given(arrays(float, (4, 3), elements=finite), st.floats(1e-3, 1e6))
def test_scaling_inverts(labels, range_):
    scaler = LabelScaler(np.full(3, -5.0), np.full(3, -5.0 + range_))
    back = scaler.unscale(scaler.scale(labels))
    assert np.allclose(back, labels, rtol=1e-12, atol=1e-12 * (1e6 + range_))


@given(arrays(float, 5, elements=st.floats(-0.1, 1.1)))
def test_flux_scaling_inverts_and_fits_the_output_of_a_network(flux):
    scaled = scale_flux(flux)
    assert ((scaled > 0) & (scaled < 1)).all()
    assert np.allclose(unscale_flux(scaled), flux, rtol=0, atol=1e-15)
