"""Spectra in text files: with names and without, parted by anything, with missing entries; and what is no table."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from payneflow.errors import SpectraError
from payneflow.spectra import count_spectra, make_layout, read_spectra

N = 80
NETWORKS = 10 ** (4.18 + 6e-6 * np.arange(N))
rng = np.random.default_rng(3)
FLUX, ERROR = rng.normal(1, 0.1, N).round(6), rng.uniform(0.01, 0.02, N).round(6)
ROWS = list(zip(NETWORKS, FLUX, ERROR, strict=True))


def read(path, **layout):
    layout = make_layout(**{"format": "text", "uncertainty": "flux_error", **layout})
    assert count_spectra(path, layout) == 1
    (batch,) = read_spectra([path], layout, NETWORKS)
    return batch


def lines(delimiter=" ", columns=(NETWORKS, FLUX, ERROR)):
    return "\n".join(delimiter.join(repr(float(value)) for value in row) for row in zip(*columns, strict=True)) + "\n"


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        (lines(), {}),
        (lines("   "), {}),
        (lines("\t"), {}),
        (lines(","), {}),
        (lines(", "), {}),
        (lines(";"), {}),
        ("# wave flux err\n" + lines(), {}),
        ("#wave flux err\n" + lines(), {}),
        ("# a star of 1 February\n# seen by me\n#\n" + lines(), {}),
        ("# a star, 5772 K\n# wavelength, flux, error\n" + lines(","), {}),
        ("# lambda flux sigma\n" + lines(","), {}),
        ("wavelength flux flux_error\n" + lines(), {}),
        ("WAVELENGTH,FLUX,ERROR\n" + lines(","), {}),
        ("\n# a comment\nwave,flux,err\n" + lines(","), {}),
        ("err flux wave\n" + lines(columns=(ERROR, FLUX, NETWORKS)), {}),
        ("e f w\n" + lines(columns=(ERROR, FLUX, NETWORKS)), {"wavelength": "w", "flux": "f", "flux_error": "e"}),
        (lines(columns=(ERROR, FLUX, NETWORKS)), {"wavelength": "3", "flux": "2", "flux_error": "1"}),
        ("wave,raw,flux,err\n" + lines(",", (NETWORKS, FLUX * 9, FLUX, ERROR)), {}),
        ("wave,raw,flux,err\n" + lines(",", (NETWORKS, FLUX, FLUX * 9, ERROR)), {"flux": "raw"}),
        ("wave,raw,flux,err\n" + lines(",", (NETWORKS, FLUX, FLUX * 9, ERROR)), {"flux": "2"}),
        ("# wave flux ivar\n" + lines(columns=(NETWORKS, FLUX, ERROR**-2)), {"uncertainty": "ivar"}),
        (lines(columns=(NETWORKS, FLUX, ERROR**-2)), {"uncertainty": "ivar"}),
        (lines(columns=(NETWORKS / 10, FLUX, ERROR)), {"wavelength_unit": "nm"}),
        ("# étoile\n" + lines(columns=(NETWORKS[::-1], FLUX[::-1], ERROR[::-1])), {}),
        (lines().replace("\n", "\r\n"), {}),
        ("\ufeff" + lines(), {}),
        ("\ufeffwave,flux,err\n" + lines(","), {}),
        ("\n".join(f"{w:.16g} {y:.10e} {e:.10e}".replace("e", "D") for w, y, e in ROWS), {}),
        ("wave flux err sky\n" + lines(columns=(NETWORKS, FLUX, ERROR, FLUX)), {}),
        (lines(columns=(NETWORKS, FLUX, ERROR, FLUX)), {}),
    ],
)
def test_columns_are_found(tmp_path, content, layout):
    path = tmp_path / "star.txt"
    path.write_text(content, encoding="utf-8", newline="")
    batch = read(path, **layout)
    assert batch.identifier == ["star"] and batch.on_networks_axis
    assert batch.flux[0] == pytest.approx(FLUX, rel=1e-15) and batch.flux_error[0] == pytest.approx(ERROR, rel=1e-12)


@pytest.mark.parametrize("format", ["ascii.ecsv", "ascii.csv", "ascii.commented_header", "ascii.basic", "ascii.tab"])
def test_what_astropy_writes_is_read_with_entries_that_are_missing(tmp_path, format):
    missing = np.arange(N) % 9 == 2
    table = Table({"wavelength": NETWORKS, "flux": MaskedColumn(FLUX, mask=missing), "flux_error": ERROR})
    if format in ("ascii.commented_header", "ascii.basic"):  # where an entry that is not there cannot be told
        table["flux"] = np.where(missing, np.nan, FLUX)
    table.write(tmp_path / "a.dat", format=format)
    batch = read(tmp_path / "a.dat")
    assert (
        np.array_equal(np.isinf(batch.flux_error[0]), missing) and batch.n_left_out["flux not finite"] == missing.sum()
    )
    assert np.array_equal(batch.flux[0, ~missing], FLUX[~missing])


def test_masks_and_flux_without_errors(tmp_path):
    bad = np.arange(N) % 7 == 0
    (tmp_path / "a.txt").write_text("wave flux mask\n" + lines(columns=(NETWORKS, FLUX, bad)))
    batch = read(tmp_path / "a.txt", uncertainty="mask", constant_error=0.03)
    assert np.array_equal(batch.flux_error[0], np.where(bad, np.inf, 0.03))
    (tmp_path / "b.txt").write_text(lines(columns=(NETWORKS, FLUX)))
    assert (read(tmp_path / "b.txt", uncertainty="none", constant_error=0.03).flux_error == 0.03).all()
    Table({"wave": NETWORKS, "flux": FLUX, "mask": 4 * bad + 2}).write(tmp_path / "c.ecsv")
    batch = read(tmp_path / "c.ecsv", uncertainty="none", mask_bits=(2,))
    assert np.array_equal(np.isinf(batch.flux_error[0]), bad)


def test_a_unit_that_ecsv_names_must_be_that_of_the_layout(tmp_path):
    table = Table({"wavelength": NETWORKS / 10, "flux": FLUX, "flux_error": ERROR})
    table["wavelength"].unit = "nm"
    table.write(tmp_path / "a.ecsv")
    assert read(tmp_path / "a.ecsv", wavelength_unit="nm").on_networks_axis
    with pytest.raises(SpectraError, match=r"a.ecsv: column wavelength has the unit nm, .* wavelength_unit: nm"):
        read(tmp_path / "a.ecsv")


@pytest.mark.parametrize(
    ("content", "layout", "says"),
    [
        (b"", {}, "empty; expected columns of numbers"),
        (b"# nothing\n# but comments\n", {}, "no table of numbers"),
        (b"\x93NUMPY\x00\xff\xfe", {}, "not a text file"),
        (b"\x93NUMPY\xff\xfe\n1 2 3\n", {}, "no table of numbers"),
        (b"wave,flux,err\n1,2,3\n4,5\n6,7,8\n", {}, "no table of numbers .*as many entries in each"),
        (b"1 2 3\n4 5\n", {}, "no table of numbers"),
        (b"wave flux err\n15000 1 3\n15001 two 3\n", {}, r"flux\[1\] is 'two' \(pixel 1\); expected a number"),
        (b"x y z\n15000 1 1\n15001 1 1\n", {}, r"no array 'wavelength' .*The file holds 'x', 'y', 'z'"),
        (b"15000 1\n15001 1\n", {}, r"no array 'flux_error' .*set uncertainty to none.*The file holds '1', '2'"),
        (
            b"wave flux err\n15000 1 1\n",
            {"uncertainty": "ivar"},
            ".*It has 'flux_error': set uncertainty to flux_error",
        ),
        (b"15000 1 1\n15001 1 1\n", {"flux": "4"}, "no array '4' .the flux."),
        (b"# %ECSV 1.0\n# ---\n# datatype: nothing\n", {}, "no table of numbers"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, layout, says):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(SpectraError, match=f"a.txt: {says}"):
        read(tmp_path / "a.txt", **layout)
