"""Wavelengths that follow from a FITS header: by the standard, and never against what the layout says."""

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from payneflow.errors import SpectraError, SpectraWarning
from payneflow.spectra import make_layout, read_spectra
from payneflow.wavelength import air_to_vacuum

N = 200
NETWORKS = 15300 * np.exp(1.4e-5 * np.arange(N))
LINEAR = {"CRVAL1": 15301.5, "CDELT1": 0.2, "CRPIX1": 1.0}
EVEN = 15301.5 + 0.2 * np.arange(N)


def save(path, table=False, primary=None, **keywords):
    """Flux and errors of one star as images, or as a table of one row a spectrum; keywords as in the header."""
    header = fits.Header([(key.replace("DC_FLAG", "DC-FLAG"), value) for key, value in keywords.items()])
    flux, error = np.ones(N), np.full(N, 0.01)
    if table:
        columns = [fits.Column(name, f"{N}D", array=array[None]) for name, array in (("flux", flux), ("err", error))]
        hdus = [fits.BinTableHDU.from_columns(columns, name="STAR")]
        hdus[0].header.update(header)
    else:
        hdus = [fits.ImageHDU(flux, header, name="STAR"), fits.ImageHDU(error, name="err")]
    first = fits.PrimaryHDU()
    first.header.update(primary or {})
    fits.HDUList([first, *hdus]).writeto(path)
    return path


def read(path, table=False, **layout):
    names = {"flux": "1:flux", "flux_error": "1:err"} if table else {"flux": "STAR", "flux_error": "err"}
    known = {"format": "fits", "uncertainty": "flux_error", "wavelength": "header", **names}
    (batch,) = read_spectra([path], make_layout(**{**known, **layout}), NETWORKS)
    return batch.wavelength


# --- By the standard --------------------------------------------------------------------------------------------------


def in_log(reference=15301.5, step=0.2):
    """WAVE-LOG: lambda_r exp(w / lambda_r), FITS Paper III, section 3.2."""
    return reference * np.exp(step * np.arange(N) / reference)


@pytest.mark.parametrize(
    ("keywords", "layout", "expected"),
    [
        (LINEAR, {}, EVEN),
        ({**LINEAR, "CRPIX1": 21.5}, {}, EVEN - 20.5 * 0.2),
        ({"CRVAL1": 15301.5, "CD1_1": 0.2, "CRPIX1": 1}, {}, EVEN),
        ({**LINEAR, "CDELT1": 1.0, "CD1_1": 0.2}, {}, EVEN),
        ({**LINEAR, "CDELT1": 0.1, "PC1_1": 2.0}, {}, EVEN),
        ({**LINEAR, "CTYPE1": "WAVE", "CUNIT1": "Angstrom"}, {}, EVEN),
        ({**LINEAR, "CTYPE1": "WAVE"}, {}, EVEN),
        ({**LINEAR, "CTYPE1": "LINEAR", "CUNIT1": "Angstroms", "DC_FLAG": 0}, {}, EVEN),
        ({**LINEAR, "CTYPE1": "LAMBDA", "CUNIT1": "ANGSTROM"}, {}, EVEN),
        ({**LINEAR, "CTYPE1": "AWAV", "CUNIT1": "Angstrom"}, {"medium": "air"}, air_to_vacuum(EVEN)),
        ({"CTYPE1": "WAVE", "CUNIT1": "nm", "CRVAL1": 1530.15, "CDELT1": 0.02, "CRPIX1": 1}, {"unit": "nm"}, EVEN),
        ({"CTYPE1": "WAVE", "CUNIT1": "um", "CRVAL1": 1.53015, "CDELT1": 2e-5, "CRPIX1": 1}, {"unit": "um"}, EVEN),
        ({"CTYPE1": "WAVE", "CUNIT1": "m", "CRVAL1": 1.53015e-6, "CDELT1": 2e-11, "CRPIX1": 1}, {"unit": "m"}, EVEN),
        ({"CUNIT1": "0.1 nm", **LINEAR}, {}, EVEN),
        ({"VACUUM": 1.3e-6, **LINEAR}, {"medium": "air"}, air_to_vacuum(EVEN)),  # a pressure
        ({**LINEAR, "CTYPE1": "WAVE-LOG", "CUNIT1": "Angstrom"}, {}, in_log()),
        ({**LINEAR, "CTYPE1": "WAVE-LOG"}, {}, in_log()),
        ({**LINEAR, "CTYPE1": "WAVE-LOG", "DC_FLAG": 1}, {}, in_log()),
        ({**LINEAR, "CTYPE1": "AWAV-LOG"}, {"medium": "air"}, air_to_vacuum(in_log())),
        (
            {"CTYPE1": "WAVE-LOG", "CUNIT1": "nm", "CRVAL1": 1530.15, "CDELT1": 0.02, "CRPIX1": 1},
            {"unit": "nm"},
            in_log(1530.15, 0.02) * 10,
        ),
        ({**LINEAR, "LTV1": -20.0, "LTM1_1": 1.0, "CRPIX1": -19.0}, {}, EVEN + 20 * 0.2),
        ({**LINEAR, "LTV1": 0.5, "LTM1_1": 0.5}, {}, EVEN),
        (
            {"CTYPE1": "LOG-LINEAR", "CRVAL1": 4.185, "CDELT1": 6e-6, "CRPIX1": 1, "DC_FLAG": 1, "CUNIT1": "Angstrom"},
            {"unit": "log10_Angstrom"},
            10 ** (4.185 + 6e-6 * np.arange(N)),
        ),
        (
            {"CTYPE1": "LINEAR", "CRVAL1": 4.185, "CDELT1": 6e-6, "CRPIX1": 1, "DC_FLAG": 1},
            {"unit": "log10_Angstrom"},
            10 ** (4.185 + 6e-6 * np.arange(N)),
        ),
    ],
)
def test_the_axis_is_that_of_the_standard(tmp_path, keywords, layout, expected):
    layout = {{"unit": "wavelength_unit"}.get(name, name): value for name, value in layout.items()}
    found = read(save(tmp_path / "a.fits", **keywords), **layout)
    inside = (expected > NETWORKS[0] * 0.996) & (expected < NETWORKS[-1] * 1.004)
    assert found == pytest.approx(expected[inside], rel=1e-12)


@pytest.mark.parametrize("algorithm", ["LOG", "F2W", "A2W"])
def test_other_samplings_are_those_of_wcslib(tmp_path, algorithm):
    keywords = {"CTYPE1": f"WAVE-{algorithm}", "CUNIT1": "nm", "CRVAL1": 1531.0, "CDELT1": 0.021, "CRPIX1": 7.5}
    expected = WCS(fits.Header({"NAXIS": 1, "NAXIS1": N, **keywords})).all_pix2world(np.arange(N), 0)[0] * 1e10
    found = read(save(tmp_path / "a.fits", **keywords), wavelength_unit="nm")
    assert found == pytest.approx(expected[: len(found)], rel=1e-12)


# a grism that has 300 grooves a mm, in first order, at 27 degrees
GRISM = {"PV1_0": 3e5, "PV1_1": 1.0, "PV1_2": 27.0, "PV1_3": 1.765, "PV1_4": -1.077e6, "PV1_5": 0.0, "PV1_6": 0.0}


@pytest.mark.parametrize("unit", ["nm", "Angstrom"])
def test_a_grism_disperses_by_its_equation(tmp_path, unit):
    """FITS Paper III, section 5: sin b = G m w - n sin a, and pixels are even in the tangent of b - b_r."""
    a_unit = {"nm": 1e-9, "Angstrom": 1e-10}[unit]
    reference, step = 1.5321e-6, 2.1e-11
    keywords = {
        "CTYPE1": "WAVE-GRI",
        "CUNIT1": unit,
        "CRVAL1": reference / a_unit,
        "CDELT1": step / a_unit,
        "CRPIX1": 90,
    }
    found = read(save(tmp_path / "a.fits", **keywords, **GRISM), wavelength_unit=unit)
    n_r, slope, alpha = GRISM["PV1_3"], GRISM["PV1_4"], np.deg2rad(GRISM["PV1_2"])

    def sine(wavelength):
        return GRISM["PV1_0"] * wavelength - (n_r + slope * (wavelength - reference)) * np.sin(alpha)

    def tangent(wavelength):
        return np.tan(np.arcsin(sine(wavelength)) - np.arcsin(sine(reference)))

    slope_at = (tangent(reference + 1e-12) - tangent(reference - 1e-12)) / 2e-12
    pixel = np.arange(N) - 89.0
    inside = np.arange(len(found))
    assert len(found) > 0.9 * N
    first = round((found[0] * 1e-10 - reference) / step) + 89
    assert tangent(found * 1e-10) == pytest.approx(slope_at * step * pixel[first + inside], rel=1e-6, abs=1e-12)


def save_tabular(path, indexed, unit="nm", **keywords):
    """Uneven wavelengths in the table of FITS Paper III, section 6, of pixels or of an index."""
    axis = 15302.0 + 0.2 * np.arange(N) + 1e-4 * np.arange(N) ** 2
    columns = [fits.Column("COORD", f"{N}D", dim=f"(1,{N})", array=(axis / 10).reshape(1, N, 1), unit=unit)]
    header = {"CTYPE1": "WAVE-TAB", "CRPIX1": 1.0, "CRVAL1": 1.0, "CDELT1": 1.0, "PS1_0": "TABLE", "PS1_1": "COORD"}
    if indexed:
        columns.append(fits.Column("INDEX", f"{N}D", array=(40.0 + 3.0 * np.arange(N))[None]))
        header |= {"PS1_2": "INDEX", "CRVAL1": 40.0, "CDELT1": 3.0}
    flux = fits.ImageHDU(np.ones(N), fits.Header({**header, **keywords}), name="STAR")
    table = fits.BinTableHDU.from_columns(columns, name="TABLE")
    fits.HDUList([fits.PrimaryHDU(), flux, fits.ImageHDU(np.full(N, 0.01), name="err"), table]).writeto(path)
    return axis


@pytest.mark.parametrize("indexed", [False, True])
def test_a_table_gives_wavelengths_in_its_own_unit(tmp_path, indexed):
    axis = save_tabular(tmp_path / "a.fits", indexed)
    assert read(tmp_path / "a.fits", wavelength_unit="nm") == pytest.approx(axis, rel=1e-13)
    says = (
        "HDU STAR has PS1_0 TABLE, whose TUNIT1 is nm, .*wavelength_unit: nm.*the layout has wavelength_unit: Angstrom"
    )
    with pytest.raises(SpectraError, match=says):
        read(tmp_path / "a.fits")


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"PS1_0": "NOWHERE"}, "keywords CRVAL1, .*PS1_0, PS1_1.* make no wavelength axis"),
        ({"PS1_1": "NOTHING"}, "make no wavelength axis"),
        ({"CRPIX1": 3.0}, "give pixel 0 no wavelength, the first of 2 of 200"),
    ],
)
def test_a_table_that_does_not_give_them_is_refused(tmp_path, keywords, says):
    save_tabular(tmp_path / "a.fits", indexed=False, **keywords)
    with pytest.raises(SpectraError, match=f"a.fits: HDU STAR: its .*{says}"):
        read(tmp_path / "a.fits", wavelength_unit="nm")


def test_even_wavelengths_are_the_same_to_the_bit(tmp_path):
    assert np.array_equal(read(save(tmp_path / "a.fits", **LINEAR)), EVEN)


def test_without_crpix_the_standard_says_0_and_the_user_is_told(tmp_path):
    path = save(tmp_path / "a.fits", CRVAL1=15301.5, CDELT1=0.2)
    with pytest.warns(SpectraWarning, match=r"a.fits: header: the header has no CRPIX1.* then 0.* write CRPIX1 = 1"):
        assert read(path) == pytest.approx(EVEN + 0.2, rel=1e-14)


def test_keywords_without_a_number_serve_a_table(tmp_path):
    """As Astra writes them for SDSS-V."""
    keywords = {"CRVAL": 4.185, "CDELT": 6e-6, "CRPIX": 1, "CTYPE": "LOG-LINEAR", "CUNIT": "Angstrom (Vacuum)"}
    path = save(tmp_path / "a.fits", table=True, **keywords)
    found = read(path, table=True, wavelength_unit="log10_Angstrom")
    assert np.array_equal(found, 10 ** (4.185 + 6e-6 * np.arange(N)))
    with pytest.raises(SpectraError, match=r"HDU 1 has CTYPE1 LOG-LINEAR, which says that the axis is log10"):
        read(path, table=True)
    air = {"wavelength_unit": "log10_Angstrom", "medium": "air"}
    with pytest.raises(SpectraError, match=r"CUNIT1 Angstrom \(Vacuum\), which says that wavelengths are in vacuum"):
        read(path, table=True, **air)


# --- What disagrees ---------------------------------------------------------------------------------------------------

LOG10 = {"wavelength_unit": "log10_Angstrom"}


@pytest.mark.parametrize(
    ("keywords", "layout", "says"),
    [
        ({"CTYPE1": "AWAV"}, {}, "CTYPE1 AWAV, .* in air; expected medium: air, and the layout has medium: vacuum"),
        ({"CTYPE1": "AWAV-LOG"}, {}, "CTYPE1 AWAV-LOG, .*expected medium: air"),
        (
            {"CTYPE1": "WAVE"},
            {"medium": "air"},
            "CTYPE1 WAVE, .*expected medium: vacuum, and the layout has medium: air",
        ),
        ({"AIRORVAC": "air"}, {}, "AIRORVAC air, .*Set medium to air, or correct the keyword"),
        ({"AIRORVAC": "VAC"}, {"medium": "air"}, "AIRORVAC VAC, .*Set medium to vacuum"),
        ({"VACUUM": False}, {}, "VACUUM F, .*Set medium to air"),
        ({"VACUUM": 1}, {"medium": "air"}, "VACUUM T, .*Set medium to vacuum"),
        ({"CTYPE1": "WAVE", "AIRORVAC": "air"}, {}, "AIRORVAC air"),
        ({"CTYPE1": "WAVE", "AIRORVAC": "air"}, {"medium": "air"}, "CTYPE1 WAVE"),
        ({"CUNIT1": "nm"}, {}, "CUNIT1 nm, .*expected wavelength_unit: nm or log10_nm, .*wavelength_unit: Angstrom"),
        ({"CUNIT1": "Angstrom"}, {"wavelength_unit": "nm"}, "CUNIT1 Angstrom, .*wavelength_unit: nm"),
        ({"CUNIT1": "um"}, LOG10, "CUNIT1 um"),
        ({"CUNIT1": "log10(Angstrom)"}, {}, "CUNIT1 log10.*expected wavelength_unit: log10_Angstrom"),
        ({"CUNIT1": "Hz"}, {}, "CUNIT1 Hz, which says that the unit is Hz; expected wavelengths"),
        ({"CUNIT1": "mm"}, {}, "CUNIT1 mm, which says that the unit is mm; expected wavelengths"),
        ({"CTYPE1": "FREQ"}, {}, "CTYPE1 FREQ, which says that these are no wavelengths"),
        ({"CTYPE1": "PIXEL"}, {}, "CTYPE1 PIXEL, which says that these are no wavelengths"),
        (
            {"CTYPE1": "WAVE"},
            LOG10,
            "CTYPE1 WAVE, .*not their log10; expected wavelength_unit: Angstrom or nm or um or m",
        ),
        ({"CTYPE1": "WAVE-LOG"}, LOG10, "CTYPE1 WAVE-LOG, .*not their log10"),
        ({"CTYPE1": "WAVE", "DC_FLAG": 1}, {}, "DC-FLAG 1, which says that the axis is log10"),
        ({"DC_FLAG": 0}, LOG10, "DC-FLAG 0, which says that the axis is linear"),
        ({"DC_FLAG": -1}, {}, "DC-FLAG -1, which says that the wavelengths are not calibrated"),
        ({"CTYPE1": "WAVE-GRI"}, {}, "CTYPE1 WAVE-GRI, a grism, and PV1_0 0; expected a number, not 0, of its grooves"),
        ({"CTYPE1": "AWAV-GRA", "PV1_0": 3e5}, {"medium": "air"}, "CTYPE1 AWAV-GRA, a grism, and PV1_1 0"),
        ({"CTYPE2": "WAVE", "CTYPE1": "LINEAR"}, {}, "CTYPE2 WAVE: its wavelengths run along axis 2; expected .* 1"),
        ({"VACUUM": "F"}, {}, "VACUUM F, .*in air"),
        ({"LTV1": -20.0}, {}, "LTV1 -20 and LTM1_1 1: it is a section .* it has CRPIX1 1.*the section, -19 if"),
        ({"LTM1_1": 0.5}, {}, "LTV1 0 and LTM1_1 0.5"),
        ({"CD1_2": 0.1}, {}, "CD1_2 0.1: its wavelengths change from row to row"),
        ({"CDELT1": 0.0}, {}, "CDELT1 0.0; expected a number, not 0"),
        ({"CRVAL1": "15301"}, {}, "CRVAL1 '15301'; expected a number"),
    ],
)
def test_a_header_that_disagrees_is_refused_by_both_names(tmp_path, keywords, layout, says):
    path = save(tmp_path / "a.fits", **{**LINEAR, **keywords})
    with pytest.raises(SpectraError, match=f"a.fits: HDU STAR has {says}"):
        read(path, **layout)


@pytest.mark.parametrize("keyword", [{"AIRORVAC": "air"}, {"VACUUM": "F"}])
def test_the_primary_header_speaks_for_the_file(tmp_path, keyword):
    path = save(tmp_path / "a.fits", primary=keyword, **LINEAR)
    with pytest.raises(SpectraError, match=r"a.fits: HDU 0 has .* wavelengths are in air"):
        read(path)
    assert read(path, medium="air") == pytest.approx(air_to_vacuum(EVEN), rel=1e-14)


NAMES = ("WAVE", "FLUX", "ERR")
COLUMN = {"wavelength": "STAR:WAVE", "flux": "STAR:FLUX", "flux_error": "STAR:ERR", "format": "fits"}


def save_table(path, wavelength=EVEN, rows=1, **keywords):
    columns = [wavelength, np.ones(N), np.full(N, 0.01)]
    made = [fits.Column(name, f"{N}D", array=np.tile(one, (rows, 1))) for name, one in zip(NAMES, columns, strict=True)]
    table = fits.BinTableHDU.from_columns(made, name="STAR")
    table.header.update(keywords)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("keywords", "layout", "says"),
    [
        ({"TUCD1": "em.wl;obs.atmos"}, {}, "TUCD1 em.wl;obs.atmos, .*in air; expected medium: air, .*medium: vacuum"),
        ({"TUCD1": "em.wl"}, {"medium": "air"}, "TUCD1 em.wl, .*in vacuum; expected medium: vacuum"),
        ({"TUNIT1": "nm"}, {}, "TUNIT1 nm, .*wavelength_unit: nm or log10_nm"),
        ({"TUNIT1": "log10(Angstrom)"}, {}, "TUNIT1 log10.*expected wavelength_unit: log10_Angstrom"),
        ({"TUNIT1": "GHz"}, {}, "TUNIT1 GHz"),
    ],
)
def test_a_column_that_says_otherwise_is_refused(tmp_path, keywords, layout, says):
    path = save_table(tmp_path / "a.fits", **keywords)
    with pytest.raises(SpectraError, match=f"a.fits: STAR:WAVE has {says}"):
        list(read_spectra([path], make_layout(uncertainty="flux_error", **COLUMN, **layout), NETWORKS))


@pytest.mark.parametrize(
    ("keywords", "layout", "expected"),
    [
        ({"TUCD1": "em.wl;obs.atmos", "TUNIT1": "Angstrom"}, {"medium": "air"}, air_to_vacuum(EVEN)),
        ({"TUCD1": "em.wl", "TUNIT1": "angstrom", "TUNIT2": "Jy"}, {}, EVEN),
        ({"TUCD2": "em.wl;obs.atmos", "TUNIT2": "nm"}, {}, EVEN),
    ],
)
def test_a_column_that_agrees_is_read(tmp_path, keywords, layout, expected):
    path = save_table(tmp_path / "a.fits", rows=2, **keywords)
    (batch,) = read_spectra([path], make_layout(uncertainty="flux_error", **COLUMN, **layout), NETWORKS)
    assert batch.flux.shape == (2, N) and batch.wavelength == pytest.approx(expected, rel=1e-14)


def test_the_keywords_of_pixels_say_nothing_of_wavelengths_in_an_hdu_of_their_own(tmp_path):
    """An image of wavelengths with the header of the flux copied to it, as LAMOST's rows have."""
    header = fits.Header({"CTYPE1": "LINEAR", "CRVAL1": 4.18, "CD1_1": 6e-6, "DC-FLAG": 1, "BUNIT": "Relative Flux"})
    rows = np.array([np.ones(N), np.full(N, 0.01), EVEN])
    fits.PrimaryHDU(rows, header).writeto(tmp_path / "a.fits")
    names = {"format": "fits", "flux": "0[0]", "flux_error": "0[1]", "wavelength": "0[2]"}
    (batch,) = read_spectra([tmp_path / "a.fits"], make_layout(uncertainty="flux_error", **names), NETWORKS)
    assert np.array_equal(batch.wavelength, EVEN)


# --- Other formats that say something ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ["unit", "units"])
@pytest.mark.parametrize("text", ["nm", b"nanometers"])
def test_an_attribute_of_hdf5_must_agree(tmp_path, attribute, text):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["wavelength"], file["flux"] = EVEN / 10, np.ones(N)
        file["wavelength"].attrs[attribute] = text
    layout = {"format": "hdf5", "uncertainty": "none"}
    with pytest.raises(SpectraError, match=rf"a.h5: wavelength has the attribute {attribute} n.*wavelength_unit: nm"):
        list(read_spectra([tmp_path / "a.h5"], make_layout(**layout), NETWORKS))
    (batch,) = read_spectra([tmp_path / "a.h5"], make_layout(**layout, wavelength_unit="nm"), NETWORKS)
    assert batch.wavelength == pytest.approx(EVEN, rel=1e-14)


def test_the_header_that_specutils_has_read_must_agree(tmp_path):
    """specutils itself takes wavelengths in air and in vacuum for the same."""
    header = fits.Header({**LINEAR, "CTYPE1": "AWAV", "CUNIT1": "Angstrom", "BUNIT": "Jy"})
    fits.PrimaryHDU(np.ones(N), header).writeto(tmp_path / "a.fits")
    layout = {"format": "specutils", "loader": "wcs1d-fits", "uncertainty": "none"}
    with pytest.raises(SpectraError, match=r"a.fits: its header has CTYPE1 AWAV, .*expected medium: air"):
        list(read_spectra([tmp_path / "a.fits"], make_layout(**layout), NETWORKS))
    (batch,) = read_spectra([tmp_path / "a.fits"], make_layout(**layout, medium="air"), NETWORKS)
    assert batch.wavelength == pytest.approx(air_to_vacuum(EVEN), rel=1e-9)
