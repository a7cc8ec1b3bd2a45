"""mwmStar and mwmVisit of SDSS-V: the HDU that holds the spectra, whichever it is, and which pixels are bad."""

import numpy as np
import pytest
from astropy.io import fits

from payneflow.errors import SpectraError, SpectraWarning
from payneflow.spectra import count_spectra, make_layout, read_spectra

N = 90
NETWORKS = 10 ** (4.18 + 6e-6 * np.arange(N))
OPTICAL = 10 ** (3.6 + 1e-4 * np.arange(N))
NAMES = ("BOSS/APO", "BOSS/LCO", "APOGEE/APO", "APOGEE/LCO")


def table(name, rows, with_wavelength=False):
    """One HDU; BOSS and APOGEE differ in their axes. Pixel 4 has bit 1 set, pixel 7 bit 13."""
    header = fits.Header({"CRVAL": 4.18 if "APOGEE" in name else 3.6, "CDELT": 6e-6 if "APOGEE" in name else 1e-4})
    header.update({"CRPIX": 1, "CTYPE": "LOG-LINEAR", "CUNIT": "Angstrom (Vacuum)", "DC-FLAG": 1, "NPIXELS": N})
    flux = np.random.default_rng(len(name)).normal(1, 0.1, (rows, N))
    flags = np.zeros((rows, N), dtype=np.int64)
    flags[:, 4], flags[:, 7] = 1 << 1, 1 << 13
    columns = [
        fits.Column("sdss_id", "K", array=np.full(rows, 54)),
        fits.Column("flux", f"{N}E", array=flux),
        fits.Column("ivar", f"{N}E", array=np.full((rows, N), 1e4)),
        fits.Column("pixel_flags", f"{N}K", array=flags),
    ]
    if with_wavelength:
        columns.append(fits.Column("wavelength", f"{N}D", array=np.tile(NETWORKS, (rows, 1))))
        header = fits.Header()
    return fits.BinTableHDU.from_columns(columns, header, name=name)


def save(path, rows, **options):
    fits.HDUList([fits.PrimaryHDU(), *(table(*pair, **options) for pair in zip(NAMES, rows, strict=True))]).writeto(
        path
    )
    return path


def read(path, networks=NETWORKS, format="mwmStar", **layout):
    layout = make_layout(format=format, **layout)
    (batch,) = read_spectra([path], layout, networks)
    assert len(batch) == count_spectra(path, layout)
    return batch


@pytest.mark.parametrize(
    ("rows", "hdu", "found"),
    [
        ((0, 0, 1, 0), "", 3),
        ((0, 0, 0, 1), "", 4),
        ((1, 1, 1, 1), "3", 3),
        ((1, 1, 1, 1), "APOGEE/LCO", 4),
        ((1, 0, 0, 1), "apogee", 4),
        ((1, 0, 3, 0), "APOGEE", 3),
    ],
)
@pytest.mark.parametrize("with_wavelength", [False, True])
def test_the_hdu_of_apogee_is_found_or_named(tmp_path, rows, hdu, found, with_wavelength):
    path = save(tmp_path / "mwm.fits", rows, with_wavelength=with_wavelength)
    batch = read(path, hdu=hdu)
    n = rows[found - 1]
    assert batch.on_networks_axis and batch.identifier.tolist() == ["54"] * n
    assert np.array_equal(batch.flux, fits.getdata(path, found)["flux"])
    assert np.flatnonzero(np.isinf(batch.flux_error[0])).tolist() == [4], "bit 13 of APOGEE is a remark"
    assert batch.flux_error[0, 0] == pytest.approx(0.01)


def test_all_visits_are_read(tmp_path):
    assert len(read(save(tmp_path / "mwm.fits", (0, 0, 5, 0)), format="mwmVisit")) == 5


def test_boss_is_read_with_every_flag_and_any_bits_may_be_named(tmp_path):
    path = save(tmp_path / "mwm.fits", (1, 0, 0, 0))
    batch = read(path, OPTICAL)
    assert batch.on_networks_axis and np.flatnonzero(np.isinf(batch.flux_error[0])).tolist() == [4, 7]
    assert np.flatnonzero(np.isinf(read(path, OPTICAL, mask_bits=(13,)).flux_error[0])).tolist() == [7]


@pytest.mark.parametrize(
    ("rows", "hdu", "says"),
    [
        (
            (1, 0, 1, 0),
            "",
            r"spectra in 2 HDUs; expected one. Say which as hdu, such as hdu: APOGEE/APO. .*1 \(BOSS/APO, 1",
        ),
        ((0, 0, 1, 1), "APOGEE", r"spectra in 2 HDUs named APOGEE; expected one"),
        ((0, 0, 0, 0), "", r"no spectrum in any HDU; expected one at least"),
        (
            (0, 0, 1, 0),
            "BOSS",
            r"no spectrum in HDU BOSS; expected one at least. The file has the HDUs 1 \(BOSS/APO, 0",
        ),
        ((0, 0, 1, 0), "9", r"no HDU '9', as the setting hdu has it; expected its number, its name"),
        ((1, 0, 0, 0), "", r"header covers 3981.*nothing of the networks'"),
    ],
)
def test_which_hdu_is_never_guessed(tmp_path, rows, hdu, says):
    with pytest.raises(SpectraError, match=f"mwm.fits: {says}"):
        read(save(tmp_path / "mwm.fits", rows), hdu=hdu)


def test_one_file_without_spectra_among_many_is_recorded(tmp_path):
    paths = [save(tmp_path / f"{number}.fits", (0, 0, number % 2, 0)) for number in range(4)]
    with pytest.warns(SpectraWarning, match="no spectrum in any HDU"):
        batches = list(read_spectra(paths, make_layout(format="mwmStar"), NETWORKS))
    assert [problem != "" for batch in batches for problem in batch.problem] == [True, False, True, False]


def test_config_yaml_may_keep_its_uncertainty(tmp_path):
    """There it is flux_error by default, and the file knows better."""
    assert make_layout(format="mwmStar", uncertainty="flux_error").uncertainty == "ivar"


def test_specutils_takes_the_hdu(tmp_path, monkeypatch):
    import specutils
    from astropy import units

    made = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
    asked = []

    def reading(*_, **options):
        asked.append(options)
        flux = np.ones((2, N)) if options["hdu"] == "two" else np.ones(N)
        return made(flux=flux * units.one, spectral_axis=NETWORKS * units.AA)

    monkeypatch.setattr(made, "read", reading)
    (tmp_path / "a.fits").touch()
    for hdu in ("3", "APOGEE/APO"):
        read(tmp_path / "a.fits", format="specutils", uncertainty="none", hdu=hdu)
    assert asked == [{"hdu": 3}, {"hdu": "APOGEE/APO"}]
    with pytest.raises(SpectraError, match=r"specutils gives flux of shape \(2, 90\); expected one spectrum a file"):
        read(tmp_path / "a.fits", format="specutils", uncertainty="none", hdu="two")
