"""One bad file takes no batch with it, whatever is wrong with its bytes, in every format: its spectrum is recorded."""

import bz2
import gzip
import io
import lzma
import warnings

import h5py
import numpy as np
import pytest
from astropy.io import fits

from payneflow.errors import SpectraError, SpectraWarning
from payneflow.spectra import make_layout, read_spectra
from payneflow.spectra.reading import open_spectra
from payneflow.swelling import MOST_PIXELS

WAVELENGTH = 15000.0 * np.exp(1.4e-5 * np.arange(200))
FLUX = 1.0 + 0.01 * np.random.default_rng(0).normal(size=200)
ERROR = np.full(200, 0.01)
COLUMNS = {"wavelength": WAVELENGTH, "flux": FLUX, "flux_error": ERROR}
LAYOUTS = {
    "fits": make_layout(
        format="fits", wavelength="1:wavelength", flux="1:flux", flux_error="1:flux_error", uncertainty="flux_error"
    ),
    "image": make_layout(format="fits", wavelength="1", flux="0", flux_error="2", uncertainty="flux_error"),
    "rice": make_layout(format="fits", wavelength="2", flux="1", flux_error="3", uncertainty="flux_error"),
    "hdf5": make_layout(format="hdf5", uncertainty="flux_error"),
    "npz": make_layout(uncertainty="flux_error"),
    "text": make_layout(format="text", uncertainty="flux_error"),
}


def good_file(path, kind):
    if kind == "fits":
        columns = [fits.Column(name, "D", array=values) for name, values in COLUMNS.items()]
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    elif kind == "image":
        fits.HDUList([fits.PrimaryHDU(FLUX), fits.ImageHDU(WAVELENGTH), fits.ImageHDU(ERROR)]).writeto(path)
    elif kind == "rice":
        hdus = [fits.ImageHDU(array) for array in (FLUX, WAVELENGTH, ERROR)]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file.update(COLUMNS)
    elif kind == "npz":
        with open(path, "wb") as stream:
            np.savez(stream, **COLUMNS)
    else:
        np.savetxt(path, np.column_stack(list(COLUMNS.values())))


def card(old, new):
    """What the last header card that says so says, changed; both of one length."""

    def change(content):
        assert content.count(old) >= 1
        place = content.rindex(old)
        return content[:place] + new + content[place + len(old) :]

    return change


BYTES = {
    "a table of no rows": ("fits", card(b"NAXIS2  =                  200", b"NAXIS2  =                    0")),
    "a BITPIX that there is not": ("image", card(b"BITPIX  =                  -64", b"BITPIX  =                    7")),
    "rows of a terabyte": ("fits", card(b"NAXIS1  =                   24", b"NAXIS1  =        1000000000000")),
    "columns below none": ("fits", card(b"TFIELDS =                    3", b"TFIELDS =                   -3")),
    "a column of no kind": ("fits", card(b"TFORM2  = 'D       '", b"TFORM2  = 'Q       '")),
    "an extension that is no text": ("image", card(b"XTENSION= 'IMAGE   '", b"XTENSION=          7")),
    "an extension that is no text, gzip": (
        "image",
        lambda content: gzip.compress(card(b"XTENSION= 'IMAGE   '", b"XTENSION=          7")(content)),
    ),
    "an extension that is a truth value, gzip": (
        "fits",
        lambda content: gzip.compress(card(b"XTENSION= 'BINTABLE'", b"XTENSION=          T")(content)),
    ),
    "a FITS file that is cut": ("fits", lambda content: content[:7000]),
    "an HDF5 file that is cut": ("hdf5", lambda content: content[: len(content) // 2]),
    "an npz file that is cut": ("npz", lambda content: content[:700]),
    "a row of a million numbers": ("text", lambda content: b"1 " * 1_000_000),
    "zeros in place of text": ("text", lambda content: b"\0" * 1000),
    "words": ("text", lambda content: b"no numbers here\n" * 200),
    **{f"an empty file, {kind}": (kind, lambda content: b"") for kind in LAYOUTS},
    **{
        f"noise, {kind}": (kind, lambda content: np.random.default_rng(1).integers(0, 256, 3000, np.uint8).tobytes())
        for kind in LAYOUTS
    },
}


@pytest.mark.parametrize(("kind", "change"), BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_spectrum(tmp_path, kind, change):
    paths = [tmp_path / name for name in ("first", "bad", "last")]
    for path in paths:
        good_file(path, kind)
    paths[1].write_bytes(change(paths[1].read_bytes()))
    assert_recorded(paths, kind)


DATASETS = {
    "a link to nothing": lambda file: file.update({"flux": h5py.SoftLink("/nothing")}),
    "a link to another file": lambda file: file.update({"flux": h5py.ExternalLink("nowhere.h5", "/flux")}),
    "a group": lambda file: file.create_group("flux"),
    "a dataset without values": lambda file: file.update({"flux": h5py.Empty("f8")}),
    "text": lambda file: file.update({"flux": "bright"}),
    "pairs": lambda file: file.update({"flux": np.zeros(200, [("a", "f8"), ("b", "f8")])}),
    "a terabyte that nobody wrote": lambda file: file.create_dataset("flux", (1, 10**12), "f8", chunks=(1, 1000)),
}


@pytest.mark.parametrize("write", DATASETS.values(), ids=DATASETS)
def test_hdf5_that_holds_something_else(tmp_path, write):
    paths = [tmp_path / name for name in ("first", "bad", "last")]
    for path in paths:
        good_file(path, "hdf5")
    with h5py.File(paths[1], "a") as file:
        del file["flux"]
        write(file)
    assert_recorded(paths, "hdf5")


def image_of(*lengths):
    """A FITS file whose first header says so many values, and which has 200 of them."""
    header = fits.Header([("SIMPLE", True), ("BITPIX", -64), ("NAXIS", len(lengths))])
    header.update({f"NAXIS{i + 1}": length for i, length in enumerate(lengths)})
    return header.tostring(padding=True).encode() + FLUX.astype(">f8").tobytes()


def rice_of(old, new):
    """A compressed image of 4 spectra of 200 pixels, a card of whose header is changed."""
    stream = io.BytesIO()
    image = fits.CompImageHDU(np.zeros((4, 200), np.int32), compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), image, fits.ImageHDU(WAVELENGTH), fits.ImageHDU(ERROR)]).writeto(stream)
    assert stream.getvalue().count(old) == 1
    return stream.getvalue().replace(old, new)


def npz_of_zeros(key):
    stream = io.BytesIO()
    np.savez_compressed(stream, **{**COLUMNS, key: np.zeros(4 * 10**7)})
    return stream.getvalue()


def hdf5_of_nothing(key, *shape):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.update({name: array for name, array in COLUMNS.items() if name != key})
        file.create_dataset(key, shape, "f8", chunks=True, compression="gzip")
    return stream.getvalue()


# What takes seconds to compress is made by its test, and not by every process that collects the tests.
SWELLING = {
    "a header of 80 GB": ("image", image_of(10**10), "truncated"),
    "a header of 80 GB, gzip": ("image", gzip.compress(image_of(10**10)), ""),
    "200 MB of zeros, gzip": (
        "image",
        lambda: gzip.compress(image_of(25 * 10**6) + bytes(2 * 10**8), 9),
        "that inflate to more than",
    ),
    "200 MB of zeros, bzip2": (
        "image",
        lambda: bz2.compress(image_of(25 * 10**6) + bytes(2 * 10**8)),
        "more than 67108864",
    ),
    "200 MB of zeros, xz": (
        "image",
        lambda: lzma.compress(image_of(25 * 10**6) + bytes(2 * 10**8)),
        "more than 67108864",
    ),
    "axes without end": (
        "image",
        image_of(200).replace(b"NAXIS   =                    1", b"NAXIS   =          10000000000"),
        "NAXIS of HDU 0 is 10000000000; expected at most 999",
    ),
    "axes without end, gzip": (
        "image",
        gzip.compress(image_of(200).replace(b"NAXIS   =                    1", b"NAXIS   =          10000000000")),
        "NAXIS of HDU 0 is 10000000000; expected at most 999",
    ),
    "a header without end": ("image", image_of(200)[:320] + b" " * 30_000_000, "does not end within 28800000 bytes"),
    "a gzip file that is cut": ("image", gzip.compress(image_of(200))[:90], ""),
    "pixels of RICE": (
        "rice",
        rice_of(b"ZNAXIS1 =                  200", b"ZNAXIS1 =          10000000000"),
        "take 160000000000 bytes",
    ),
    "rows of RICE": (
        "rice",
        rice_of(b"ZNAXIS2 =                    4", b"ZNAXIS2 =           1000000000"),
        "take 800000000000 bytes",
    ),
    "npz, flux": ("npz", lambda: npz_of_zeros("flux"), "flux would take 320000000 bytes"),
    "npz, wavelength": ("npz", lambda: npz_of_zeros("wavelength"), "wavelength would take 320000000 bytes"),
    "hdf5, rows of flux": ("hdf5", hdf5_of_nothing("flux", 10**9, 200), "flux would take 1600000000000 bytes"),
    "hdf5, wavelength": ("hdf5", hdf5_of_nothing("wavelength", 10**10), "wavelength would take 80000000000 bytes"),
}


@pytest.mark.parametrize(("kind", "content", "says"), SWELLING.values(), ids=SWELLING)
def test_what_would_swell_is_refused_before_it_does(tmp_path, kind, content, says):
    paths = [tmp_path / name for name in ("first", "bad", "last")]
    for path in paths:
        good_file(path, kind)
    paths[1].write_bytes(content() if callable(content) else content)
    assert says in assert_recorded(paths, kind)[1]


def test_one_spectrum_of_more_pixels_than_any_is_refused(tmp_path):
    path = tmp_path / "long.npz"
    np.savez(path, **dict.fromkeys(COLUMNS, np.arange(MOST_PIXELS + 1, dtype=np.float32)))
    with pytest.raises(SpectraError, match="flux has 10000001 pixels a spectrum; expected at most 10000000"):
        open_spectra(path, LAYOUTS["npz"])


def test_a_file_that_shrinks_as_spectra_do_is_read(tmp_path):
    """Compressed, it is what it was."""
    good_file(tmp_path / "plain", "image")
    (tmp_path / "packed").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    (batch,) = read_spectra([tmp_path / "plain", tmp_path / "packed"], LAYOUTS["image"], WAVELENGTH)
    assert (batch.flux == FLUX).all() and len(batch) == 2


def test_a_directory_and_a_link_to_nothing(tmp_path):
    paths = [tmp_path / name for name in ("first", "directory", "link", "last")]
    good_file(paths[0], "npz")
    paths[1].mkdir()
    paths[2].symlink_to(tmp_path / "nowhere")
    good_file(paths[3], "npz")
    assert_recorded(paths, "npz")


def assert_recorded(paths, kind):
    """The first and the last are read, those between are failed spectra of their names, with the reasons returned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectraWarning)
        batches = list(read_spectra(paths, LAYOUTS[kind], WAVELENGTH))
    said = [problem for batch in batches for problem in batch.problem]
    assert [str(name) for batch in batches for name in batch.identifier] == [path.name for path in paths]
    assert said[0] == said[-1] == "" and all(said[1:-1])
    assert all(str(path) in problem for path, problem in zip(paths[1:-1], said[1:-1], strict=True))
    assert all(np.isinf(batch.flux_error).all() for batch in batches if batch.problem[0])
    assert (batches[0].flux[0] == FLUX).all() or kind == "text"
    return said
