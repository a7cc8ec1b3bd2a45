"""Rows that are named, rows that are pieces of one star, padded axes, flux without errors, bits of masks."""

import h5py
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.errors import SpectraError, SpectraWarning
from payneflow.spectra import count_spectra, make_layout, read_spectra
from payneflow.spectra.one_star import are_pieces, joined
from payneflow.spectra.rows import split

NETWORKS = 10 ** (4.18 + 6e-6 * np.arange(300))


def read(path, networks=NETWORKS, **layout):
    layout = make_layout(**{"uncertainty": "flux_error", **layout})
    batches = list(read_spectra([path], layout, networks))
    assert sum(map(len, batches)) == count_spectra(path, layout)
    return batches


def spectrum(axis, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(1, 0.1, len(axis)), rng.uniform(0.01, 0.02, len(axis))


# --- Rows by their numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("0[1]", ("0", (1,))),
        ("COADD:flux[12]", ("COADD:flux", (12,))),
        ("0[3,0]", ("0", (3, 0))),
        ("[Fe/H]", ("[Fe/H]", ())),
        ("0[-1]", ("0[-1]", ())),
        ("flux", ("flux", ())),
    ],
)
def test_a_row_stands_in_brackets(key, expected):
    assert split(key) == expected


@pytest.mark.parametrize("format", ["npz", "hdf5", "fits"])
def test_rows_of_one_array_are_wavelength_flux_and_error(tmp_path, format):
    """As LAMOST and many home-made files have them: (3, n_pixel)."""
    flux, error = spectrum(NETWORKS)
    rows, path = np.array([NETWORKS, flux, error]), tmp_path / "star"
    if format == "npz":
        with open(path, "wb") as stream:
            np.savez(stream, rows=rows)
    elif format == "hdf5":
        with h5py.File(path, "w") as file:
            file["rows"] = rows
    else:
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(rows, name="rows")]).writeto(path)
    names = {"wavelength": "rows[0]", "flux": "rows[1]", "flux_error": "rows[2]"}
    (batch,) = read(path, format=format, **names)
    assert batch.on_networks_axis and np.array_equal(batch.flux, [flux]) and np.array_equal(batch.flux_error, [error])


def test_a_name_with_brackets_that_the_file_has_goes_first(tmp_path):
    flux, error = spectrum(NETWORKS)
    arrays = {"wavelength": NETWORKS, "flux": np.zeros((2, 300)), "flux[1]": flux, "flux_error": error}
    np.savez(tmp_path / "a.npz", **arrays)
    assert np.array_equal(read(tmp_path / "a.npz", flux="flux[1]")[0].flux, [flux])


def test_bands_of_iraf_and_the_error_that_names_them(tmp_path):
    """apall writes (4, n_aperture, n_pixel): spectrum, sum, background, sigma."""
    flux, error = spectrum(NETWORKS)
    data = np.array([[flux, flux + 1], [flux * 9, flux * 9], [flux * 0, flux * 0], [error, 2 * error]])
    header = fits.Header({"CTYPE1": "LINEAR", "CRVAL1": 4.18, "CD1_1": 6e-6, "CRPIX1": 1.0, "DC-FLAG": 1})
    fits.PrimaryHDU(data, header).writeto(tmp_path / "a.fits")
    (batch,) = read(tmp_path / "a.fits", format="iraf", uncertainty="", wavelength_unit="log10_Angstrom")
    assert batch.on_networks_axis and np.array_equal(batch.flux, data[0]) and np.array_equal(batch.flux_error, data[3])
    named = {"format": "fits", "wavelength": "header", "wavelength_unit": "log10_Angstrom"}
    (one,) = read(tmp_path / "a.fits", **named, flux="0[0,1]", flux_error="0[3,1]")
    assert np.array_equal(one.flux, data[0, 1:]) and np.array_equal(one.flux_error, data[3, 1:])
    for flux, says in (
        ("0", r"0 has shape \(4, 2, 300\).*Name one of its 4 planes, the first as 0\[0\]"),
        ("0[4]", r"0\[4\]: 0 has shape .*expected 0 to 3 as number 1 in brackets"),
        ("0[0,2]", r"expected 0 to 1 as number 2 in brackets"),
        ("0[0,1,5]", r"expected at most 2 numbers in brackets"),
        ("1[0]", r"no array '1\[0\]' \(the flux\)|no array '1\[0\]'"),
    ):
        with pytest.raises(SpectraError, match=says):
            read(tmp_path / "a.fits", **named, flux=flux, flux_error="0[3]")


@pytest.mark.parametrize(
    ("shape", "keywords", "says"),
    [
        ((5, 300), {}, r"0 has shape \(5, 300\); expected the bands \(4, n_aperture, n_pixel\) of apall"),
        ((4, 1, 300), {"BANDID4": "background - fit"}, "0 has BANDID4 'background - fit'; expected the bands"),
    ],
)
def test_other_images_of_iraf_are_not_taken_for_bands(tmp_path, shape, keywords, says):
    header = fits.Header({"CRVAL1": 15140.0, "CD1_1": 0.2, "CRPIX1": 1.0, **keywords})
    fits.PrimaryHDU(np.ones(shape), header).writeto(tmp_path / "a.fits")
    with pytest.raises(SpectraError, match=f"a.fits: {says}"):
        read(tmp_path / "a.fits", format="iraf")


def test_the_rows_of_lamost(tmp_path):
    flux, error = spectrum(NETWORKS)
    masks = np.zeros((2, 300))
    masks[0, 7], masks[1, 9] = 16, 16  # bad in all exposures; in some of them
    header = fits.Header({"OBSID": 101005, "CTYPE1": "LINEAR", "CRVAL1": 4.18, "CD1_1": 6e-6, "VACUUM": True})
    header["DC-FLAG"] = 1
    fits.PrimaryHDU(np.array([flux, error**-2, NETWORKS, *masks]), header).writeto(tmp_path / "spec.fits")
    (batch,) = read(tmp_path / "spec.fits", format="lamost", uncertainty="")
    assert batch.identifier == ["101005"] and batch.on_networks_axis and np.array_equal(batch.flux, [flux])
    assert np.flatnonzero(np.isinf(batch.flux_error[0])).tolist() == [7]
    assert np.delete(batch.flux_error[0], 7) == pytest.approx(np.delete(error, 7), rel=1e-12)


# --- Pieces of one star -----------------------------------------------------------------------------------------------


def chips(edges=((200, 300), (90, 180), (0, 80)), falling=True):
    """Rows as apVisit has them: chips of different ranges, each of 60 pixels between those of the networks."""
    step = -1 if falling else 1
    axes = [10 ** (4.18 + 6e-6 * np.linspace(first + 0.3, last, 60)[::step]) for first, last in edges]
    return np.array(axes)


def save_chips(path, axes, seed=0, **more):
    rng = np.random.default_rng(seed)
    flux, error = rng.normal(1, 0.1, axes.shape), rng.uniform(0.01, 0.02, axes.shape)
    mask = np.zeros(axes.shape, dtype=np.int16)
    mask[0, 5], mask[1, 6] = 1 << 12, 1 << 13  # a sky line; a remark only
    hdus = fits.HDUList([fits.PrimaryHDU(), *map(fits.ImageHDU, (flux, error, mask, axes))])
    hdus[0].header.update({"OBJID": "2M0001", **more})
    hdus.writeto(path)
    return flux, error, mask


@pytest.mark.parametrize("falling", [True, False])
def test_the_chips_of_apvisit_are_one_star(tmp_path, falling):
    axes = chips(falling=falling)
    flux, error, mask = save_chips(tmp_path / "apVisit.fits", axes)
    (batch,) = read(tmp_path / "apVisit.fits", format="apVisit", uncertainty="")
    assert batch.identifier == ["2M0001"] and batch.flux.shape == (1, 180)
    order = np.argsort(axes.ravel())
    assert np.array_equal(batch.wavelength, axes.ravel()[order]) and np.array_equal(batch.flux[0], flux.ravel()[order])
    bad = (mask == 1 << 12).ravel()[order]
    assert np.array_equal(np.isinf(batch.flux_error[0]), bad)
    assert np.array_equal(batch.flux_error[0, ~bad], error.ravel()[order][~bad])
    assert batch.n_left_out["masked"] == 1


def test_chips_that_are_taken_for_stars_give_a_warning(tmp_path):
    save_chips(tmp_path / "a.fits", chips())
    names = {"format": "fits", "wavelength": "4", "flux": "1", "flux_error": "2"}
    with pytest.warns(SpectraWarning, match=r"a.fits: 4: each of the 3 rows has .* Set rows to one_star"):
        assert len(read(tmp_path / "a.fits", **names)) == 3
    (one,) = read(tmp_path / "a.fits", **names, rows="one_star")
    assert one.identifier == ["a"]


def test_stars_with_axes_of_their_own_are_no_pieces(tmp_path):
    axes = np.array([NETWORKS * (1 + 1e-5 * shift) for shift in range(4)])
    flux, error = np.ones(axes.shape), np.full(axes.shape, 0.01)
    np.savez(tmp_path / "a.npz", wavelength=axes, flux=flux, flux_error=error)
    assert sum(map(len, read(tmp_path / "a.npz"))) == 4
    with pytest.raises(
        SpectraError, match=r"a.npz: wavelength: more than half of one row covers .* Set rows to spectra"
    ):
        read(tmp_path / "a.npz", rows="one_star")


def test_orders_that_overlap_lie_between_each_other_and_equal_wavelengths_are_combined(tmp_path):
    between = 10 ** (4.18 + 6e-6 * (np.arange(100, 200) + 0.5))
    axes = np.array([NETWORKS[20:120], between, NETWORKS[180:280]])
    flux, error = 100.0 + 0.1 * np.arange(300.0).reshape(3, 100), np.full((3, 100), 0.1)
    np.savez(tmp_path / "a.npz", wavelength=axes, flux=flux, flux_error=error)
    (batch,) = read(tmp_path / "a.npz", rows="one_star")
    order = np.argsort(axes.ravel())
    assert np.array_equal(batch.wavelength, axes.ravel()[order]) and np.array_equal(batch.flux[0], flux.ravel()[order])
    axes[1] = NETWORKS[100:200]
    error[1] = 0.2
    error[1, 3], flux[0, 84] = np.inf, np.nan  # of the pixels 103 and 104 of the networks one is bad in one order
    np.savez(tmp_path / "b.npz", wavelength=axes, flux=flux, flux_error=error)
    (batch,) = read(tmp_path / "b.npz", rows="one_star")
    assert np.array_equal(batch.wavelength, NETWORKS[20:280])
    one, two = flux[0, 81], flux[1, 1]
    assert batch.flux[0, 81] == pytest.approx((one / 0.01 + two / 0.04) / 125)
    assert batch.flux_error[0, 81] == pytest.approx(125**-0.5)
    assert batch.flux[0, 83] == pytest.approx(flux[0, 83]) and batch.flux_error[0, 83] == pytest.approx(0.1)
    assert batch.flux[0, 84] == pytest.approx(flux[1, 4]) and batch.flux_error[0, 84] == pytest.approx(0.2)
    assert np.array_equal(batch.flux[0, :80], flux[0, :80]) and np.array_equal(batch.flux_error[0, :80], error[0, :80])


@pytest.mark.parametrize("blaze", [False, True])
def test_orders_with_their_blaze_give_a_warning(tmp_path, blaze):
    """Each falls to a half at both ends; in the middle of what two share they are alike."""
    places = np.array([np.arange(first, first + 100) for first in (0, 70, 140)])
    flux = 1.0 - 0.5 * blaze * np.linspace(-1, 1, 100) ** 2 * np.ones((3, 1))
    flux += np.random.default_rng(3).normal(0, 0.02, flux.shape)
    axes = NETWORKS[places] * (1 + 3e-6 * np.arange(3)[:, None])
    np.savez(tmp_path / "a.npz", wavelength=axes, flux=flux, flux_error=np.full(flux.shape, 0.02))
    if not blaze:
        read(tmp_path / "a.npz", rows="one_star")
        return
    says = (
        r"a.npz: flux: two rows of one star differ by a factor of 1\.[2-9]\d near 15\d+\.\d .* divide each order by its"
    )
    with pytest.warns(SpectraWarning, match=says):
        read(tmp_path / "a.npz", rows="one_star")


@settings(max_examples=60)
@given(data=st.data())
def test_joining_keeps_every_pixel_and_the_weighted_mean(data):
    """Pieces of whole wavelengths, which meet often: the axis rises, and sums of weights stay what they are."""
    starts = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    first, pieces = 1000, []
    for skip in starts:
        length = data.draw(st.integers(8, 12))
        pieces.append(np.arange(first, first + length, dtype=float))
        first += length - skip
    n = sum(map(len, pieces))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    flux, error = rng.normal(size=n), rng.choice([0.1, 0.2, np.inf], n)
    wavelength, found, sigma, resolution = joined("file: wavelength", pieces, flux, error, 1e4 * (2.0 + flux))
    assert (np.diff(wavelength) > 0).all() and set(wavelength) == set(np.concatenate(pieces))
    assert (sigma**-2).sum() == pytest.approx((error**-2).sum())
    used = np.isfinite(sigma)
    assert (found[used] / sigma[used] ** 2).sum() == pytest.approx((flux * error**-2).sum())
    assert resolution[used] == pytest.approx(1e4 * (2.0 + found[used]))  # R is joined with the weights of the flux


def test_a_wrong_row_of_one_star_is_named(tmp_path):
    axes = chips()
    axes[1, 4] = np.nan
    np.savez(tmp_path / "a.npz", wavelength=axes, flux=np.ones(axes.shape), flux_error=np.full(axes.shape, 0.01))
    with pytest.raises(SpectraError, match=r"a.npz: row 1: wavelength\[4\] is nan \(pixel 4\)"):
        read(tmp_path / "a.npz", rows="one_star")
    np.savez(tmp_path / "b.npz", wavelength=axes[0], flux=np.ones((3, 60)), flux_error=np.full((3, 60), 0.01))
    with pytest.raises(SpectraError, match=r"wavelength has shape \(60,\); expected \(3, 60\).*3 rows of one star"):
        read(tmp_path / "b.npz", rows="one_star")
    np.savez(tmp_path / "c.npz", wavelength=chips() / 10, flux=np.ones((3, 60)), flux_error=np.full((3, 60), 0.01))
    with pytest.raises(SpectraError, match="covers 1513.*They would fit as nm"):
        read(tmp_path / "c.npz", rows="one_star")


def test_what_follows_one_another_are_pieces():
    assert are_pieces(np.array([1.0, 10, 5]), np.array([5.5, 20, 10.5]))
    assert not are_pieces(np.array([1.0, 1.1]), np.array([5.0, 5.1]))
    assert not are_pieces(np.array([1.0]), np.array([5.0]))
    assert not are_pieces(np.array([1.0, np.nan]), np.array([5.0, 9.0]))


# --- Padding ----------------------------------------------------------------------------------------------------------

PADDINGS = {"zeros": 0.0, "NaN": np.nan, "a large number": 1e20, "minus one": -1.0, "the last one": NETWORKS[239]}


def padded(value, falling=False):
    """Two spectra of 300 and of 240 pixels, the rest of the second being padding."""
    axes = np.array([NETWORKS, NETWORKS])
    axes[1, 240:] = value
    flux, error = (np.array([spectrum(NETWORKS, seed)[which] for seed in (0, 1)]) for which in (0, 1))
    mask = np.zeros((2, 300), dtype=np.int16)
    mask[1, 240:] = mask[0, 17] = mask[1, 30] = 1
    arrays = {"wavelength": axes, "flux": flux, "flux_error": error, "mask": mask}
    return {key: array[:, ::-1] for key, array in arrays.items()} if falling else arrays


@pytest.mark.parametrize("value", PADDINGS.values(), ids=PADDINGS)
@pytest.mark.parametrize("falling", [False, True])
def test_padding_that_is_masked_takes_no_part(tmp_path, value, falling):
    np.savez(tmp_path / "a.npz", **padded(value, falling))
    first, second = read(tmp_path / "a.npz")
    plain = padded(value)
    assert np.array_equal(first.flux, plain["flux"][:1]) and np.isinf(first.flux_error[0, 17])
    there = np.delete(np.arange(240), 30)
    assert np.array_equal(second.wavelength, NETWORKS[there])
    assert np.array_equal(second.flux[0], plain["flux"][1, there])
    assert np.array_equal(second.flux_error[0], plain["flux_error"][1, there])
    assert second.n_left_out["masked"] == 61, "nothing is left away without being counted"


@pytest.mark.parametrize("said_by", ["infinite errors", "no inverse variance", "NaN in the flux"])
def test_padding_may_be_told_by_errors_or_flux(tmp_path, said_by):
    arrays = padded(0.0)
    out = arrays.pop("mask") != 0
    if said_by == "NaN in the flux":
        arrays["flux"] = np.where(out, np.nan, arrays["flux"])
    else:
        arrays["flux_error"] = np.where(out, np.inf, arrays["flux_error"])
    if said_by == "no inverse variance":
        arrays["ivar"] = arrays.pop("flux_error") ** -2.0
    np.savez(tmp_path / "a.npz", **arrays)
    _, second = read(tmp_path / "a.npz", uncertainty="ivar" if "ivar" in arrays else "flux_error")
    assert len(second.wavelength) == 239


def test_padding_of_an_axis_that_all_spectra_share(tmp_path):
    arrays = padded(np.nan)
    arrays |= {"wavelength": arrays["wavelength"][1], "mask": arrays["mask"][1]}
    np.savez(tmp_path / "a.npz", **arrays)
    (batch,) = read(tmp_path / "a.npz")
    assert batch.flux.shape == (2, 239)


def test_padding_without_a_mask_is_refused_with_row_and_pixel(tmp_path):
    arrays = padded(0.0)
    del arrays["mask"]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.warns(
        SpectraWarning, match=r"spectrum 1: .*a.npz: wavelength\[240\] is 0 \(pixel 240\).*Mask what is pad"
    ):
        batches = read(tmp_path / "a.npz")
    assert [problem != "" for batch in batches for problem in batch.problem] == [False, True]
    arrays["mask"] = np.zeros((2, 300), dtype=int)
    arrays["mask"][1, 241:], arrays["mask"][:, 3] = 1, 1
    np.savez(tmp_path / "b.npz", **arrays)
    with pytest.warns(SpectraWarning, match=r"wavelength\[240\] is 0 \(pixel 240\)"):
        read(tmp_path / "b.npz")


def test_padded_orders_of_one_star(tmp_path):
    axes = chips(falling=False)
    axes[1, 50:] = 0.0
    mask = axes == 0.0
    np.savez(tmp_path / "a.npz", wavelength=axes, flux=np.ones((3, 60)), flux_error=np.full((3, 60), 0.01), mask=mask)
    (batch,) = read(tmp_path / "a.npz", rows="one_star")
    assert np.array_equal(batch.wavelength, np.sort(axes[~mask])) and batch.n_left_out["masked"] == 10


# --- Errors and bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_mask", [True, False])
def test_flux_without_errors_has_that_of_the_setting(tmp_path, with_mask):
    flux, _ = spectrum(NETWORKS)
    mask = {"mask": np.arange(300) == 8} if with_mask else {}
    np.savez(tmp_path / "a.npz", wavelength=NETWORKS, flux=flux, **mask)
    (batch,) = read(tmp_path / "a.npz", uncertainty="none", constant_error=0.02)
    assert np.array_equal(batch.flux_error[0], np.where(mask.get("mask", False), np.inf, 0.02) * np.ones(300))
    with pytest.raises(SpectraError, match="no array 'flux_error'.*or set uncertainty to none"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("mask", "bits", "says"),
    [
        (np.zeros(300, dtype=bool), (1,), r"mask has dtype bool; expected whole numbers, because of mask_bits \[1\]"),
        (np.zeros(300), (1,), "mask has dtype float64; expected whole numbers"),
        (
            np.zeros(300, dtype=np.int16),
            (3, 16),
            "mask has dtype int16, which has no bit 16; expected mask_bits from 0 to 15",
        ),
        (np.zeros(300, dtype=np.uint8), (8,), "mask has dtype uint8, which has no bit 8"),
        (None, (1,), r"no array 'mask' .* leave mask_bits \[1\] out"),
    ],
)
def test_bits_that_no_mask_has_are_refused(tmp_path, mask, bits, says):
    flux, error = spectrum(NETWORKS)
    given = {} if mask is None else {"mask": mask}
    np.savez(tmp_path / "a.npz", wavelength=NETWORKS, flux=flux, flux_error=error, **given)
    with pytest.raises(SpectraError, match=f"a.npz: {says}"):
        read(tmp_path / "a.npz", mask_bits=bits)
