"""Tables of fits written and joined block by block: every byte as at once, in little memory, whole or not at all."""

import os
import resource
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits as fits_format
from astropy.table import Table, vstack
from tables_of_fits import LABELS, table_of

from payneflow import cli
from payneflow.errors import PayneflowError, SpectraError
from payneflow.fitting import read_results, results_text, write_results
from payneflow.fitting.flags import LabelFlag
from payneflow.fitting.gather import gather_fits
from payneflow.fitting.results import read_result_blocks
from payneflow.fitting.rows import StoredRows


def same(table, other):
    assert table.colnames == other.colnames
    for name in table.colnames:
        one, two = np.ma.asarray(table[name]), np.ma.asarray(other[name])
        assert one.dtype.kind == two.dtype.kind and one.shape == two.shape
        assert (np.ma.getmaskarray(one) == np.ma.getmaskarray(two)).all()
        assert list(map(str, one.filled().ravel())) == list(map(str, two.filled().ravel())), name
        assert table[name].unit == other[name].unit and table[name].description == other[name].description


def contents(stem):
    return {ending: stem.with_suffix(ending).read_bytes() for ending in (".ecsv", ".fits", ".parquet")}


@pytest.mark.parametrize("n_row", [0, 1, 20, 97])
@pytest.mark.parametrize("masked", [False, True])
def test_neither_pieces_nor_blocks_change_a_byte(tmp_path, monkeypatch, n_row, masked):
    """Also where some entries are empty, as in a table that was joined with another."""
    table = table_of(n_row)
    if masked:
        table["more"] = np.ma.array(np.arange(n_row), mask=np.arange(n_row) % 5 == 1)
        table["remark"] = np.ma.array(["seen"] * n_row, mask=np.arange(n_row) % 7 == 1, dtype="U4")
    write_results(table, tmp_path / "whole", parquet=True)
    whole = contents(tmp_path / "whole")
    for block, held, piece in ((20, 2**22, 7), (7, 10, 30), (1, 10, 1), (50, 10, 97)):
        monkeypatch.setattr("payneflow.fitting.rows.BLOCK", block)
        monkeypatch.setattr("payneflow.fitting.rows.MOST_HELD", held)
        monkeypatch.setattr("payneflow.fitting.parquet_file.BLOCKS", 100)
        with StoredRows(tmp_path) as rows:
            for first in range(0, max(n_row, 1), piece):
                rows.append(table[first : first + piece])
            rows.meta = table.meta
            assert len(rows) == n_row and results_text(rows) == results_text(table)
            same(rows.table(), table)
            write_results(rows, tmp_path / "pieces", parquet=True)
        assert contents(tmp_path / "pieces") == whole, (block, piece)


def test_a_fits_file_of_several_blocks_is_as_the_standard_wants_it(tmp_path, monkeypatch):
    monkeypatch.setattr("payneflow.fitting.rows.BLOCK", 10)
    table = table_of(95)
    write_results(table, tmp_path / "fits")
    with fits_format.open(tmp_path / "fits.fits") as file:
        file.verify("exception")
        header, rows = file[1].header, file[1].data
        assert len(file) == 2 and (tmp_path / "fits.fits").stat().st_size % 2880 == 0
        assert header["NAXIS2"] == 95 and header["TFORM1"] == "50A" and header["FLAG4"] == "FAILED"
        for name, column in zip(table.colnames[1:], rows.columns.names[1:], strict=True):
            assert np.array_equal(rows[column], table[name], equal_nan=True), name


def test_shards_read_in_blocks_are_gathered_to_the_bytes_of_one_table(tmp_path, monkeypatch, capsys):
    """A block ends at no line break inside of a name; a shard of no rows adds none."""
    monkeypatch.setattr("payneflow.fitting.results.BLOCK", 4)
    parts = [table_of(30, 1), table_of(0, first=30), table_of(1, 2, 30), table_of(23, 3, 31)]
    parts[1].meta["spectra"] = []
    whole = vstack(parts, metadata_conflicts="silent")
    problems = {"星": "no file", **{f"星 ({number})": "no file" for number in (2, 3, 4)}}
    whole.meta = {**parts[0].meta, "unreadable": problems, "n_row": 54, "spectra": [[0, 54]]}
    write_results(whole, tmp_path / "whole", parquet=True)
    paths = [str(tmp_path / f"{number}.ecsv") for number in range(4)]
    for path, part in zip(paths, parts, strict=True):
        write_results(part, path.removesuffix(".ecsv"))
    assert cli.main(["gather_fits", *paths, "--output", str(tmp_path / "joined"), "--parquet"]) == 0
    assert capsys.readouterr().out.startswith("54 spectra fitted")
    assert contents(tmp_path / "joined") == contents(tmp_path / "whole")
    same(gather_fits(paths), read_results(tmp_path / "whole.ecsv"))
    assert [len(block) for block in read_result_blocks(paths[2])] == [0, 1]


def test_the_summary_counts_the_flags_of_labels(tmp_path):
    table = table_of(6)
    assert "of labels" not in results_text(table)
    for name in LABELS:
        table[f"{name}_flags"] = np.zeros(6, int)
    assert "of labels" not in results_text(table)
    first, second = (f"{name}_flags" for name in LABELS)
    table[first][:3], table[second][2:4], table[second][5] = LabelFlag.AT_BOUND, 5, LabelFlag.NO_INFORMATION
    says = "  of labels, in <label>_flags: 5 AT_BOUND (Teff 3, [α/Fe] 2); 3 NO_INFORMATION ([α/Fe] 3)"
    assert says in results_text(table).splitlines()
    table.meta["label_names"] = names = [*LABELS, "a", "b"]
    for name, n in (("a", 5), ("b", 1)):
        table[f"{name}_flags"] = np.repeat([int(LabelFlag.NO_INFORMATION), 0], [n, 6 - n])
    assert "; 9 NO_INFORMATION (a 5, [α/Fe] 3, b 1)" in results_text(table) and len(names) == 4
    table["Teff_flags"][5] = LabelFlag.NO_INFORMATION
    assert "10 NO_INFORMATION (a 5, [α/Fe] 3, Teff 1, ...)" in results_text(table)


def test_shards_without_any_row_make_a_table_without_rows(tmp_path):
    parts = [table_of(0), table_of(0)]
    for number, part in enumerate(parts):
        part.meta["spectra"], part.meta["unreadable"] = [], {}
        write_results(part, tmp_path / str(number))
    joined = gather_fits([tmp_path / "0.ecsv", tmp_path / "1.ecsv"])
    assert len(joined) == 0 and joined.colnames == parts[0].colnames and joined.meta["n_row"] == 0
    assert joined["covariance"].shape == (0, 2, 2) and len(read_results(tmp_path / "0.ecsv")) == 0


def test_gathering_loads_no_numba(tmp_path):
    write_results(table_of(3), tmp_path / "a")
    command = ["gather_fits", str(tmp_path / "a.ecsv"), "--output", str(tmp_path / "b")]
    code = (
        f"import sys; from payneflow.cli import main; assert not main({command!r}); assert 'numba' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_wrong_far_down_in_a_shard_is_named_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("payneflow.fitting.results.BLOCK", 5)
    write_results(table_of(40), tmp_path / "a")
    part = Table.read(tmp_path / "a.ecsv")
    part["flags"] = np.ma.array(part["flags"], mask=np.arange(40) == 33)
    part.write(tmp_path / "b.ecsv")
    assert cli.main(["gather_fits", str(tmp_path / "b.ecsv"), "--output", str(tmp_path / "c")]) == 2
    assert "b.ecsv: column flags has an empty entry" in capsys.readouterr().err
    Table.read(tmp_path / "a.ecsv").write(tmp_path / "d.ecsv")
    (tmp_path / "d.ecsv").write_text((tmp_path / "d.ecsv").read_text().rpartition("]]")[0])
    with pytest.raises(SpectraError, match=r"d\.ecsv: not a readable ECSV table"):
        gather_fits([tmp_path / "d.ecsv"])
    assert {path.name for path in tmp_path.iterdir()} == {"a.ecsv", "a.fits", "b.ecsv", "d.ecsv"}


def test_memory_holds_some_rows_however_many_there_are(tmp_path):
    """Four times as many rows take no more, whatever of FITS and parquet is written of them."""
    from payneflow.fitting.fits_file import write_fits
    from payneflow.fitting.parquet_file import write_parquet

    def peak_of(n_part: int) -> int:
        tracemalloc.start()
        part = table_of(1000)
        with StoredRows(tmp_path) as rows:
            rows.meta = part.meta
            for _ in range(n_part):
                rows.append(part)
            write_fits(rows, tmp_path / "fits.fits")
            write_parquet(rows, tmp_path / "fits.parquet")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_of(1)  # what is loaded once
    assert peak_of(120) < 1.2 * peak_of(30)


# ------------------------------------------------------------------------------------------ what stops before the end


@pytest.fixture
def small_files():
    """No file of this process may grow beyond 100 kB: as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_while_rows_come_is_an_error_that_names_it(tmp_path, monkeypatch, small_files):
    monkeypatch.setattr("payneflow.fitting.rows.MOST_HELD", 1000)
    with (
        pytest.raises(PayneflowError, match=r"out: the fits cannot be kept there until .* written: File too large"),
        StoredRows(tmp_path / "out") as rows,
    ):
        for _ in range(50):
            rows.append(table_of(2000))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("ending", ["ecsv", "fits", "parquet"])
def test_a_disk_that_is_full_while_a_table_is_written_leaves_none(tmp_path, monkeypatch, request, ending):
    from payneflow.fitting import results

    if ending != "ecsv":
        monkeypatch.setattr(results, "write_table", lambda *_: None)
    if ending == "parquet":
        monkeypatch.setattr(results, "write_fits", lambda *_: None)
    table = table_of(4000)  # 300 kB, which wait in memory
    request.getfixturevalue("small_files")
    with pytest.raises(PayneflowError, match=rf"fits\.{ending}: cannot be written: .*File too large"):
        write_results(table, tmp_path / "fits", parquet=True)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from tables_of_fits import LABELS, table_of
from payneflow.fitting import results, rows
rows.MOST_HELD = 10
def killed(rows):
    for number, piece in enumerate(written(rows)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield piece
written, results._ecsv = results._ecsv, killed
results.write_results(table_of(9000), sys.argv[1])
"""


def test_a_job_that_is_killed_while_it_writes_leaves_nothing_that_a_reader_sees(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    job = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "fits")], env=environment, timeout=600)
    assert job.returncode == -signal.SIGKILL
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    write_results(table_of(3), tmp_path / "other")
    assert {path.name for path in tmp_path.iterdir()} == {"other.ecsv", "other.fits"}


def test_columns_of_anything_else_are_refused(tmp_path):
    table = table_of(2)
    table["lists"] = np.array([[1], [1, 2]], dtype=object)
    with pytest.raises(PayneflowError, match="column lists holds Column, expected numbers or text"):
        write_results(table, tmp_path / "fits")
