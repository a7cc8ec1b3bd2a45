"""What files say of the line-spread function: R or a sigma, one number, one a spectrum, or one a pixel."""

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.errors import SettingsError, SpectraError, SpectraWarning
from payneflow.spectra import make_layout, read_spectra
from payneflow.spectra.instrument import C_KM_S, FWHM, filled, resolution_of, step_of_pixels

NETWORKS = 10 ** (4.18 + 6e-6 * np.arange(300))
AXIS = 10 ** (4.18 + 7e-6 * np.arange(250))  # another one
R = np.linspace(1.8e4, 2.2e4, 250)


def read(path, networks=NETWORKS, own_axes=False, **layout):
    layout = make_layout(**{"uncertainty": "flux_error", **layout})
    paths = path if isinstance(path, list) else [path]
    return list(read_spectra(paths, layout, networks, own_axes=own_axes))


def save(path, n=3, axis=AXIS, **more):
    """A file of n spectra of noise."""
    rng = np.random.default_rng(n)
    flux = rng.normal(1.0, 0.1, (n, len(axis)))
    np.savez(path, **{"wavelength": axis, "flux": flux, "flux_error": np.full(flux.shape, 0.02), **more})
    return path


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array(2e4), np.full((3, 1), 2e4)),
        (np.array([2e4]), np.full((3, 1), 2e4)),
        (np.array([1e4, 2e4, 3e4]), np.array([[1e4], [2e4], [3e4]])),
        (np.array([[1e4], [2e4], [3e4]], dtype=np.float32), np.array([[1e4], [2e4], [3e4]])),
        (R, np.tile(R, (3, 1))),
        (np.outer([1.0, 1.1, 1.2], R), np.outer([1.0, 1.1, 1.2], R)),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 500])
def test_resolution_has_any_shape_that_can_be_meant(tmp_path, stored, expected, batch_size):
    path = save(tmp_path / "a.npz", R=stored)
    layout = make_layout(uncertainty="flux_error", resolution="R")
    batches = list(read_spectra([path], layout, NETWORKS, batch_size=batch_size))
    assert np.array_equal(np.concatenate([batch.resolution for batch in batches]), expected)
    assert {batch.resolution_said for batch in batches} == {"resolution, R of the files"}


@pytest.mark.parametrize("falls", [False, True])
def test_sigma_in_each_unit_is_the_same_resolution(tmp_path, falls):
    """R = wavelength / FWHM; a pixel is as wide as the line through its neighbours."""
    turn = slice(None, None, -1 if falls else 1)
    sigma = AXIS / R / FWHM
    pixel = np.gradient(AXIS)
    units = {"Angstrom": sigma, "km/s": C_KM_S * sigma / AXIS, "pixel": sigma / pixel}
    for unit, values in units.items():
        path = save(tmp_path / "a.npz", n=1, axis=AXIS[turn], sigma=values[turn])
        (batch,) = read(path, lsf_sigma="sigma", lsf_unit=unit)
        assert np.array_equal(batch.wavelength, AXIS)
        assert batch.resolution[0] == pytest.approx(R, rel=1e-5 if unit == "pixel" else 1e-12)
        assert batch.resolution_said == f"lsf_sigma in {unit}, sigma of the files"
    one = resolution_of(np.array([[2.0]]), AXIS, np.arange(250), make_layout(**_sigma("km/s")))
    assert one == pytest.approx(np.array([[C_KM_S / FWHM / 2.0]]))
    assert resolution_of(np.array([[0.3]]), AXIS, np.arange(250), make_layout(**_sigma("Angstrom"))).shape == (1, 250)


def _sigma(unit):
    return {"uncertainty": "flux_error", "lsf_sigma": "sigma", "lsf_unit": unit}


def test_pixels_are_as_wide_as_in_the_file_beside_gaps_and_lost_ones():
    """Sigma in pixels counts those of the file: where one is left away, its neighbours are not wider."""
    width = 0.2 + 1e-4 * np.arange(100)
    axis = 15000.0 + np.cumsum(width)
    axis[60:] += 300.0  # between two detectors
    expected = np.convolve(np.pad(width, 1, mode="edge"), [0.0, 0.5, 0.5])[2:102]
    kept = np.delete(np.arange(100), [30, 31, 32])
    found = step_of_pixels(axis[kept], kept)
    assert found == pytest.approx(expected[kept], rel=2e-3)
    assert step_of_pixels(axis[kept], 99 - kept) == pytest.approx(found)


def test_a_keyword_a_column_and_a_row_of_an_array(tmp_path):
    flux, error = np.ones(250), np.full(250, 0.02)
    header = fits.Header({"SPEC_R": 19500.0, "BAD": "unknown"})
    columns = {"wave": AXIS, "flux": flux, "err": error, "wdisp": AXIS / R / FWHM}
    table = fits.BinTableHDU(Table(columns))
    fits.HDUList([fits.PrimaryHDU(header=header), table]).writeto(tmp_path / "a.fits")
    names = {"format": "fits", "wavelength": "1:wave", "flux": "1:flux", "flux_error": "1:err"}
    assert read(tmp_path / "a.fits", **names, resolution="0:SPEC_R")[0].resolution == pytest.approx(19500.0)
    (batch,) = read(tmp_path / "a.fits", **names, lsf_sigma="1:wdisp", lsf_unit="Angstrom")
    assert batch.resolution[0] == pytest.approx(R)
    with pytest.raises(SpectraError, match=r"a.fits: 0:BAD holds 'unknown'; expected R, a number"):
        read(tmp_path / "a.fits", **names, resolution="0:BAD")
    (tmp_path / "a.txt").write_text("\n".join(f"{w:.6f} 1.0 0.02 {r:.3f}" for w, r in zip(AXIS, R, strict=True)))
    (batch,) = read(tmp_path / "a.txt", format="text", resolution="4")
    assert batch.resolution[0] == pytest.approx(R, abs=1e-3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rows"], file["R"] = np.array([AXIS, flux, error, R]), 2e4
    names = {"format": "hdf5", "wavelength": "rows[0]", "flux": "rows[1]", "flux_error": "rows[2]"}
    assert read(tmp_path / "a.h5", **names, resolution="rows[3]")[0].resolution[0] == pytest.approx(R)
    assert read(tmp_path / "a.h5", **names, resolution="R")[0].resolution.tolist() == [[2e4]]


def test_a_table_has_one_a_spectrum(tmp_path):
    columns = {"flux": np.ones((3, 250)), "err": np.full((3, 250), 0.02), "R": [1e4, 2e4, 3e4]}
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table(columns)), fits.ImageHDU(AXIS)]).writeto(
        tmp_path / "a.fits"
    )
    names = {"format": "fits", "wavelength": "2", "flux": "1:flux", "flux_error": "1:err", "resolution": "1:R"}
    assert read(tmp_path / "a.fits", **names)[0].resolution.tolist() == [[1e4], [2e4], [3e4]]


# --- What is padding, and what is wrong -------------------------------------------------------------------------------


def test_pixels_without_a_part_are_of_no_concern(tmp_path):
    error, stored = np.full((2, 250), 0.02), np.tile(R, (2, 1))
    error[0, 100:110], stored[0, 100:110] = np.inf, 0.0
    error[1, :7], stored[1, :7] = np.nan, 1e9
    path = save(tmp_path / "a.npz", n=2, R=stored, flux_error=error)
    (batch,) = read(path, resolution="R")
    assert batch.resolution[0] == pytest.approx(R)  # between its neighbours
    assert np.array_equal(batch.resolution[1, 7:], R[7:]) and (batch.resolution[1, :7] == R[7]).all()
    assert not (batch.problem != "").any()


@given(data=st.data())
@settings(max_examples=50)
def test_what_is_filled_does_not_depend_on_padding(data):
    n = data.draw(st.integers(2, 9))
    used = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    resolution = np.array(data.draw(st.lists(st.floats(1.0, 9.0), min_size=n, max_size=n)))
    padding = data.draw(st.sampled_from([np.nan, np.inf, 1e9, 7.0]))
    found, other = filled(resolution, used), filled(np.where(used, resolution, padding), used)
    assert np.array_equal(found, other, equal_nan=True)
    assert np.isfinite(found).all() if used.any() else np.isnan(found).all()
    assert np.array_equal(found[used], resolution[used])


@pytest.mark.parametrize("bad", [0.0, -2e4, np.nan, np.inf])
def test_a_bad_resolution_is_named_and_stops_no_other_spectrum(tmp_path, bad):
    stored = np.tile(R, (3, 1))
    stored[1, 40:42] = bad
    says = rf"a.npz: R: resolution of spectrum 1 is {bad:g} in pixel 40, the first of 2 such; expected a number above"
    with pytest.warns(SpectraWarning, match=f"{says}.*Recorded as failed"):
        (batch,) = read(save(tmp_path / "a.npz", R=stored), resolution="R")
    assert (batch.problem != "").tolist() == [False, True, False]
    assert np.isinf(batch.flux_error[1]).all() and np.isfinite(batch.flux_error[[0, 2]]).all()
    assert np.isnan(batch.resolution[1]).all() and np.isfinite(batch.resolution[[0, 2]]).all()
    with pytest.raises(SpectraError, match=f"b.npz: R: resolution is {bad:g}; expected a number above 0"):
        read(save(tmp_path / "b.npz", n=1, R=np.array([bad])), resolution="R")
    with pytest.warns(SpectraWarning, match="So are 1 more spectra"):
        read(save(tmp_path / "c.npz", n=3, R=np.array([2e4, bad, bad])), resolution="R")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"resolution": "R", "lsf_sigma": "s", "lsf_unit": "pixel"},
            "resolution is 'R' and lsf_sigma 's': expected one",
        ),
        ({"lsf_sigma": "s"}, "lsf_unit is ''; expected Angstrom, km/s or pixel"),
        ({"lsf_unit": "km/s"}, "lsf_unit is 'km/s', but no array is named lsf_sigma"),
        ({"lsf_sigma": "s", "lsf_unit": "nm"}, "lsf_unit"),
    ],
)
def test_a_layout_that_cannot_be_meant_is_refused(given, says):
    with pytest.raises(SettingsError, match=says):
        make_layout(uncertainty="flux_error", **given)


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (np.ones(7), r"R has shape \(7,\); expected \(\) or \(1,\) or \(3,\) or \(3, 1\) or \(250,\) or \(3, 250\)"),
        (np.array(["a"] * 3), "R has dtype <U1; expected real numbers"),
    ],
)
def test_an_array_that_cannot_be_meant_is_refused(tmp_path, stored, says):
    with pytest.raises(SpectraError, match=says):
        read(save(tmp_path / "a.npz", R=stored), resolution="R")


def test_what_may_be_of_spectra_or_of_pixels_is_asked(tmp_path):
    axis = AXIS[:40]
    with pytest.raises(SpectraError, match=r"as many spectra as pixels.*Store it as \(40, 1\), or as \(40, 40\)"):
        read(save(tmp_path / "a.npz", n=40, axis=axis, R=np.full(40, 2e4)), resolution="R")
    assert read(save(tmp_path / "a.npz", n=40, axis=axis, R=np.full((40, 1), 2e4)), resolution="R")
    with pytest.raises(SpectraError, match=r"no array 'absent' \(R of each spectrum, or of each pixel\)"):
        read(save(tmp_path / "a.npz"), resolution="absent")


# --- Pieces of one star, and axes of their own ------------------------------------------------------------------------


def test_chips_and_orders_have_their_own(tmp_path):
    axes, flux = np.array([AXIS[:90], AXIS[100:190]])[:, ::-1], np.ones((2, 90))
    arrays = {"wavelength": axes, "flux": flux, "flux_error": np.full((2, 90), 0.02)}
    np.savez(tmp_path / "a.npz", **arrays, one=2e4, each=[1.8e4, 2.2e4], pixels=np.tile(R[:90], (2, 1))[:, ::-1])
    expected = {"one": [[2e4]], "each": [[1.8e4] * 90 + [2.2e4] * 90], "pixels": [np.tile(R[:90], 2)]}
    for name, resolution in expected.items():
        (batch,) = read(tmp_path / "a.npz", rows="one_star", resolution=name)
        assert np.array_equal(batch.resolution, resolution), name
    bad = np.tile(R[:90], (2, 1))
    bad[1, 4] = np.nan
    np.savez(tmp_path / "b.npz", **arrays, R=bad)
    with pytest.raises(SpectraError, match="b.npz: R: resolution of row 1 is nan in pixel 4, the first of 1 such"):
        read(tmp_path / "b.npz", rows="one_star", resolution="R")


def test_orders_of_unlike_resolutions_that_overlap_give_a_warning(tmp_path):
    axes = np.array([AXIS[:90], AXIS[60:150] * (1 + 3e-6)])
    arrays = {"wavelength": axes, "flux": np.ones((2, 90)), "flux_error": np.full((2, 90), 0.02)}
    np.savez(tmp_path / "a.npz", **arrays, R=[1.8e4, 2.2e4], alike=[2e4, 2.02e4])
    with pytest.warns(SpectraWarning, match="resolutions of rows of one star differ by up to 22%"):
        read(tmp_path / "a.npz", rows="one_star", resolution="R")
    read(tmp_path / "a.npz", rows="one_star", resolution="alike")


def test_unlike_axes_share_a_batch(tmp_path):
    """Shorter ones are padded; on the networks' own axis, and with R of another kind, spectra go apart."""
    axes = [AXIS, AXIS[:200] * (1 + 1e-6), AXIS * (1 + 2e-6)]
    paths = [save(tmp_path / f"{k}.npz", n=k + 1, axis=axis, R=R[: len(axis)]) for k, axis in enumerate(axes)]
    apart, (together,) = (read(paths, resolution="R", own_axes=own) for own in (False, True))
    assert [len(one) for one in apart] == [1, 2, 3] and together.wavelength.shape == (6, 250)
    for name, padding in (("wavelength", np.nan), ("flux", np.nan), ("flux_error", np.inf), ("resolution", np.nan)):
        own = getattr(together, name)
        assert np.array_equal(own[1:3, :200], np.broadcast_to(getattr(apart[1], name), (2, 200)))
        assert np.array_equal(own[1:3, 200:], np.full((2, 50), padding), equal_nan=True)
        assert np.array_equal(own[3:], np.broadcast_to(getattr(apart[2], name), (3, 250)))
    same = read([save(tmp_path / f"same{k}.npz") for k in range(2)], own_axes=True)
    assert len(same) == 1 and same[0].wavelength.shape == (250,)
    mixed = [*paths[:2], save(tmp_path / "networks.npz", axis=NETWORKS, R=R[:1]), paths[2]]
    assert [one.wavelength.ndim for one in read(mixed, resolution="R", own_axes=True)] == [2, 1, 1]


def test_a_batch_of_unlike_axes_is_no_larger(tmp_path, monkeypatch):
    monkeypatch.setattr("payneflow.spectra.reading.BATCH_PIXELS", 1000)
    paths = [save(tmp_path / f"{k}.npz", n=1, axis=AXIS[: 100 + 15 * k]) for k in range(10)]
    batches = read(paths, own_axes=True)
    assert sum(map(len, batches)) == 10 and max(batch.flux.size for batch in batches) <= 1000
