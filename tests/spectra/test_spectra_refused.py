"""Malformed files of observed spectra: each is refused with the file, the key, the place, and what to do."""

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from test_spectra import N_PIXEL, N_SPECTRUM, NETWORKS, apogee_file, save_fits_images, save_fits_table, spectra

from payneflow.errors import SpectraError
from payneflow.spectra import count_spectra, make_layout, read_spectra


def refusal(path: Path, **layout) -> str:
    """What is said of the only file of a run."""
    with pytest.raises(SpectraError) as refused:
        list(read_spectra([path], make_layout(**{"uncertainty": "flux_error", **layout}), NETWORKS))
    return str(refused.value)


# --- Arrays: the same ones in npz and in HDF5 -------------------------------------------------------------------------


@dataclass
class Refused:
    """A change of good arrays, the layout it is read with, and what the message must say."""

    name: str
    change: dict
    said: tuple[str, ...]
    layout: dict = field(default_factory=dict)


def changed(key, function):
    return {key: function(spectra()[key])}


def at(key, index, value):
    array = spectra()[key].copy()
    array[index] = value
    return {key: array}


REMOVED = object()
AXIS = "wavelength"

ARRAYS = [
    # keys
    Refused("no wavelength", {AXIS: REMOVED}, ("no array 'wavelength' (the wavelengths)", "The file holds 'flux'")),
    Refused("no flux", {"flux": REMOVED}, ("no array 'flux'", "as flux of the layout")),
    Refused("no error", {"flux_error": REMOVED}, ("no array 'flux_error' (its 1 sigma errors, because uncertainty",)),
    Refused(
        "ivar instead", {"flux_error": REMOVED, "ivar": np.ones((7, 40))}, ("It has 'ivar': set uncertainty to ivar?",)
    ),
    Refused("no ivar", {}, ("no array 'ivar'", "It has 'flux_error': set uncertainty"), {"uncertainty": "ivar"}),
    Refused("neither, and no mask", {"flux_error": REMOVED}, ("no array 'mask'",), {"uncertainty": "mask"}),
    Refused("a mask that was named", {}, ("no array 'bad' (the mask of bad pixels)",), {"mask": "bad"}),
    Refused("names that were named", {}, ("no array 'id' (the name of each spectrum)",), {"identifier": "id"}),
    # kinds
    Refused("flux of text", {"flux": np.full((7, 40), "1.0")}, ("flux has dtype", "expected real numbers")),
    Refused("complex flux", {"flux": np.ones((7, 40), dtype=complex)}, ("flux has dtype complex128",)),
    Refused("mask of text", {"mask": np.full((7, 40), "good")}, ("mask has dtype", "expected numbers")),
    Refused("bits of reals", {"mask": np.zeros((7, 40))}, ("mask has dtype float64", "mask_bits"), {"mask_bits": (1,)}),
    Refused(
        "names of reals", {"identifier": np.arange(7.0)}, ("identifier has dtype float64", "text or whole numbers")
    ),
    # shapes
    Refused("transposed", changed("flux", np.transpose), ("flux is stored transposed", "(40, 7)")),
    Refused("other pixels", changed("flux", lambda y: y[:, :9]), ("flux has shape (7, 9); expected (n_spectrum, 40)",)),
    Refused("a cube", {"flux": np.ones((2, 3, 40))}, ("flux has shape (2, 3, 40)",)),
    Refused("no spectrum", changed("flux", lambda y: y[:0]), ("flux holds no spectrum",)),
    Refused("no pixel", {AXIS: np.empty(0)}, ("wavelength has shape (0,)",)),
    Refused("one number", {AXIS: np.float64(15000)}, ("wavelength has shape ()", "expected (n_pixel,)")),
    Refused(
        "too few errors",
        changed("flux_error", lambda e: e[:3]),
        ("flux_error has shape (3, 40); expected (40,) or (7, 40)", "7 spectra of 40 pixels"),
    ),
    Refused("too few names", changed("identifier", lambda i: i[:3]), ("identifier has shape (3,); expected (7,)",)),
    Refused("too short a mask", {"mask": np.zeros((7, 39))}, ("mask has shape (7, 39); expected (40,) or (7, 40)",)),
    # wavelengths
    Refused("wavelength NaN", at(AXIS, 4, np.nan), ("wavelength[4] is nan (pixel 4), the first of 1",)),
    Refused("wavelength negative", at(AXIS, 0, -1), ("wavelength[0] is -1 (pixel 0)", "wavelengths in Angstrom")),
    Refused("unsorted", at(AXIS, 7, 15000.0), ("wavelength[7] is 15000", "only rise", "Sort the pixels")),
    Refused("repeated", at(AXIS, 7, NETWORKS[6]), ("wavelength[7]", "(pixel 7), after", "there twice")),
    Refused("nm", changed(AXIS, lambda w: w / 10), ("covers 1513", "would fit as nm: is wavelength_unit wrong?")),
    Refused("log10", changed(AXIS, np.log10), ("would fit as log10_Angstrom", "is wavelength_unit wrong?")),
    Refused("not nm", {}, ("covers 151356", "would fit as Angstrom"), {"wavelength_unit": "nm"}),
    Refused("not log10", {}, ("wavelength[0] is 15135.6", "in log10_nm"), {"wavelength_unit": "log10_nm"}),
    Refused(
        "elsewhere", changed(AXIS, lambda w: w / 3), ("covers 5045", "nothing of the networks' 15135", "of that range")
    ),
    Refused(
        "one pixel",
        changed(AXIS, lambda w: np.append(w[:-1] / 2, w[-1])),
        ("has a single pixel, 151", "within reach of the networks", "Was the file cut?"),
    ),
    Refused("no air", changed(AXIS, lambda w: w / 10), ("wavelengths are in vacuum", "medium"), {"medium": "air"}),
]


def save_npz(path, arrays):
    with open(path, "wb") as stream:  # a name would get the ending .npz
        np.savez(stream, **arrays)


def npz_of_another_shape(path):
    """The header of the flux says nine spectra, where the file has seven."""
    arrays = spectra()
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            content = stream.getvalue()
            archive.writestr(f"{key}.npy", content.replace(b"(7, 40), }", b"(9, 40), }") if key == "flux" else content)


def save_hdf5(path, arrays):
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array.astype(object) if np.asarray(array).dtype.kind == "U" else array


@pytest.mark.parametrize(("format", "save"), [("npz", save_npz), ("hdf5", save_hdf5)])
@pytest.mark.parametrize("case", ARRAYS, ids=lambda case: case.name)
def test_refused_arrays(tmp_path, case, format, save):
    arrays = {key: array for key, array in {**spectra(), **case.change}.items() if array is not REMOVED}
    path = tmp_path / f"spectra.{format}"
    save(path, arrays)
    message = refusal(path, format=format, **case.layout)
    assert message.startswith(f"{path}: ")
    for part in case.said:
        assert part in message


# --- Files ------------------------------------------------------------------------------------------------------------


def as_directory(path):
    path.mkdir()


def cut(save, share):
    def make(path):
        save(path, spectra())
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return make


def with_pickle(path):
    save_npz(path, {**spectra(), "identifier": np.array([{"a": 1}] * N_SPECTRUM, dtype=object)})


def ragged_table(path):
    rows = np.empty(2, dtype=object)
    rows[:] = [np.ones(3), np.ones(4)]
    columns = [fits.Column("flux", "PD()", array=rows), fits.Column("wavelength", "PD()", array=rows)]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)


def image(**header):
    def make(path):
        hdu = fits.ImageHDU(np.ones((2, N_PIXEL)), name="flux")
        hdu.header.update(header)
        error = fits.ImageHDU(np.ones((2, N_PIXEL)), name="flux_error")
        fits.HDUList([fits.PrimaryHDU(), hdu, error]).writeto(path)

    return make


AS_HEADER = {"format": "fits", "wavelength": "header"}
LINEAR = {"CRVAL1": 15140.0, "CDELT1": 0.2}
FITS = {"format": "fits"}
HDF5 = {"format": "hdf5"}

FILES = [
    ("missing", lambda path: None, {}, ("no such file",)),
    ("a directory", as_directory, {}, ("a directory",)),
    ("empty", Path.touch, {}, ("empty",)),
    ("text", lambda path: path.write_text("wavelength,flux\n"), {}, ("not an npz file",)),
    ("npz cut", cut(save_npz, 0.9), {}, ("truncated",)),
    ("npz of another shape", npz_of_another_shape, {}, ("flux", "bytes", "(9, 40)")),
    ("npz pickled", with_pickle, {}, ("identifier is a pickled array", "never loaded")),
    ("HDF5 cut", cut(save_hdf5, 0.5), HDF5, ("not a readable HDF5 file", "truncated")),
    ("HDF5 empty", Path.touch, HDF5, ("not a readable HDF5 file",)),
    ("npz as HDF5", lambda path: save_npz(path, spectra()), HDF5, ("not a readable HDF5 file",)),
    ("FITS empty", Path.touch, FITS, ("not a readable FITS file",)),
    ("FITS text", lambda path: path.write_text("SIMPLE"), FITS, ("not a readable FITS file",)),
    ("FITS cut in its data", cut(save_fits_images, 0.7), FITS, ("truncated",)),
    ("FITS table cut", cut(save_fits_table, 0.9), FITS, ("truncated",)),
    ("FITS without such an HDU", image(), FITS, ("no array 'wavelength'", "1 (FLUX)", "2 (FLUX_ERROR)")),
    (
        "FITS with a table for an image",
        lambda path: save_fits_table(path, spectra()),
        {**FITS, "wavelength": "1"},
        ("1 is a table; expected one of its columns, such as '1:LAMBDA'",),
    ),
    (
        "FITS without such a column",
        lambda path: save_fits_table(path, spectra()),
        {**FITS, "wavelength": "1:LAM", "flux": "1:flux", "flux_error": "1:flux_error"},
        ("no array '1:LAM'", "1:LAMBDA"),
    ),
    ("ragged", ragged_table, {**FITS, AXIS: "1:wavelength", "flux": "1:flux"}, ("1:wavelength has rows of different",)),
    ("no axis in the header", image(), AS_HEADER, ("HDU flux has no CRVAL1 with CDELT1",)),
    (
        "log10 and declared linear",
        image(**LINEAR, **{"DC-FLAG": 1}),
        AS_HEADER,
        ("DC-FLAG 1, which says that the axis is log10", "wavelength_unit"),
    ),
    ("air and declared vacuum", image(**LINEAR, CTYPE1="AWAV"), AS_HEADER, ("CTYPE1 AWAV", "medium: air")),
    (
        "not apStar",
        lambda path: save_fits_table(path, spectra()),
        {"format": "apStar", "uncertainty": ""},
        ("a table",),
    ),
    (
        "apStar of another instrument",
        lambda path: (apogee_file(path, "apStar"), fits.setval(path, "CRVAL1", value=3.6, ext=1)),
        {"format": "apStar", "uncertainty": ""},
        ("header covers 3981", "nothing of the networks'"),
    ),
    ("not for specutils", lambda path: path.write_text("?"), {"format": "specutils"}, ("specutils cannot read it",)),
    ("missing for specutils", lambda path: None, {"format": "specutils"}, ("no such file",)),
]


@pytest.mark.parametrize(("make", "layout", "said"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_refused_files(tmp_path, make, layout, said):
    path = tmp_path / "star.spectrum"
    make(path)
    message = refusal(path, **layout)
    assert message.startswith(f"{path}: ")
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"uncertainty": None}, "specutils says that its errors are flux_error; expected ivar"),
        ({"spectral_axis": "pixel"}, "its spectral axis is in pix; expected a unit of wavelength"),
    ],
)
def test_what_a_specutils_object_says_must_be_what_was_declared(tmp_path, monkeypatch, change, said):
    import specutils
    from astropy import units
    from astropy.nddata import StdDevUncertainty

    spectrum = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    axis = np.arange(N_PIXEL) * units.pix if "spectral_axis" in change else NETWORKS * units.AA
    error = StdDevUncertainty(np.full(N_PIXEL, 0.01))
    held = spectrum(flux=np.ones(N_PIXEL) * units.one, spectral_axis=axis, uncertainty=error)
    monkeypatch.setattr(spectrum, "read", lambda *_, **__: held)
    path = tmp_path / "star.fits"
    path.touch()
    message = refusal(path, format="specutils", uncertainty="ivar")
    assert message.startswith(f"{path}: ") and said in message


@settings(max_examples=60)
@given(data=st.data())
def test_damage_anywhere_is_refused_or_found_in_the_numbers(tmp_path_factory, data):
    """Cut a file or flip a byte anywhere: SpectraError that names the file, or spectra of the right shape."""
    save, name, layout = data.draw(
        st.sampled_from(
            [
                (save_npz, "a.npz", {}),
                (save_hdf5, "a.h5", HDF5),
                (save_fits_images, "a.fits", {**FITS, "identifier": "names:identifier"}),
            ]
        )
    )
    path = tmp_path_factory.mktemp("damage") / name
    save(path, spectra())
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1), label="place")
    if data.draw(st.booleans(), label="cut"):
        content = content[:place]
    else:
        content[place] ^= data.draw(st.integers(1, 255), label="flip")
    path.write_bytes(content)
    layout = make_layout(uncertainty="flux_error", **layout)
    try:
        n_spectrum = count_spectra(path, layout)
        batches = list(read_spectra([path], layout, NETWORKS))
    except SpectraError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert sum(map(len, batches)) == n_spectrum
        assert all(batch.flux.shape == batch.flux_error.shape for batch in batches)
        assert all((batch.flux_error > 0).all() for batch in batches)
