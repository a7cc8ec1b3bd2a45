"""Files by name, by pattern, by list and at home; names of spectra that no two share; letters beyond ASCII."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from known_networks import random_networks

from payneflow.errors import PayneflowError, SpectraError, SpectraWarning
from payneflow.files import write_list
from payneflow.fitting import FitSettings, read_results, write_results
from payneflow.fitting.gather import gather_fits
from payneflow.fitting.many import fit_batches
from payneflow.fitting.run_meta import refuse_if_unreadable
from payneflow.spectra import find_files, find_shard, make_layout, plan_shards, read_spectra
from payneflow.spectra.names import names_of_files

N_PIXEL = 60
LAYOUT = make_layout(uncertainty="flux_error")


@pytest.fixture(scope="module")
def networks():
    return random_networks(N_PIXEL)


def save(path, networks, n=1, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    flux = networks.predict(np.tile([5200.0, 3.0, -0.4], (n, 1)))
    with open(path, "wb") as stream:
        np.savez(stream, wavelength=networks.wavelength, flux=flux, flux_error=np.full(flux.shape, 0.01), **more)
    return path


# --- Finding them -----------------------------------------------------------------------------------------------------


def test_a_list_file_names_files_and_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.npz", "a.npz", "c {x}.npz", "é.fits"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text("b.npz\n\nc {x}.npz\n*.fits\n", encoding="utf-8")
    for patterns in ("@list.txt", ["@list.txt"], [f"@{tmp_path}/list.txt"]):
        assert [path.name for path in find_files(patterns)] == ["b.npz", "c {x}.npz", "é.fits"]
    assert [path.name for path in find_files(["a.npz", "@list.txt"])] == ["a.npz", "b.npz", "c {x}.npz", "é.fits"]
    with pytest.raises(SpectraError, match=r"b.npz: given twice"):
        find_files(["@list.txt", "b.npz"])
    with pytest.raises(PayneflowError, match=r"none.txt: No such file or directory; expected a list file"):
        find_files("@none.txt")
    (tmp_path / "@odd.npz").touch()
    assert find_files("@odd.npz")[0].name == "@odd.npz", "a file of that name is what is meant"


def test_twenty_thousand_files_of_a_list_are_planned_without_opening_one(tmp_path):
    paths = [tmp_path / f"night {i % 7}" / f"star{i:05d}.txt" for i in range(20_000)]
    write_list(tmp_path / "list.txt", paths)
    found = find_files(f"@{tmp_path}/list.txt")
    assert found == paths
    shards = plan_shards(found, make_layout(format="text", uncertainty="none"), 6000)
    assert [len(shard.spectra) for shard in shards] == [6000, 6000, 6000, 2000]
    assert shards[3].names[-1] == "star19999" and shards[3].paths[-1] == paths[-1]


def test_the_home_directory_goes_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "spectra").mkdir()
    for name in ("a.npz", "b.npz"):
        (tmp_path / "spectra" / name).touch()
    (tmp_path / "list").write_text("~/spectra/b.npz\n")
    assert find_files("~/spectra/*.npz") == [tmp_path / "spectra/a.npz", tmp_path / "spectra/b.npz"]
    assert find_files(["~/spectra/a.npz"]) == [tmp_path / "spectra/a.npz"]
    assert find_files("@~/list") == [tmp_path / "spectra/b.npz"]
    assert find_files("~nobody-of-this-name/a.npz")[0].name == "a.npz"


# --- Their names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.npz", "b/y.npz"], ["x", "y"]),
        (["a/x.npz", "b/x.npz", "b/y.npz"], ["a/x", "b/x", "y"]),
        (["n1/a/x.npz", "n2/a/x.npz", "n2/b/x.npz"], ["n1/a/x", "n2/a/x", "n2/b/x"]),
        (["x.npz", "a/x.npz"], ["x", "a/x"]),
        (["/x.npz", "/a/x.npz"], ["/x", "a/x"]),
        (["a/x.npz", "a/x.fits"], ["x.npz", "x.fits"]),
        (["a/x.npz", "b/x.npz", "b/x.fits"], ["a/x.npz", "b/x.npz", "b/x.fits"]),
        (["a/x.npz", "a/x.fits", "b/x.npz.gz"], ["a/x.npz", "x.fits", "b/x.npz.gz"]),
        (["a", "..a", "a/..a"], ["a", ".", "a/."]),
    ],
)
def test_files_of_one_stem_are_told_apart(tmp_path, paths, names):
    assert names_of_files([Path(path) for path in paths]) == names


@settings(max_examples=100)
@given(st.lists(st.text("ab/.", min_size=1, max_size=7).filter(lambda text: text.strip("/.")), unique=True, max_size=8))
def test_no_two_files_have_one_name(texts):
    paths = list(dict.fromkeys(Path(text) for text in texts))
    names = names_of_files(paths)
    assert len(set(names)) == len(names) == len(paths)


def test_names_are_the_same_in_every_shard(tmp_path, networks):
    paths = [save(tmp_path / night / "star.npz", networks, 2) for night in ("one", "two", "three")]
    paths.append(save(tmp_path / "other.npz", networks))
    whole = [name for batch in read_spectra(paths, LAYOUT, networks.wavelength) for name in batch.identifier]
    assert whole == ["one/star:0", "one/star:1", "two/star:0", "two/star:1", "three/star:0", "three/star:1", "other"]
    apart = []
    for first in range(0, 7, 2):
        shard = find_shard(paths, LAYOUT, range(first, first + 2))
        options = {"selection": shard.spectra, "names": shard.names, "flag_bad_files": True}
        batches = read_spectra(shard.paths, LAYOUT, networks.wavelength, **options)
        apart += [name for batch in batches for name in batch.identifier]
    assert apart == whole


def test_all_files_that_cannot_be_read_are_counted_though_they_share_a_name(tmp_path, networks):
    paths = [tmp_path / night / "star.npz" for night in ("one", "two", "three")]
    with pytest.warns(SpectraWarning, match="no such file"):
        batches = list(read_spectra(paths, LAYOUT, networks.wavelength, names=["star"] * 3))
    tables = [fit_batches(networks, [batch], settings=FitSettings()) for batch in batches]
    table = tables[0]
    assert list(table.meta["unreadable"]) == ["star", "star (2)", "star (3)"]
    with pytest.raises(SpectraError, match="none of 3 spectra could be read; the first: .*one/star.npz: no such file"):
        refuse_if_unreadable(table)
    for number in (1, 2):
        write_results(table, tmp_path / f"fits{number}")
    together = gather_fits([tmp_path / "fits1.ecsv", tmp_path / "fits2.ecsv"])
    assert len(together.meta["unreadable"]) == len(together) == 6


# --- Letters ----------------------------------------------------------------------------------------------------------


def test_letters_beyond_ascii_come_back_from_both_tables(tmp_path, networks):
    names = np.array(["étoile", "Сириус", "星 {1}", "plain"])
    path = save(tmp_path / "nuit é {x}" / "star 星.npz", networks, 4, identifier=names)
    table = fit_batches(networks, read_spectra([path], LAYOUT, networks.wavelength), FitSettings())
    write_results(table, tmp_path / "fits")
    for stored in (read_results(tmp_path / "fits.ecsv"), Table.read(tmp_path / "fits.fits")):
        assert [str(name) for name in stored["identifier"]] == names.tolist()
        assert {str(name) for name in stored["path"]} == {str(path)}
    with fits.open(tmp_path / "fits.fits") as file:
        assert [name.decode("utf-8") for name in np.asarray(file[1].data["identifier"])] == names.tolist()


def test_a_path_that_is_no_utf8_is_written_with_escapes(tmp_path, networks):
    path = tmp_path / os.fsdecode(b"st\xe9rn.npz")
    save(path, networks)
    shard = find_shard([path], LAYOUT, None)
    assert len(shard.digest) == 12
    table = fit_batches(networks, read_spectra(shard.paths, LAYOUT, networks.wavelength), FitSettings())
    write_results(table, tmp_path / "fits")
    for stored in (read_results(tmp_path / "fits.ecsv"), Table.read(tmp_path / "fits.fits")):
        assert str(stored["identifier"][0]) == r"st\udce9rn"


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "étoile 星"), ("latin-1", "étoile")])
def test_names_in_columns_of_observed_spectra_may_be_of_any_letters(tmp_path, networks, encoding, name):
    n = 2
    text = np.array([name.encode(encoding), b"plain"])
    columns = [
        fits.Column("wavelength", f"{N_PIXEL}D", array=np.tile(networks.wavelength, (n, 1))),
        fits.Column("flux", f"{N_PIXEL}D", array=np.ones((n, N_PIXEL))),
        fits.Column("name", f"{text.dtype.itemsize}A", array=np.array([b"x" * text.dtype.itemsize, b"plain"])),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content.replace(b"x" * text.dtype.itemsize, text[0]))
    names = {"wavelength": "1:wavelength", "flux": "1:flux", "identifier": "1:name"}
    layout = make_layout(format="fits", uncertainty="none", **names)
    (batch,) = read_spectra([tmp_path / "a.fits"], layout, networks.wavelength)
    assert batch.identifier.tolist() == [name, "plain"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_keyword_may_hold_any_letters(tmp_path, networks, encoding):
    """FITS has no such letters, and still there are files with them."""
    name = "é Cas?".encode(encoding)
    columns = [
        fits.Column(key, "D", array=array) for key, array in (("w", networks.wavelength), ("y", np.ones(N_PIXEL)))
    ]
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)])
    hdus[0].header["OBJECT"] = "x" * len(name)
    hdus.writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content.replace(b"x" * len(name), name))
    layout = make_layout(format="fits", uncertainty="none", wavelength="1:w", flux="1:y", identifier="0:OBJECT")
    (batch,) = read_spectra([tmp_path / "a.fits"], layout, networks.wavelength)
    assert batch.identifier == ["é Cas?"]
