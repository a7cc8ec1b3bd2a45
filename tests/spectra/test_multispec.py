"""IRAF's multispec: wavelengths of each aperture, linear, in log10, and by polynomials and splines."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.interpolate import BSpline

from payneflow.errors import SpectraError
from payneflow.spectra import make_layout, read_spectra
from payneflow.spectra.multispec import wavelengths_of_apertures
from payneflow.wavelength import air_to_vacuum

N = 120
NETWORKS = 15200 * np.exp(1.4e-5 * np.arange(600))
PIXEL = np.arange(1.0, N + 1)


def header_of(*specs, units="angstroms", **more):
    """A header as IRAF writes it: the specs in one text, cut into cards of 68 signs wherever that falls."""
    text = "wtype=multispec " + " ".join(f'spec{number} = "{spec}"' for number, spec in enumerate(specs, start=1))
    header = fits.Header({"CTYPE1": "MULTISPE", "CTYPE2": "MULTISPE", "CD1_1": 1.0, "LTM1_1": 1.0, **more})
    header["WAT1_001"] = f"wtype=multispec label=Wavelength units={units}"
    for number in range(-(-len(text) // 68)):
        header[f"WAT2_{number + 1:03d}"] = text[68 * number : 68 * (number + 1)]
    return header


def spec(kind, first, step, *function, n=N, z=0.0):
    return " ".join(map(str, (3, 55, kind, first, step, n, z, 12.3, 17.9, *function)))


def axes(*specs, **more):
    return wavelengths_of_apertures("a.fits: HDU 0", header_of(*specs, **more), len(specs), N)


def test_linear_and_logarithmic_apertures_with_their_doppler_factors():
    found = axes(
        spec(0, 15210.5, 0.21), spec(1, 4.182, 6e-6), spec(0, 15230.0, 0.2, z=1e-4), spec(1, 4.183, 6e-6, z=1e-5)
    )
    assert found[0] == pytest.approx(15210.5 + 0.21 * (PIXEL - 1), rel=1e-14)
    assert found[1] == pytest.approx(10 ** (4.182 + 6e-6 * (PIXEL - 1)), rel=1e-13)
    assert found[2] == pytest.approx((15230 + 0.2 * (PIXEL - 1)) / 1.0001, rel=1e-14)
    assert found[3] == pytest.approx(10 ** ((4.183 + 6e-6 * (PIXEL - 1)) / 1.00001), rel=1e-13)


def test_sections_count_physical_pixels():
    """Every second pixel of a section that begins with pixel 41: l = 0.5 p + LTV."""
    (found,) = axes(spec(0, 15210.5, 0.21), LTV1=-20.0, LTM1_1=0.5)
    assert found[0] == pytest.approx(15210.5 + 0.21 * (2 * (1 + 20) - 1))
    assert np.diff(found) == pytest.approx(0.42)


@pytest.mark.parametrize(
    ("kind", "basis"), [(1, lambda x: [1 + 0 * x, x, 2 * x**2 - 1]), (2, lambda x: [1 + 0 * x, x, 1.5 * x**2 - 0.5])]
)
def test_polynomials_and_weighted_sums_of_them(kind, basis):
    unit = (PIXEL - 0.5 * (5 + 200)) / (0.5 * (200 - 5))
    value = np.array([15250.0, 20.0, 0.3]) @ basis(unit)
    function = (kind, 3, 5, 200, 15250.0, 20.0, 0.3)
    (found,) = axes(spec(2, 15230, 0.2, 1.0, 0.0, *function))
    assert found == pytest.approx(value, rel=1e-14)
    other = (1, 2, 1, N, 15251.0, 12.0)
    two = 15251.0 + 12.0 * (PIXEL - 0.5 * (N + 1)) / (0.5 * (N - 1))
    (found,) = axes(spec(2, 15230, 0.2, 0.25, 2.0, *function, 0.75, -1.0, *other, z=2e-5))
    assert found == pytest.approx((0.25 * (2 + value) + 0.75 * (two - 1)) / 1.00002, rel=1e-14)


def test_splines():
    """The cubic one is six times the uniform B-spline of the same coefficients."""
    line, cube = [15200.0, 15215.0, 15235.0, 15250.0], np.array([2533.0, 2535, 2538, 2540, 2543, 2547])
    found = axes(spec(2, 0, 0, 1, 0, 4, 3, 1, N, *line), spec(2, 0, 0, 1, 0, 3, 3, 1, N, *cube))
    place = (PIXEL - 1) / (N - 1) * 3
    assert found[0] == pytest.approx(np.interp(place, np.arange(4), line), rel=1e-14)
    assert found[1] == pytest.approx(6 * BSpline(np.arange(-3.0, 7.0), cube, 3)(place), rel=1e-13)


@pytest.mark.parametrize("bands", [True, False])
def test_an_echelle_spectrum_of_iraf_is_one_star(tmp_path, bands):
    """Three orders, the last of them 20 pixels shorter than the image; with the bands of apall or without."""
    starts = (15205.0, 15225.07, 15245.5)
    header = header_of(*(spec(0, start, 0.2, n=N - 20 * (start > 15240)) for start in starts))
    rng = np.random.default_rng(6)
    flux, error = rng.normal(1, 0.1, (3, N)), np.full((3, N), 0.02)
    flux[2, 100:] = error[2, 100:] = 0.0
    air = {"medium": "air", "rows": "one_star"}
    if bands:
        fits.PrimaryHDU(np.array([flux, flux, flux, error]), header).writeto(tmp_path / "star.fits")
        layout = make_layout(format="iraf", **air)
    else:
        fits.HDUList([fits.PrimaryHDU(flux, header), fits.ImageHDU(error)]).writeto(tmp_path / "star.fits")
        names = {"wavelength": "header", "flux": "0", "flux_error": "1"}
        layout = make_layout(format="fits", uncertainty="flux_error", **names, **air)
    (batch,) = read_spectra([tmp_path / "star.fits"], layout, NETWORKS)
    wavelength = np.concatenate([start + 0.2 * np.arange(N - 20 * (start > 15240)) for start in starts])
    order = np.argsort(wavelength, kind="stable")
    assert batch.wavelength == pytest.approx(air_to_vacuum(wavelength[order]), rel=1e-12)
    assert np.array_equal(batch.flux[0], np.concatenate([flux[0], flux[1], flux[2, :100]])[order])
    if not bands:
        return
    named = {"wavelength": "header", "flux": "0[0,1]", "flux_error": "0[3,1]"}
    layout = make_layout(format="fits", uncertainty="flux_error", medium="air", **named)
    (one,) = read_spectra([tmp_path / "star.fits"], layout, NETWORKS)
    assert one.wavelength == pytest.approx(air_to_vacuum(starts[1] + 0.2 * np.arange(N)), rel=1e-12)
    assert np.array_equal(one.flux, flux[1:2])


@pytest.mark.parametrize(
    ("specs", "layout", "says"),
    [
        (
            (spec(0, 15210, 0.2), spec(-1, 1, 1)),
            {},
            r"spec2 in WAT2_nnn \(row 1\) gives no wavelengths: its type is -1",
        ),
        ((spec(0, 15210, 0.2),), {}, "no spec2 in WAT2_nnn for row 1; expected one of each of its 2 rows"),
        ((spec(2, 1, 1, 1, 0, 5, 2, 1.0, 2.0), "1 2"), {}, "its function is of type 5; known are 1 to 4"),
        ((spec(2, 1, 1, 1, 0, 1, 4, 1, 9, 15200.0), "1 2"), {}, "1 coefficients where it says 4"),
        (("1 x 0 15210",), {}, r"spec1 in WAT2_nnn \(row 0\) gives no wavelengths: could not convert"),
        (("1 2",), {}, r"spec1 in WAT2_nnn \(row 0\) gives no wavelengths"),
        ((spec(0, 1521, 0.02),), {"units": "nm"}, "WAT1_001 units nm, .*expected wavelength_unit: nm"),
        (
            (spec(0, 15210, 0.2),),
            {"wavelength_unit": "log10_Angstrom"},
            "CTYPE1 MULTISPE, which says that wavelengths themselves are given",
        ),
    ],
)
def test_apertures_without_wavelengths_are_refused(tmp_path, specs, layout, says):
    header = header_of(*specs, units=layout.pop("units", "angstroms"))
    fits.PrimaryHDU(np.ones((2, N)), header).writeto(tmp_path / "a.fits")
    names = {"format": "fits", "uncertainty": "none", "wavelength": "header", "flux": "0"}
    with pytest.raises(SpectraError, match=f"a.fits: HDU 0.*{says}"):
        list(read_spectra([tmp_path / "a.fits"], make_layout(**names, **layout), NETWORKS))


def test_irafs_unit_of_an_even_axis_must_be_that_of_the_layout(tmp_path):
    header = fits.Header({"CTYPE1": "LINEAR", "CRVAL1": 1520.5, "CD1_1": 0.02, "CRPIX1": 1.0})
    header["WAT1_001"] = "wtype=linear label=Wavelength units=nanometers"
    fits.PrimaryHDU(np.ones(N), header).writeto(tmp_path / "a.fits")
    names = {"format": "fits", "uncertainty": "none", "wavelength": "header", "flux": "0"}
    with pytest.raises(SpectraError, match="WAT1_001 units nanometers, .*wavelength_unit: nm or log10_nm"):
        list(read_spectra([tmp_path / "a.fits"], make_layout(**names), NETWORKS))
    (batch,) = read_spectra([tmp_path / "a.fits"], make_layout(**names, wavelength_unit="nm"), NETWORKS)
    assert batch.wavelength == pytest.approx(15205 + 0.2 * np.arange(N), rel=1e-12)
