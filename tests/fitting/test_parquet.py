"""Fits as parquet: values, units and meanings come back by pyarrow, astropy and pandas; errors where it is missing."""

import json
import sys

import numpy as np
import pandas
import pyarrow.parquet
import pytest
from astropy.table import Table
from tables_of_fits import LABELS, table_of

from payneflow import cli
from payneflow.errors import SettingsError
from payneflow.fitting import write_results


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    stem = tmp_path_factory.mktemp("parquet") / "fits"
    table = table_of(37)
    table["more"] = np.ma.array(np.arange(37), mask=np.arange(37) == 5)
    table.meta["settings"] = {"velocity": True, "priors": {"[α/Fe]": [0.1, 0.2]}}
    write_results(table, stem, parquet=True)
    return table, stem.with_suffix(".parquet")


def test_pyarrow_reads_values_units_meanings_and_provenance(written):
    table, path = written
    stored = pyarrow.parquet.read_table(path, page_checksum_verification=True)
    assert stored.column_names == table.colnames and stored.num_rows == 37
    for name in (*LABELS, "[α/Fe]_error", "flags"):
        assert stored[name].to_pylist() == table[name].tolist()
    said = stored.schema.field("[α/Fe]").metadata
    assert (said[b"unit"].decode(), said[b"description"].decode()) == ("dex", "of [α/Fe]")
    assert stored.schema.field("covariance").metadata[b"shape"] == b"[2, 2]"
    covariance = np.array(stored["covariance"].to_pylist()).reshape(-1, 2, 2)
    assert np.array_equal(covariance, table["covariance"], equal_nan=True)
    assert stored["more"].to_pylist()[4:7] == [4, None, 6]
    assert stored["identifier"].to_pylist()[:7] == table["identifier"].tolist()[:7]
    assert stored["identifier"].to_pylist()[7] == "undecodable \\udce9"
    meta = {name: json.loads(stored.schema.metadata[name.encode()]) for name in table.meta}
    assert meta == table.meta


def test_astropy_and_pandas_read_the_same(written):
    table, path = written
    read, frame = Table.read(path, include_names=[*LABELS, "covariance", "flags"]), pandas.read_parquet(path)
    assert read["Teff"].unit == "K" and read["Teff"].description == "of Teff"
    assert {name: read.meta[name] for name in table.meta} == table.meta
    for name in (*LABELS, "flags"):
        assert read[name].tolist() == frame[name].tolist() == table[name].tolist()
    flat = np.asarray(table["covariance"]).reshape(-1, 4)
    assert np.array_equal(read["covariance"], flat, equal_nan=True)


@pytest.mark.parametrize("command", [["fit", "no networks.npz", "no spectra.npz"], ["gather_fits", "no fits.ecsv"]])
def test_without_pyarrow_it_is_said_before_anything_is_done(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert cli.main([*command, "--output", str(tmp_path / "fits"), "--parquet"]) == 2
    said = capsys.readouterr().err
    assert "--parquet needs pyarrow" in said and "pip install 'payneflow[parquet]'" in said
    with pytest.raises(SettingsError, match="needs pyarrow"):
        write_results(table_of(2), tmp_path / "fits", parquet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_file_is_not_written_over_an_input(tmp_path, capsys):
    (tmp_path / "fits.parquet").write_text("fits")
    command = ["gather_fits", str(tmp_path / "fits.parquet"), "--output", str(tmp_path / "fits"), "--parquet"]
    assert cli.main(command) == 2 and "fits.parquet: an input of this command" in capsys.readouterr().err
