"""Observed spectra from every format: what is read is what was written, in batches, in Angstrom in vacuum."""

import h5py
import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import InverseVariance, StdDevUncertainty, VarianceUncertainty
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.errors import SettingsError, SpectraError, SpectraWarning
from payneflow.spectra import count_spectra, make_layout, read_spectra
from payneflow.spectra.npz import NpzStore
from payneflow.spectra.uncertainty import flux_errors
from payneflow.wavelength import air_to_vacuum, refractive_index

N_SPECTRUM, N_PIXEL = 7, 40
NETWORKS = 10 ** (4.18 + 6e-6 * np.arange(N_PIXEL))  # Angstrom, the spacing of APOGEE
OTHER = NETWORKS[:-3] * (1 + 2e-6)  # an axis that lies between
LAYOUT = make_layout(uncertainty="flux_error")


def spectra(n=N_SPECTRUM, axis=NETWORKS, seed=0):
    """Arrays by role: flux near 1, S/N from 50 to 200."""
    rng = np.random.default_rng(seed)
    return {
        "wavelength": axis,
        "flux": rng.normal(0.9, 0.05, (n, len(axis))),
        "flux_error": rng.uniform(0.005, 0.02, (n, len(axis))),
        "identifier": np.array([f"star {i}" for i in range(n)]),
    }


def all_of(paths, layout=LAYOUT, networks=NETWORKS, **options):
    """Every batch of some files joined: identifier, wavelength, flux, flux_error; they must share one axis."""
    batches = list(read_spectra(np.atleast_1d(paths), layout, networks, **options))
    axis = batches[0].wavelength
    assert all(np.array_equal(batch.wavelength, axis) for batch in batches)
    joined = [np.concatenate([getattr(batch, name) for batch in batches]) for name in ("flux", "flux_error")]
    return [name for batch in batches for name in batch.identifier], axis, *joined


# --- Every format gives back what was written -------------------------------------------------------------------------


def save_npz(path, arrays):
    np.savez(path, **arrays)


def save_compressed_npz(path, arrays):
    np.savez_compressed(path, **arrays)


def save_fortran_npz(path, arrays):
    np.savez(path, **{key: np.asfortranarray(array) for key, array in arrays.items()})


def save_single_precision_npz(path, arrays):
    floats = {key: array.astype(">f4") for key, array in arrays.items() if key in ("flux", "flux_error")}
    np.savez(path, **{**arrays, **floats})


def save_hdf5(path, arrays):
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array.astype(object) if array.dtype.kind == "U" else array


def save_fits_images(path, arrays):
    columns = fits.ColDefs([fits.Column("identifier", "20A", array=arrays["identifier"])])
    images = [fits.ImageHDU(arrays[key], name=key) for key in ("wavelength", "flux", "flux_error")]
    fits.HDUList([fits.PrimaryHDU(), *images, fits.BinTableHDU.from_columns(columns, name="names")]).writeto(path)


def save_fits_table(path, arrays):
    n, n_pixel = arrays["flux"].shape
    columns = [
        fits.Column("LAMBDA", f"{n_pixel}D", array=np.tile(arrays["wavelength"], (n, 1))),
        *(fits.Column(key.upper(), f"{n_pixel}D", array=arrays[key]) for key in ("flux", "flux_error")),
        fits.Column("NAME", "20A", array=arrays["identifier"]),
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="SPECTRA")]).writeto(path)


IMAGES = {"format": "fits", "identifier": "names:identifier"}
TABLE = {
    "format": "fits",
    "wavelength": "SPECTRA:LAMBDA",
    "flux": "1:flux",
    "flux_error": "1:FLUX_ERROR",
    "identifier": "1:NAME",
}
FORMATS = {
    "npz": (save_npz, "a.npz", {}),
    "npz, compressed": (save_compressed_npz, "a.npz", {}),
    "npz, Fortran order": (save_fortran_npz, "a.npz", {}),
    "npz, float32 of the other byte order": (save_single_precision_npz, "a.npz", {}),
    "hdf5": (save_hdf5, "a.h5", {"format": "hdf5"}),
    "FITS images": (save_fits_images, "a.fits", IMAGES),
    "FITS images, gzip": (save_fits_images, "a.fits.gz", IMAGES),
    "FITS table of one row a spectrum": (save_fits_table, "a.fits", TABLE),
}


@pytest.mark.parametrize(("save", "name", "layout"), FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("axis", [NETWORKS, OTHER], ids=["the networks' axis", "another axis"])
@pytest.mark.parametrize("batch_size", [3, 500])
def test_what_is_read_is_what_was_written(tmp_path, save, name, layout, axis, batch_size):
    arrays = spectra(axis=axis)
    save(tmp_path / name, arrays)
    layout = make_layout(uncertainty="flux_error", **layout)
    assert count_spectra(tmp_path / name, layout) == N_SPECTRUM
    identifier, wavelength, flux, error = all_of(tmp_path / name, layout, batch_size=batch_size)
    assert identifier == arrays["identifier"].tolist()
    single = "float32" if save is save_single_precision_npz else "float64"
    assert np.array_equal(wavelength, arrays["wavelength"])
    assert np.array_equal(flux, arrays["flux"].astype(single))
    assert np.array_equal(error, arrays["flux_error"].astype(single))


def test_a_fits_table_of_one_row_a_pixel_is_one_spectrum_with_a_keyword_for_its_name(tmp_path):
    arrays = spectra(1)
    columns = [
        fits.Column("loglam", "D", array=np.log10(NETWORKS)),
        fits.Column("flux", "E", array=arrays["flux"][0]),
        fits.Column("ivar", "E", array=arrays["flux_error"][0] ** -2),
        fits.Column("and_mask", "J", array=np.arange(N_PIXEL) % 4),
    ]
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="COADD")])
    hdus[0].header["PLATE"] = "spec-266"
    hdus.writeto(tmp_path / "spec.fits")
    names = {"wavelength": "COADD:loglam", "flux": "COADD:flux", "ivar": "COADD:ivar", "mask": "COADD:and_mask"}
    layout = make_layout(format="fits", uncertainty="ivar", wavelength_unit="log10_Angstrom", **names)
    identifier, wavelength, flux, error = all_of(tmp_path / "spec.fits", layout)
    assert identifier == ["spec"] and np.array_equal(wavelength, NETWORKS)
    good = np.arange(N_PIXEL) % 4 == 0
    assert flux[0] == pytest.approx(arrays["flux"][0], rel=1e-6)
    assert error[0, good] == pytest.approx(arrays["flux_error"][0, good], rel=1e-6) and np.isinf(error[0, ~good]).all()
    named = make_layout(
        format="fits",
        uncertainty="ivar",
        wavelength_unit="log10_Angstrom",
        identifier="0:PLATE",
        mask_bits=(1,),
        **names,
    )
    identifier, _, _, error = all_of(tmp_path / "spec.fits", named)
    assert identifier == ["spec-266"]
    assert np.array_equal(np.isfinite(error[0]), np.arange(N_PIXEL) % 4 < 2), "bit 1 is what makes 2 and 3 bad"


def apogee_file(path, kind, n_visits=2):
    """An apStar or aspcapStar file in small: their HDUs and their axis in the headers."""
    arrays = spectra(n_visits + 2 if kind == "apStar" and n_visits > 1 else 1)
    rows = (lambda array: array) if len(arrays["flux"]) > 1 else (lambda array: array[0])
    mask = np.zeros_like(arrays["flux"], dtype=np.int16)
    mask[:, 3], mask[:, 5] = 1 << 12, 1 << 13  # a sky line; a remark only
    images = [fits.ImageHDU(rows(array)) for array in (arrays["flux"], arrays["flux_error"], mask)]
    for image in images:
        image.header.update({"CRVAL1": 4.18, "CDELT1": 6e-6, "CRPIX1": 1, "CTYPE1": "LOG-LINEAR", "DC-FLAG": 1})
    hdus = fits.HDUList([fits.PrimaryHDU(), *images])
    if kind == "apStar":
        hdus[0].header["OBJID"] = "2M00000002+7417074"
    else:
        hdus.append(fits.BinTableHDU.from_columns([fits.Column("APOGEE_ID", "18A", array=["2M00000002+7417074"])]))
    hdus.writeto(path)
    return arrays


@pytest.mark.parametrize(("kind", "n_visits"), [("apStar", 1), ("apStar", 3), ("aspcapStar", 1)])
def test_apogee_files_need_no_layout_and_give_the_combined_spectrum(tmp_path, kind, n_visits):
    arrays = apogee_file(tmp_path / "a.fits", kind, n_visits)
    identifier, wavelength, flux, error = all_of(tmp_path / "a.fits", make_layout(format=kind))
    assert identifier == ["2M00000002+7417074"]
    assert np.array_equal(wavelength, NETWORKS) and np.array_equal(flux, arrays["flux"][:1])
    out = np.flatnonzero(np.isinf(error[0])).tolist()
    assert out == ([3] if kind == "apStar" else []), "the third HDU of aspcapStar is no mask but the best fit"
    assert count_spectra(tmp_path / "a.fits", make_layout(format=kind)) == 1


@pytest.mark.parametrize("uncertainty", [StdDevUncertainty, InverseVariance, VarianceUncertainty])
def test_specutils_objects_say_what_their_errors_and_units_are(tmp_path, uncertainty):
    import specutils

    arrays, spectrum = spectra(1), getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    power = {StdDevUncertainty: 1, InverseVariance: -2, VarianceUncertainty: 2}[uncertainty]
    written = spectrum(
        flux=arrays["flux"][0] * units.Jy,
        spectral_axis=(NETWORKS / 10) * units.nm,
        uncertainty=uncertainty(arrays["flux_error"][0] ** power),
    )
    if power == 1:
        written.write(str(tmp_path / "star.fits"), format="tabular-fits")
        layout, path = make_layout(format="specutils", loader="tabular-fits"), tmp_path / "star.fits"
        identifier, wavelength, flux, error = all_of(path, layout)
        assert identifier == ["star"]
    else:  # its writers store standard deviations only
        from payneflow.spectra.stored import SpectraFile
        from payneflow.spectra.with_specutils import SpecutilsStore

        layout, path = make_layout(format="specutils"), tmp_path / "star.fits"
        path.touch()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spectrum, "read", lambda *_, **__: written)
            with SpectraFile(path, SpecutilsStore(path, layout)) as file:
                stored, known = file.read(0, 1), file.layout
        wavelength, flux = stored.wavelength, stored.flux
        error, _ = flux_errors(stored.flux, stored.uncertainty, stored.mask, known)
    assert wavelength == pytest.approx(NETWORKS, rel=1e-12)
    assert flux == pytest.approx(arrays["flux"], rel=1e-12) and error == pytest.approx(arrays["flux_error"], rel=1e-12)


# --- What comes with the flux -----------------------------------------------------------------------------------------


def test_errors_inverse_variances_and_masks_mean_the_same(tmp_path):
    arrays = spectra()
    error = arrays.pop("flux_error")
    mask = np.random.default_rng(1).random(error.shape) < 0.2
    np.savez(tmp_path / "sigma.npz", flux_error=error, mask=mask, **arrays)
    np.savez(tmp_path / "ivar.npz", ivar=np.where(mask, 0, error**-2), **arrays)
    np.savez(tmp_path / "mask.npz", mask=mask.astype(int), **arrays)
    expected = np.where(mask, np.inf, error)
    assert np.array_equal(all_of(tmp_path / "sigma.npz")[3], expected)
    assert all_of(tmp_path / "ivar.npz", make_layout(uncertainty="ivar"))[3] == pytest.approx(expected, rel=1e-12)
    only_mask = all_of(tmp_path / "mask.npz", make_layout(uncertainty="mask", constant_error=0.03))[3]
    assert np.array_equal(only_mask, np.where(mask, np.inf, 0.03))


def test_pixels_that_take_no_part_are_counted_once_and_by_reason():
    flux, error = np.ones((1, 20)), np.full((1, 20), 0.01)
    mask = np.zeros((1, 20), dtype=int)
    mask[0, 0] = 4
    flux[0, 1:3], error[0, 1] = [np.nan, np.inf], np.nan  # flux comes first
    error[0, 3:7] = [0, -1, np.nan, np.inf]
    error[0, 7:9] = [1e10, 100.1]  # more than 100 times the flux
    error[0, 9] = 1e-12
    flux[0, 10:13], error[0, 11:13] = [1e30, -2e4, 1e20], [1e-3, 0.02]  # fillers with errors like those of others
    flux[0, 13] = 9e3
    found, counts = flux_errors(flux, error, mask, LAYOUT)
    assert np.isinf(found[0]).tolist() == [True] * 13 + [False] * 7 and (found[0, 13:] == 0.01).all()
    counted = {"masked": 1, "flux not finite": 2, "error not finite and positive": 4}
    assert counts == {**counted, "flux huge": 3, "error huge": 2, "error tiny": 1}


@settings(max_examples=60)
@given(data=st.data())
def test_a_pixel_takes_part_or_is_counted(data):
    """Whatever the numbers: finite errors are those given, all others are in the counts, and nothing warns."""
    value = st.sampled_from([0.0, -1.0, 1.0, 0.01, 1e-300, 1e300, np.nan, np.inf, -np.inf])
    flux, given_ = (np.array(data.draw(st.lists(value, min_size=12, max_size=12))).reshape(2, 6) for _ in range(2))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=12, max_size=12))).reshape(2, 6)
    kind = data.draw(st.sampled_from(["flux_error", "ivar"]))
    error, counts = flux_errors(flux, given_, mask, make_layout(uncertainty=kind))
    assert sum(counts.values()) == np.isinf(error).sum() and (error > 0).all()
    part = np.isfinite(error)
    assert (error[part] == (given_[part] if kind == "flux_error" else given_[part] ** -0.5)).all()
    assert not mask[part].any() and np.isfinite(flux[part]).all()


@pytest.mark.parametrize(("scale", "snr"), [(1, 30), (1, 300), (1e-17, 100), (2e4, 80)])
@pytest.mark.parametrize(("kind", "other"), [("flux_error", "ivar"), ("ivar", "flux_error")])
def test_errors_of_the_wrong_kind_give_a_warning_that_says_so(tmp_path, scale, snr, kind, other):
    """In normalised flux, in physical units and in counts; and the right kind gives none."""
    arrays = spectra(3)
    arrays["flux"] *= scale
    error = arrays.pop("flux_error") * 0 + scale / snr
    np.savez(tmp_path / "a.npz", **{other: error if other == "flux_error" else error**-2}, **arrays)
    all_of(tmp_path / "a.npz", make_layout(uncertainty=other))
    wrong = make_layout(uncertainty=kind, **{kind: other})
    with pytest.warns(
        SpectraWarning, match=rf"a.npz: {other}: errors are declared as {kind}.*read as {other} it would"
    ):
        all_of(tmp_path / "a.npz", wrong)


def test_pixels_that_say_nothing_do_not_make_errors_look_wrong(tmp_path):
    """Two thirds of the pixels have an infinite error, or the inverse variance 0."""
    arrays = spectra(3)
    error = arrays.pop("flux_error")
    error[:, ::3], error[:, 1::3] = np.inf, np.inf
    np.savez(tmp_path / "sigma.npz", flux_error=error, **arrays)
    np.savez(tmp_path / "ivar.npz", ivar=error**-2.0, **arrays)
    found = [
        all_of(tmp_path / f"{kind}.npz", make_layout(uncertainty=u))[3]
        for kind, u in (("sigma", "flux_error"), ("ivar", "ivar"))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-12) and np.isinf(found[0]).mean() > 0.6


def test_a_mask_the_wrong_way_round_gives_a_warning(tmp_path):
    good = np.ones((N_SPECTRUM, N_PIXEL), dtype=bool)
    good[:, 4] = False
    np.savez(tmp_path / "a.npz", mask=good, **spectra())
    with pytest.warns(SpectraWarning, match=r"a.npz: mask: the mask takes 98% of the pixels away"):
        all_of(tmp_path / "a.npz")


# --- Wavelengths ------------------------------------------------------------------------------------------------------


def test_air_and_vacuum_are_those_of_published_tables():
    """SDSS' table of emission lines (DR7, air and vacuum, Angstrom), and the index at the He-Ne laser's line.

    The index is 1 + 27653e-8 there in standard air of 450 ppm CO2 (Birch & Downs 1994, Metrologia 31, 315).
    """
    air = np.array([4861.363, 4958.911, 5006.843, 6562.801])
    assert air_to_vacuum(air) == pytest.approx([4862.721, 4960.295, 5008.239, 6564.614], abs=1e-3)
    assert refractive_index(6329.9) - 1 == pytest.approx(27653e-8, abs=1e-8)


def test_air_to_vacuum_agrees_with_specutils_and_with_mortons_formula():
    from specutils.utils.wcs_utils import air_to_vac

    air = np.linspace(3000, 17000, 500)
    reference = air_to_vac(air * units.AA, scheme="iteration", method="Ciddor1996").to_value(units.AA)
    assert air_to_vacuum(air) == pytest.approx(reference, abs=1e-6)
    vacuum = air_to_vacuum(air)
    squared = (1e4 / vacuum) ** 2  # Morton (2000, ApJS 130, 403), equation 8: the standard of the IAU
    index = 1 + 8.34254e-5 + 2.406147e-2 / (130 - squared) + 1.5998e-4 / (38.9 - squared)
    assert vacuum / index == pytest.approx(air, abs=2e-3)


@settings(max_examples=50)
@given(st.floats(2000, 25000))
def test_air_to_vacuum_is_the_inverse_of_the_index(vacuum):
    assert air_to_vacuum(vacuum / refractive_index(vacuum)) == pytest.approx(vacuum, abs=1e-9)


@pytest.mark.parametrize(
    ("unit", "stored"),
    [
        ("Angstrom", NETWORKS),
        ("nm", NETWORKS / 10),
        ("log10_Angstrom", np.log10(NETWORKS)),
        ("log10_nm", np.log10(NETWORKS / 10)),
    ],
)
@pytest.mark.parametrize("medium", ["vacuum", "air"])
@pytest.mark.parametrize("order", [1, -1])
def test_units_media_and_falling_axes_end_as_rising_vacuum_angstrom(tmp_path, unit, stored, medium, order):
    arrays = spectra()
    if medium == "air":
        air = NETWORKS / refractive_index(NETWORKS)
        stored = {"Angstrom": air, "nm": air / 10, "log10_Angstrom": np.log10(air), "log10_nm": np.log10(air / 10)}[
            unit
        ]
    written = {**arrays, "wavelength": stored[::order]}
    written |= {key: arrays[key][:, ::order] for key in ("flux", "flux_error")}
    np.savez(tmp_path / "a.npz", **written)
    layout = make_layout(uncertainty="flux_error", wavelength_unit=unit, medium=medium)
    (batch,) = read_spectra([tmp_path / "a.npz"], layout, NETWORKS)
    assert batch.on_networks_axis and np.array_equal(batch.wavelength, NETWORKS)
    assert np.array_equal(batch.flux, arrays["flux"]) and np.array_equal(batch.flux_error, arrays["flux_error"])


def test_of_a_wider_axis_only_what_the_networks_reach_is_kept(tmp_path):
    wide = 10 ** (3.5 + 6e-6 * np.arange(150_000))
    arrays = spectra(2, wide)
    np.savez(tmp_path / "wide.npz", **arrays)
    _, wavelength, flux, _ = all_of(tmp_path / "wide.npz", networks=OTHER)
    assert len(wavelength) < 2000 and wavelength[0] < OTHER[0] * 0.998 and wavelength[-1] > OTHER[-1] * 1.002
    first = np.searchsorted(wide, wavelength[0])
    assert np.array_equal(flux, arrays["flux"][:, first : first + len(wavelength)])
    some = wide[100_000:101_000:10]  # where the networks' own pixels are among them, these and no others
    (batch,) = read_spectra([tmp_path / "wide.npz"], LAYOUT, some)
    assert batch.on_networks_axis and np.array_equal(batch.flux, arrays["flux"][:, 100_000:101_000:10])


# --- Batches ----------------------------------------------------------------------------------------------------------


def test_batches_are_bounded_and_a_new_axis_begins_a_new_one(tmp_path):
    for number, axis in enumerate([NETWORKS, NETWORKS, OTHER, NETWORKS]):
        np.savez(tmp_path / f"{number}.npz", **spectra(3, axis, seed=number))
    paths = [tmp_path / f"{number}.npz" for number in range(4)]
    lengths = [(len(batch), batch.on_networks_axis) for batch in read_spectra(paths, LAYOUT, NETWORKS)]
    assert lengths == [(6, True), (3, False), (3, True)]
    lengths = [len(batch) for batch in read_spectra(paths, LAYOUT, NETWORKS, batch_size=2)]
    assert sum(lengths) == 12 and max(lengths) == 2


def test_a_batch_of_long_spectra_holds_fewer_of_them_and_the_same(tmp_path, monkeypatch):
    """Of files that hold several, or one, or more pixels than the networks reach, or cannot be read."""
    monkeypatch.setattr("payneflow.spectra.reading.BATCH_PIXELS", 4 * len(NETWORKS) + 1)
    for number, n in enumerate([9, 1, 1, 1, 7]):
        np.savez(tmp_path / f"{number}.npz", **spectra(n, seed=number))
    paths = [tmp_path / f"{number}.npz" for number in range(5)]
    with np.load(paths[4]) as stored:
        damaged = dict(stored) | {"identifier": np.full(7, "star"), "flux": np.full((7, 1), "text")}
    long = {name: np.repeat(array, 3, axis=-1) for name, array in spectra(3, seed=9).items() if name != "identifier"}
    long["wavelength"] = np.sort(np.concatenate([NETWORKS, NETWORKS + 1000.0, NETWORKS + 2000.0]))
    np.savez(tmp_path / "long.npz", **long)
    np.savez(tmp_path / "bad.npz", **damaged)
    paths += [tmp_path / "long.npz", tmp_path / "bad.npz"]
    with pytest.warns(SpectraWarning, match="bad.npz.*Recorded as failed"):
        batches = list(read_spectra(paths, LAYOUT, NETWORKS))
    assert max(map(len, batches)) == 4
    monkeypatch.undo()
    with pytest.warns(SpectraWarning, match="bad.npz.*Recorded as failed"):
        whole = list(read_spectra(paths, LAYOUT, NETWORKS))
    assert len(whole) < len(batches)
    for name in ("identifier", "flux", "flux_error", "path", "problem"):
        few, many = (np.concatenate([getattr(batch, name) for batch in some]) for some in (batches, whole))
        assert np.array_equal(few, many, equal_nan=name == "flux")
    assert sum(batch.n_left_out["masked"] for batch in batches) == sum(batch.n_left_out["masked"] for batch in whole)


def test_a_spectrum_longer_than_a_batch_is_a_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("payneflow.spectra.reading.BATCH_PIXELS", len(NETWORKS) // 2)
    np.savez(tmp_path / "a.npz", **spectra(3))
    assert [len(batch) for batch in read_spectra([tmp_path / "a.npz"], LAYOUT, NETWORKS)] == [1, 1, 1]


def test_each_spectrum_may_have_its_own_axis(tmp_path):
    axes = np.array([NETWORKS, NETWORKS, NETWORKS * 1.0001, NETWORKS])
    np.savez(tmp_path / "a.npz", **{**spectra(4), "wavelength": axes})
    batches = list(read_spectra([tmp_path / "a.npz"], LAYOUT, NETWORKS))
    assert [batch.identifier.tolist() for batch in batches] == [["star 0", "star 1"], ["star 2"], ["star 3"]]
    assert np.array_equal(batches[1].wavelength, axes[2])


@settings(max_examples=40)
@given(start=st.integers(0, 25), length=st.integers(0, 25), batch_size=st.integers(1, 30))
def test_a_selection_is_the_same_rows_whatever_the_batches(tmp_path_factory, start, length, batch_size):
    """Shards: spectra counted through all files, whatever file and batch they lie in."""
    directory = tmp_path_factory.getbasetemp() / "selection"
    paths = [directory / f"{number}.npz" for number in range(3)]
    if not directory.exists():
        directory.mkdir()
        for number, path in enumerate(paths):
            save = (save_npz, save_compressed_npz, save_fortran_npz)[number]
            save(path, {**spectra(7, seed=number), "identifier": np.arange(7 * number, 7 * number + 7)})
    selection = range(start, start + length)
    batches = list(read_spectra(paths, LAYOUT, NETWORKS, selection=selection, batch_size=batch_size))
    found = [int(name) for batch in batches for name in batch.identifier]
    assert found == list(range(21))[start : start + length]
    whole = np.concatenate([spectra(7, seed=number)["flux"] for number in range(3)])
    assert np.array_equal(
        np.concatenate([whole[:0], *(batch.flux for batch in batches)]), whole[start : start + length]
    )


def test_rows_are_read_and_not_whole_files(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", **spectra())
    monkeypatch.setattr("payneflow.spectra.npz.NpzStore.whole", lambda _, key: {"wavelength": NETWORKS}[key])
    assert np.array_equal(all_of(tmp_path / "a.npz", selection=range(2, 4))[2], spectra()["flux"][2:4])


# --- What goes wrong in one place stays there -------------------------------------------------------------------------


def test_one_bad_spectrum_in_a_thousand_takes_no_part_and_changes_no_other(tmp_path):
    arrays = spectra(1000)
    np.savez(tmp_path / "good.npz", **arrays)
    arrays["flux"][500] = np.nan
    np.savez(tmp_path / "bad.npz", **arrays)
    good, bad = all_of(tmp_path / "good.npz"), all_of(tmp_path / "bad.npz")
    assert np.isinf(bad[3][500]).all()
    others = np.arange(1000) != 500
    assert np.array_equal(good[2][others], bad[2][others]) and np.array_equal(good[3][others], bad[3][others])


def test_a_bad_file_among_many_is_reported_and_takes_no_part(tmp_path):
    paths = [tmp_path / f"{number}.npz" for number in range(5)]
    for number, path in enumerate(paths):
        np.savez(path, **spectra(3, seed=number))
    paths[1].write_bytes(paths[1].read_bytes()[:900])
    paths[3].unlink()
    with pytest.warns(SpectraWarning) as warned:
        batches = list(read_spectra(paths, LAYOUT, NETWORKS))
    assert [str(paths[1]) in str(warned[0].message), str(paths[3]) in str(warned[1].message)] == [True, True]
    names = [name for batch in batches for name in batch.identifier]
    star = [f"star {i}" for i in range(3)]
    assert names == [*star, "1", *star, "3", *star]
    problems = np.concatenate([batch.problem for batch in batches])
    assert "truncated" in problems[3] and "no such file" in problems[7] and (np.delete(problems, [3, 7]) == "").all()
    errors = np.concatenate([batch.flux_error for batch in batches])
    assert np.isinf(errors[[3, 7]]).all() and np.isfinite(np.delete(errors, [3, 7], axis=0)).all()
    alone = all_of(paths[4])
    assert np.array_equal(np.concatenate([batch.flux for batch in batches])[-3:], alone[2])
    with pytest.raises(SpectraError, match="no such file"):
        list(read_spectra(paths[2:], LAYOUT, NETWORKS, flag_bad_files=False))
    with pytest.raises(SpectraError, match="truncated"):
        list(read_spectra(paths[1:2], LAYOUT, NETWORKS))


def test_a_file_that_fails_in_its_middle_gives_what_was_read_before(tmp_path, monkeypatch):
    """A disk or a network that fails while rows are read: those before are good, the others are recorded as failed."""
    rows = NpzStore.rows

    def failing(self, key, first, last):
        if "bad" in str(self._path) and last > 5:
            raise SpectraError(f"{self._path}: {key} ends before row {last}.")
        return rows(self, key, first, last)

    monkeypatch.setattr(NpzStore, "rows", failing)
    paths = [tmp_path / "bad.npz", tmp_path / "good.npz"]
    np.savez(paths[0], **spectra(9))
    np.savez(paths[1], **spectra(2))
    with pytest.warns(SpectraWarning, match=r"bad.npz: flux ends before row 6"):
        batches = list(read_spectra(paths, LAYOUT, NETWORKS, batch_size=3))
    flux = np.concatenate([batch.flux for batch in batches])
    assert np.array_equal(flux[:3], spectra(9)["flux"][:3]) and np.array_equal(flux[9:], spectra(2)["flux"])
    failed = np.concatenate([batch.problem != "" for batch in batches])
    assert failed.tolist() == [False] * 3 + [True] * 6 + [False] * 2
    assert batches[1].identifier.tolist() == ["bad:3", "bad:4", "bad:5"]


def test_a_row_whose_own_axis_is_wrong_takes_no_part(tmp_path):
    axes = np.array([NETWORKS] * 4)
    axes[2, 7] = np.nan
    np.savez(tmp_path / "a.npz", **{**spectra(4), "wavelength": axes})
    with pytest.warns(SpectraWarning, match=r"spectrum 2: .*a.npz: wavelength\[7\] is nan"):
        batches = list(read_spectra([tmp_path / "a.npz"], LAYOUT, NETWORKS))
    failed = np.concatenate([np.isinf(batch.flux_error).all(axis=1) for batch in batches])
    assert failed.tolist() == [False, False, True, False]


# --- Layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "uncertainty of the spectra is '', expected flux_error, ivar, mask or none"),
        ({"uncertainty": "sigma"}, "uncertainty is 'sigma', expected one of: flux_error, ivar, mask, none"),
        ({"uncertainty": "ivar", "format": "csv"}, "format is 'csv', expected one of: npz, hdf5, text, fits, apStar"),
        ({"uncertainty": "ivar", "wavelength_unit": "mm"}, "wavelength_unit is 'mm', expected one of: Angstrom, nm"),
        ({"uncertainty": "ivar", "medium": "water"}, "medium is 'water', expected one of: vacuum, air"),
        ({"uncertainty": "ivar", "flx": "a"}, "flx: no such setting; did you mean flux\\?"),
        ({"uncertainty": "ivar", "zzz": "a"}, "zzz: no such setting; expected format, "),
        ({"uncertainty": "ivar", "flux": ""}, "flux is '', expected the name of an array"),
        ({"uncertainty": "ivar", "mask_bits": (1, 99)}, r"mask_bits is \(1, 99\), expected whole numbers from 0 to 62"),
        ({"uncertainty": "mask", "constant_error": 0.0}, "constant_error is 0.0, expected a positive number"),
        ({"format": "apStar", "medium": "air"}, "medium is 'air', but files of the format apStar have 'vacuum'"),
        ({"format": "aspcapStar", "uncertainty": "ivar"}, "uncertainty is 'ivar', but files of the format aspcapStar"),
        (
            {"format": "lamost", "uncertainty": "none"},
            "uncertainty is 'none', but files of the format lamost have 'ivar'",
        ),
        ({"format": "apVisit", "medium": "air"}, "medium is 'air', but files of the format apVisit have 'vacuum'"),
        ({"format": "aspcapStar", "mask_bits": (3,)}, r"mask_bits is \(3,\), which has no effect on .* aspcapStar"),
        ({"format": "specutils", "mask_bits": (3,)}, r"mask_bits is \(3,\), which has no effect on .* specutils"),
        (
            {"uncertainty": "ivar", "hdu": "3"},
            "hdu is '3', which has no effect on files of the format npz; .* mwmStar, ",
        ),
        ({"uncertainty": "ivar", "loader": "iraf"}, "loader is 'iraf', which has no effect .* with specutils only"),
        ({"uncertainty": "ivar", "rows": "stars"}, "rows is 'stars', expected one of: spectra, one_star"),
    ],
)
def test_a_layout_that_cannot_be_meant_is_refused(given, says):
    with pytest.raises(SettingsError, match=says):
        make_layout(**given)


def test_without_specutils_or_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.fits"
    path.touch()
    for package, format_, extra in (("specutils", "specutils", "specutils"), ("h5py", "hdf5", "hdf5")):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        with pytest.raises(SpectraError, match=rf"pip install 'payneflow\[{extra}\]'"):
            all_of(path, make_layout(format=format_, uncertainty="ivar"))


def test_default_names_are_those_of_the_file(tmp_path):
    arrays = spectra(2)
    del arrays["identifier"]
    np.savez(tmp_path / "survey.npz", **arrays)
    assert all_of(tmp_path / "survey.npz")[0] == ["survey:0", "survey:1"]
    one = {key: array[0] if array.ndim == 2 else array for key, array in arrays.items()}
    np.savez(tmp_path / "star.npz", **one)
    assert all_of(tmp_path / "star.npz")[0] == ["star"]
