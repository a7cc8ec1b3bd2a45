"""Many observed spectra to one table: in batches, in shards, from damaged files, always the same bits."""

import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from known_networks import random_networks

from payneflow import cli
from payneflow.errors import SettingsError, SpectraError, SpectraWarning
from payneflow.fitting import (
    FitFlag,
    FitSettings,
    fit_spectra,
    fits_column_names,
    read_results,
    results_text,
    write_results,
)
from payneflow.fitting.gather import gather_fits
from payneflow.fitting.many import fit_batches
from payneflow.fitting.run_meta import refuse_if_unreadable
from payneflow.spectra import count_spectra, find_files, find_shard, make_layout, plan_shards, read_spectra
from payneflow.spectra.shards import parse_selection

N_PIXEL, N_SPECTRUM = 60, 1000
LAYOUT = make_layout(uncertainty="flux_error")


@pytest.fixture(scope="module")
def networks():
    return random_networks(N_PIXEL)


@pytest.fixture(scope="module")
def stars(networks):
    """A thousand noisy spectra of stars within the training range, with errors of their own."""
    rng = np.random.default_rng(1)
    labels = rng.uniform([4500, 2, -1.5], [6000, 4, 0], (N_SPECTRUM, 3))
    error = rng.uniform(0.003, 0.01, (N_SPECTRUM, N_PIXEL))
    flux = networks.predict(labels) + rng.normal(size=error.shape) * error
    identifier = np.array([f"star {i}" for i in range(N_SPECTRUM)])
    return {"wavelength": networks.wavelength, "flux": flux, "flux_error": error, "identifier": identifier}


@pytest.fixture(scope="module")
def alone(networks, stars):
    """The fits of all of them in one call, from arrays."""
    return fit_spectra(networks, stars["flux"], stars["flux_error"], identifier=stars["identifier"])


def save(path, stars, rows=slice(None)):
    np.savez(path, **{key: array if key == "wavelength" else array[rows] for key, array in stars.items()})
    return path


def fit_files(networks, paths, settings=FitSettings(), spectra=None, **reading):  # noqa: B008 - frozen
    return fit_batches(networks, read_spectra(paths, LAYOUT, networks.wavelength, **reading), settings, spectra=spectra)


def assert_same_bits(table, other, rows=slice(None), other_rows=slice(None)):
    """Every column that both tables have is the same to the bit."""
    shared = [name for name in table.colnames if name in other.colnames]
    assert {"Teff", "covariance", "chi2", "flags", "identifier"} <= set(shared)
    for name in shared:
        one, two = np.asarray(table[name])[rows], np.asarray(other[name])[other_rows]
        if one.dtype.kind == "U":  # as wide as the longest text of its table
            one, two = one.astype("U99"), two.astype("U99")
        assert one.tobytes() == two.tobytes(), name


@pytest.mark.parametrize(("batch_size", "processes"), [(3, 1), (500, 3), (1000, 2)])
def test_streaming_is_the_same_as_all_at_once_to_the_bit(tmp_path, networks, stars, alone, batch_size, processes):
    path = save(tmp_path / "stars.npz", stars)
    batches = read_spectra([path], LAYOUT, networks.wavelength, batch_size=batch_size)
    table = fit_batches(networks, batches, FitSettings(), processes=processes)
    assert_same_bits(table, alone)
    assert (table["path"] == str(path)).all() and table.meta["unreadable"] == {}
    assert table.meta["left_out"] == dict.fromkeys(table.meta["left_out"], 0)
    assert {name: table.meta[name] for name in alone.meta} == alone.meta


def test_one_bad_spectrum_in_a_thousand_disturbs_no_other(tmp_path, networks, stars, alone):
    """Each way of being bad in its place; the 999 others, and what is left of the half bad ones, are as they were."""
    others = np.arange(N_SPECTRUM) != 500
    for number, (key, value) in enumerate(
        [("flux", np.nan), ("flux", np.inf), ("flux", 0.0), ("flux", 1e300), ("flux_error", 0.0), ("flux_error", -1.0)]
    ):
        bad = {name: array.copy() for name, array in stars.items()}
        bad[key][500] = value
        table = fit_files(networks, [save(tmp_path / f"{number}.npz", bad)])
        assert_same_bits(table, alone, others, others)
        flag = FitFlag(int(table["flags"][500]))
        assert flag == FitFlag.FAILED or (value == 1e300 and flag), f"{key} {value}: {flag!r}"
        assert (table["identifier"] == stars["identifier"]).all()


def test_a_bad_file_among_many_is_a_failed_row_that_names_it(tmp_path, networks, stars, alone):
    paths = [save(tmp_path / f"{i}.npz", stars, slice(100 * i, 100 * i + 100)) for i in range(10)]
    paths[3].write_bytes(paths[3].read_bytes()[:5000])
    with pytest.warns(SpectraWarning, match=r"3.npz: not an npz file, or a truncated one.*Recorded as failed"):
        table = fit_files(networks, paths)
    assert len(table) == 901 and table["identifier"][300] == "3" and table["path"][300] == str(paths[3])
    assert table["flags"][300] == FitFlag.FAILED and np.isnan(table["Teff"][300])
    assert table.meta["unreadable"].keys() == {"3"} and "truncated" in table.meta["unreadable"]["3"]
    assert_same_bits(table, alone, slice(0, 300), slice(0, 300))
    assert_same_bits(table, alone, slice(301, None), slice(400, None))
    refuse_if_unreadable(table)


def test_where_no_file_can_be_read_that_is_an_error(tmp_path, networks):
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    with pytest.warns(SpectraWarning):
        table = fit_files(networks, paths)
    with pytest.raises(SpectraError, match=r"none of 3 spectra could be read; the first: .*0.npz: no such file"):
        refuse_if_unreadable(table)
    with pytest.raises(SpectraError, match="no spectrum to fit"):
        fit_files(networks, paths, selection=range(5, 9))


def test_flux_that_is_not_normalised_gives_a_warning_where_no_continuum_is_fitted(tmp_path, networks, stars):
    counts = {**stars, "flux": stars["flux"][:3] * 500, "flux_error": stars["flux_error"][:3] * 500}
    path = save(tmp_path / "counts.npz", {**counts, "identifier": stars["identifier"][:3]})
    with pytest.warns(
        SpectraWarning, match=r"counts.npz: the median flux is 2\d\d, that of the networks 0\.\d+; expected normalised"
    ):
        fit_files(networks, [path])


# --- Shards -----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), shard_size=st.integers(1, 20))
def test_shards_hold_every_spectrum_once_and_in_order(tmp_path_factory, lengths, shard_size):
    directory = tmp_path_factory.mktemp("shards")
    axis, first, paths = np.linspace(15000, 15010, 5), 0, []
    for number, n in enumerate(lengths):
        paths.append(directory / f"{number}.npz")
        names = np.arange(first, first + n)
        np.savez(paths[-1], wavelength=axis, flux=np.ones((n, 5)), flux_error=np.full(5, 0.1), identifier=names)
        first += n
    shards = plan_shards(paths, LAYOUT, shard_size)
    assert [len(shard.spectra) for shard in shards[:-1]] == [shard_size] * (len(shards) - 1)
    names = [shard.name for shard in shards]
    assert len(set(names)) == len(names) and sorted(names) == names
    found = []
    for shard in shards:
        batches = list(read_spectra(shard.paths, LAYOUT, axis, selection=shard.spectra))
        numbers = [int(name) for batch in batches for name in batch.identifier]
        assert shard.name == f"spectra{numbers[0]:06d}-{numbers[-1]:06d}"
        assert find_shard(paths, LAYOUT, shard.selection) == shard
        assert {path for batch in batches for path in batch.path} == set(map(str, shard.paths)), "no file in vain"
        found += numbers
    assert found == list(range(sum(lengths)))


def test_shards_fitted_apart_and_gathered_are_the_same_as_all_at_once(tmp_path, networks, stars, alone):
    paths = [save(tmp_path / f"{i}.npz", stars, slice(350 * i, 350 * i + 350)) for i in range(3)]
    shards = plan_shards(paths, LAYOUT, 230)
    assert [len(shard.paths) for shard in shards] == [1, 2, 1, 2, 1]
    for shard in shards:
        write_results(fit_files(networks, shard.paths, selection=shard.spectra), tmp_path / shard.name)
    table = gather_fits([tmp_path / f"{shard.name}.ecsv" for shard in shards])
    assert_same_bits(table, alone)
    assert table.meta["label_names"] == ["Teff", "logg", "[Fe/H]"] and table.meta["mode"] == alone.meta["mode"]


def test_shards_of_other_runs_are_not_gathered(tmp_path, networks, stars):
    path = save(tmp_path / "stars.npz", stars, slice(0, 5))
    write_results(fit_files(networks, [path]), tmp_path / "a")
    write_results(fit_files(networks, [path], FitSettings(fixed={"logg": 3.0})), tmp_path / "b")
    with pytest.raises(
        SpectraError, match=r"b.ecsv: its (mode|settings) is .*but that of .*a.ecsv is .*shards of one run"
    ):
        gather_fits([tmp_path / "a.ecsv", tmp_path / "b.ecsv"])
    write_results(fit_files(replace(networks, b_array_1=networks.b_array_1 + 1e-6), [path]), tmp_path / "n")
    with pytest.raises(SpectraError, match=r"n.ecsv: its networks is '\w{64}', but that of .*a.ecsv is '\w{64}'"):
        gather_fits([tmp_path / "a.ecsv", tmp_path / "n.ecsv"])
    other = Table.read(tmp_path / "a.ecsv")
    other.remove_column("SNR")
    other.write(tmp_path / "c.ecsv")
    with pytest.raises(SpectraError, match=r"c.ecsv: has not the columns of .*a.ecsv: SNR"):
        gather_fits([tmp_path / "a.ecsv", tmp_path / "c.ecsv"])


def test_each_spectrum_is_gathered_once(tmp_path, networks, stars):
    """A shard that is given twice or missing, and one that has lost a row, are named."""
    path = save(tmp_path / "stars.npz", stars, slice(0, 30))
    names = {part: tmp_path / f"part{part.start}" for part in (range(10), range(10, 20), range(20, 30))}
    for part, name in names.items():
        write_results(fit_files(networks, [path], spectra=part, selection=part), name)
    a, b, c = (tmp_path / f"{name.name}.ecsv" for name in names.values())
    whole = gather_fits([a, c, b])
    assert (whole.meta["spectra"], whole.meta["n_row"]) == ([[0, 30]], 30)
    (tmp_path / "copy.ecsv").write_bytes(b.read_bytes())
    fewer = Table.read(b)
    fewer[:9].write(tmp_path / "fewer.ecsv")
    for parts, says in [
        ([a, b, c, a], "part0.ecsv: given twice"),
        ([a, b, c, tmp_path / "copy.ecsv"], r"part10.ecsv: spectra 10:20 are also in .*copy.ecsv"),
        ([a, c], r"spectra 10:20 are in none of the 2 tables given: a shard is missing before .*part20.ecsv"),
        ([b, c], "spectra 0:10 are in none"),
        ([a, tmp_path / "fewer.ecsv", c], "fewer.ecsv: 9 rows, but it was made with 10"),
    ]:
        with pytest.raises(SpectraError, match=says):
            gather_fits(parts)


def test_a_last_shard_that_is_missing_is_missed(tmp_path, networks, stars, capsys):
    """Each shard says how many spectra there are, those of files behind it among them."""
    paths = [save(tmp_path / f"{i}.npz", stars, slice(4 * i, 4 * i + 4)) for i in range(3)]
    networks.write(tmp_path / "n.npz")
    parts = [f"{first}:{first + 4}" for first in range(0, 12, 4)]
    for part, files in [*zip(parts, [paths] * 3, strict=True), ("0:8", paths[:2])]:
        output = ["--uncertainty", "flux_error", "--spectra", part, "--output", str(tmp_path / part)]
        assert cli.main(["fit", str(tmp_path / "n.npz"), *map(str, files), *output]) == 0
    a, b, c, short = (tmp_path / f"{part}.ecsv" for part in (*parts, "0:8"))
    assert read_results(a).meta["n_all"] == gather_fits([b, c, a]).meta["n_all"] == 12
    gather_fits([short])
    capsys.readouterr()
    assert cli.main(["gather_fits", str(a), str(b), "--output", str(tmp_path / "fits")]) == 2
    said = "the 2 tables given hold spectra 0:8, the last of them in .*4:8.ecsv; expected those of all 12 .*Fit 8:12"
    assert re.search(said, capsys.readouterr().err)
    with pytest.raises(SpectraError, match=r"4:8.ecsv: its n_all is 12, but that of .*0:8.ecsv is 8"):
        gather_fits([short, b])


def test_a_table_names_grid_networks_and_label_errors(tmp_path, networks, stars):
    path = save(tmp_path / "stars.npz", stars, slice(0, 3))
    ours = fit_files(replace(networks, provenance={"grid_sha256": "a" * 64}), [path]).meta
    assert (ours["grid"], ours["networks"], ours["label_errors"]) == ("a" * 64, networks.digest, "none")
    assert fit_files(networks, [path]).meta["grid"] == "unknown"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("", "not a readable ECSV table"),
        ("a b\n1 2\n", "not a readable"),
        ("\0\1\2", "readable"),
    ],
)
def test_what_is_no_table_of_fits_is_refused(tmp_path, content, says):
    path = tmp_path / "x.ecsv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpectraError, match=says) as refused:
        read_results(path)
    assert str(refused.value).startswith(f"{path}: ") and "as `payneflow fit` writes them" in str(refused.value)


def test_another_table_is_no_table_of_fits(tmp_path):
    Table({"a": [1]}).write(tmp_path / "x.ecsv")
    with pytest.raises(SpectraError, match=r"x.ecsv: no entry in meta label_names, flags, mode; fits"):
        read_results(tmp_path / "x.ecsv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:3", range(3)),
        ("7:1000", range(7, 1000)),
        ("3:3", None),
        ("4:2", None),
        (":5", None),
        ("5", None),
        ("a:b", None),
    ],
)
def test_a_selection_is_start_and_stop(text, expected):
    if expected is None:
        with pytest.raises(SettingsError, match=rf"spectra is '{text}', expected \"start:stop\""):
            parse_selection(text)
    else:
        assert parse_selection(text) == expected


def test_files_are_found_by_patterns_in_order_and_each_once(tmp_path):
    for name in ("b.npz", "a.npz", "c d.npz", "x[1].npz"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files([f"{tmp_path}/*.npz"])] == ["a.npz", "b.npz", "c d.npz", "x[1].npz"]
    assert find_files([f"{tmp_path}/x[1].npz", "nowhere.npz"])[1].name == "nowhere.npz", "reading will say it"
    with pytest.raises(SpectraError, match=r"\*.fits: no file fits this pattern"):
        find_files([f"{tmp_path}/*.fits"])
    with pytest.raises(SpectraError, match=r"b.npz: given twice"):
        find_files([f"{tmp_path}/*.npz", f"{tmp_path}/b.npz"])


def test_a_shard_says_where_it_lies_and_knows_another_one_by_its_digest(tmp_path, stars):
    paths = [save(tmp_path / f"{i} of 3.npz", stars, slice(10 * i, 10 * i + 10)) for i in range(3)]
    second = plan_shards(paths, LAYOUT, 15)[1]
    assert (second.name, second.selection) == ("spectra000015-000029", range(15, 30))
    assert (second.paths, second.spectra) == ((paths[1], paths[2]), range(5, 20))
    others = [find_shard(paths, LAYOUT, range(15, 29)), find_shard(paths[:2], LAYOUT, range(15, 29))]
    assert len({shard.digest for shard in [second, *others]}) == 3
    assert find_shard(paths, LAYOUT, None).spectra == range(30)
    with pytest.raises(SpectraError, match="there are 30 spectra in 3 files, and none of 30:40"):
        find_shard(paths, LAYOUT, range(30, 40))
    with pytest.raises(SettingsError, match="shard_size is 0"):
        plan_shards(paths, LAYOUT, 0)


def test_planning_counts_by_headers_and_opens_no_file_that_holds_one_spectrum(tmp_path, stars, monkeypatch):
    path = save(tmp_path / "stars.npz", stars)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    assert count_spectra(path, LAYOUT) == N_SPECTRUM
    missing = [tmp_path / f"apStar-{i}.fits" for i in range(10)]
    assert len(plan_shards(missing, make_layout(format="apStar"), 4)) == 3
    path.write_bytes(b"PK")
    with pytest.raises(SpectraError, match="not an npz file"):
        plan_shards([path], LAYOUT, 10)
    shards = plan_shards([path, tmp_path / "none.npz"], LAYOUT, 10)
    assert [len(shard.spectra) for shard in shards] == [2], "each will be a failed fit"


# --- Files of fits ----------------------------------------------------------------------------------------------------


def test_files_of_fits_give_back_every_bit_with_units_meanings_and_flags(tmp_path, networks, stars, monkeypatch):
    """Also where the table is written in several pieces."""
    monkeypatch.setattr("payneflow.fitting.rows.BLOCK", 30)
    bad = {**stars, "flux": stars["flux"].copy(), "identifier": stars["identifier"].copy()}
    bad["flux"][4] = np.nan
    bad["identifier"][:3] = ["#hash", 'quote " and, comma', "blank  blank"]
    table = fit_files(networks, [save(tmp_path / "stars.npz", bad, slice(0, 100))])
    write_results(table, tmp_path / "fits")
    read = read_results(tmp_path / "fits.ecsv")
    assert_same_bits(read, table)
    assert read.colnames == table.colnames and dict(read.meta) == table.meta
    for name in table.colnames:
        assert read[name].unit == table[name].unit and read[name].description == table[name].description
    stored = Table.read(tmp_path / "fits.fits")
    assert stored.colnames == fits_column_names(table.colnames)
    for name, plain in zip(table.colnames, stored.colnames, strict=True):
        values = np.asarray(stored[plain])
        assert np.array_equal(values.astype(table[name].dtype), table[name], equal_nan=values.dtype.kind == "f"), name
    assert stored.meta["FLAG4"] == "FAILED" and stored["Teff"].unit == "K"
    said = " ".join(stored.meta["comments"])
    assert "Fe_H: fitted [Fe/H] [dex]" in said and "4 FAILED: no labels" in said.replace("  ", " ")
    assert "left_out" in " ".join(stored.meta["HISTORY"]) if "HISTORY" in stored.meta else True


def test_fits_with_networks_that_failed_carry_a_flag_all_of_them(tmp_path, networks, stars):
    bad = {**stars, "flux": stars["flux"].copy()}
    bad["flux"][4] = np.nan
    path = save(tmp_path / "stars.npz", bad, slice(0, 20))
    poor, good = fit_files(replace(networks, provenance={"failed": "so it is"}), [path]), fit_files(networks, [path])
    assert (poor["flags"] == good["flags"] + FitFlag.POOR_NETWORKS).all()
    assert results_text(poor).startswith("FAILED: the networks are not to be used")
    assert results_text(good).startswith("20 spectra fitted")
    good["flags"][:] = FitFlag.AT_BOUND
    good["flags"][3] = FitFlag.FAILED
    assert results_text(good).startswith("FAILED: not one of 20 spectra could be fitted. Likely cause: spectra unlike")


def test_the_summary_counts_flags_and_pixels_that_took_no_part(tmp_path, networks, stars):
    bad = {**stars, "flux": stars["flux"].copy()}
    bad["flux"][4], bad["flux"][6, :7] = np.nan, np.inf
    text = results_text(fit_files(networks, [save(tmp_path / "stars.npz", bad, slice(0, 20))]))
    assert "20 spectra fitted" in text and "FAILED" in text
    assert f"pixels that take no part: {N_PIXEL + 7} flux not finite" in text


@pytest.mark.parametrize("unit", ["é", "K\n", "\x01", "星", "x" * 100, "dex("])
def test_a_unit_that_fits_cannot_hold_costs_no_table(tmp_path, unit):
    name = "a label with an é" + "a" * 100
    table = Table({"spectrum": [0], name: [1.0], f"{name}_error": [0.1], "flags": [0]})
    for column in table.colnames:
        table[column].description = f"of {column}"
    table[name].unit = unit
    table.meta = {"label_names": [name], "flags": {"FAILED": 4}, "mode": f"labels {name}"}
    write_results(table, tmp_path / "fits")
    assert read_results(tmp_path / "fits.ecsv")[name].tolist() == [1.0]
    assert Table.read(tmp_path / "fits.fits").columns[1].tolist() == [1.0]
