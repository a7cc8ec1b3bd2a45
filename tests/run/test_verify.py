"""`payneflow verify`: what is whole, stale, missing or foreign by what files say of themselves, and what follows."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from known_networks import random_networks
from matplotlib.figure import Figure
from tables_of_fits import table_of

from payneflow import cli
from payneflow.errors import PayneflowError
from payneflow.figures import REPORT_FIGURES
from payneflow.fitting import write_results
from payneflow.run import verify
from payneflow.run.contents import facts_of
from payneflow.run.known import Known
from payneflow.run.verify import PLAN, Plan, State, check_whole, mend, plan_of_results, verify_text
from payneflow.stored_tables import write_table

SETTINGS = {"trainer": "sgd", "seed": 0, "eta": 0.1}
PLANNED = Plan(
    grid_path="/nowhere/grid.npz",
    settings=SETTINGS,
    chunks=("pixel0-4", "pixel5-9"),
    shards=("spectra0-4", "spectra5-9"),
    figures=("flux_deviation", "fit_overview"),
    calibrated=True,
    grid="g" * 64,
)
OF_GRID, WITH_NETWORKS = {"grid": PLANNED.grid}, {"networks": "n"}
OF_FITS = {**OF_GRID, **WITH_NETWORKS, "label_errors": "e", "rows": 5, "digest": "f"}
FACTS = {
    "chunks": {**OF_GRID, "settings": SETTINGS},
    "trained": {**OF_GRID, "settings": {**SETTINGS, "new": 1}},
    "grid_summary.json": OF_GRID,
    "neural_network.npz": {**OF_GRID, "settings": SETTINGS, "digest": "n"},
    "training_record.ecsv": {**OF_GRID, **WITH_NETWORKS},
    "evaluation.npz": {**OF_GRID, **WITH_NETWORKS},
    "explore.html": {**OF_GRID, **WITH_NETWORKS},
    "label_errors.npz": {**OF_GRID, **WITH_NETWORKS, "digest": "e"},
    "figures": {},
    "report.html": {**OF_GRID, **WITH_NETWORKS, "label_errors": "e", "fits": "f"},
}
TABLES = ["fits.ecsv", "fits.fits", "fits.parquet"]
TRAINED, CHUNK = "trained/pixel0-4.npz", "chunks/pixel0-4.npz"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Results in which every file holds nothing but its facts, which are those of a run as it should be."""

    def facts(path, name, thorough):
        return {"problem": "", **json.loads(path.read_text())}

    monkeypatch.setattr(verify, "facts_of", facts)
    for name in PLANNED.names():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        said = FACTS.get(name) or FACTS.get(path.parent.name, OF_FITS)
        path.write_text(json.dumps({"rows": 5, "digest": "f"} if name.endswith(".fits") else said))
    return tmp_path


def say(path, **said):
    """Change what a file says."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))


def found(results, plan=PLANNED):
    return {one.name: one for one in verify.verify(results, plan, Known(None), thorough=False)}


def states(results, plan=PLANNED):
    """Of the files that are not whole."""
    return {name: one.state for name, one in found(results, plan).items() if one.state is not State.WHOLE}


def test_a_run_as_it_should_be_is_whole(results):
    assert states(results) == {} and list(found(results)) == PLANNED.names()
    check_whole(results, list(found(results).values()))
    assert states(results, replace(PLANNED, grid="")) == {}, "of the grid nothing is known"


def test_files_of_another_grid_or_other_settings_are_stale(results):
    say(results / "evaluation.npz", grid="h" * 64)
    say(results / TRAINED, settings={**SETTINGS, "seed": 7})
    said = {name: one.said for name, one in found(results).items() if one.state is State.STALE}
    drawn = [f"figures/{name}.png" for name in PLANNED.figures if REPORT_FIGURES[name].source == "evaluation.npz"]
    assert drawn and list(said) == [TRAINED, "evaluation.npz", *drawn]
    assert all(said[name] == "made from evaluation.npz, which is stale" for name in drawn)
    assert said[TRAINED] == "trained with seed 7, the run's is 0"
    assert said["evaluation.npz"].startswith("made from another grid: SHA-256 hhhhhhhhhhhh...")
    with pytest.raises(
        PayneflowError, match=f"{2 + len(drawn)} stale of 19 files. `make run`, or snakemake, makes them again"
    ):
        check_whole(results, list(found(results).values()))


def test_files_made_with_others_than_those_beside_them_are_stale(results):
    say(results / "neural_network.npz", digest="m")
    made_with = {"training_record.ecsv", "evaluation.npz", "explore.html", "label_errors.npz", "report.html"}
    tables = {
        "fits.ecsv",
        "fits.fits",
        *(f"fits/{shard}.{form}" for shard in PLANNED.shards for form in ("ecsv", "fits")),
    }
    drawn = {f"figures/{name}.png" for name in PLANNED.figures}
    assert set(states(results)) == made_with | tables | drawn
    say(results / "neural_network.npz", digest="n")
    say(results / "label_errors.npz", digest="d")
    drawn = {name for name in drawn if REPORT_FIGURES[Path(name).stem].source == "fits.ecsv"}
    assert set(states(results)) == tables | drawn | {"report.html"}
    assert "label errors" in found(results)["fits.ecsv"].said
    assert set(states(results, replace(PLANNED, calibrated=False))) == set(states(results))
    say(results / "label_errors.npz", digest="e")
    say(results / "fits.fits", rows=4)
    assert found(results)["fits.fits"].said == "holds other fits than fits.ecsv"
    assert states(results, replace(PLANNED, parquet=True)) == {"fits.fits": "stale", "fits.parquet": "missing"}
    (results / "fits.parquet").write_text(json.dumps({"problem": "", "rows": 5, "digest": "g"}))
    assert found(results, replace(PLANNED, parquet=True))["fits.parquet"].said == "holds other fits than fits.ecsv"


def test_what_is_gone_is_missing_only_where_something_still_needs_it(results):
    gone = [CHUNK, TRAINED, "evaluation.npz", "label_errors.npz", "fits/spectra0-4.ecsv", "fits/spectra0-4.fits"]
    for name in gone:
        (results / name).unlink()
    assert states(results) == {} and set(gone).isdisjoint(found(results))
    (results / "neural_network.npz").unlink()
    assert set(states(results)) == {"neural_network.npz", TRAINED, CHUNK} and set(states(results).values()) == {
        "missing"
    }


def test_what_does_not_belong_is_said_and_left_alone(results):
    foreign = ["chunks/pixel0-9.npz", "trained/pixel0-9.npz", "fits/spectra0-9.ecsv"]
    beside = ["trained/pixel0-4.checkpoint.npz", "trained/pixel0-4.progress.json", "fits/.spectra0-4.tmp.ecsv"]
    for name in foreign + beside:
        (results / name).write_text("")
    assert states(results) == dict.fromkeys(foreign, State.FOREIGN)
    findings = list(found(results).values())
    check_whole(results, findings)
    assert mend(findings) == ([], [])
    assert "does not belong  chunks/pixel0-9.npz: no chunk of this run" in verify_text(findings)


def test_what_is_bad_is_made_again_unless_that_would_train_for_nothing(results):
    for name in (CHUNK, "chunks/pixel5-9.npz", "trained/pixel5-9.npz", "fits.ecsv"):
        say(results / name, problem="torn")
    findings = list(found(results).values())
    assert {one.name for one in findings if one.state is State.DAMAGED} == {
        *(CHUNK, "chunks/pixel5-9.npz", "trained/pixel5-9.npz", "fits.ecsv"),
    }
    again, remove = mend(findings)
    assert again == ["chunks/pixel5-9.npz", "fits.ecsv"] and remove == [CHUNK, "trained/pixel5-9.npz"]
    say(results / "neural_network.npz", problem="torn")
    again, remove = mend(list(found(results).values()))
    assert "trained/pixel5-9.npz" in again and remove == [CHUNK]


def test_only_what_has_changed_is_read_again_unless_all_is_asked_for(results, monkeypatch):
    monkeypatch.setattr("payneflow.run.known.SETTLED", -1.0)
    read, facts = [], verify.facts_of
    monkeypatch.setattr(
        verify, "facts_of", lambda path, name, thorough: read.append(name) or facts(path, name, thorough)
    )
    known = Known(None)
    verify.verify(results, PLANNED, known, thorough=False)
    assert read == PLANNED.names()
    read.clear()
    say(results / "fits.ecsv", rows=5)
    verify.verify(results, PLANNED, known, thorough=False)
    assert read == ["fits.ecsv"]
    verify.verify(results, PLANNED, known, thorough=True)
    assert len(read) == 1 + len(PLANNED.names())


def test_the_plan_is_kept_with_the_results(results, tmp_path):
    plan = replace(PLANNED, grid_path=str(tmp_path / "grid {a} é\udce9.npz"))
    plan.write(results)
    written = (results / PLAN).stat()
    plan.write(results)
    assert (results / PLAN).stat().st_mtime_ns == written.st_mtime_ns, "nothing new"
    assert plan_of_results(results, None, Known(None)) == replace(plan, grid="")
    (tmp_path / "other.npz").write_text("a")
    assert plan_of_results(results, str(tmp_path / "other.npz"), Known(None)).grid.startswith("ca978112ca1b")
    with pytest.raises(PayneflowError, match="nowhere.npz: no such file"):
        plan_of_results(results, "nowhere.npz", Known(None))


@pytest.mark.parametrize("junk", [None, "", "{}", "[]", '{"chunks": 3}'])
def test_results_without_a_plan_are_refused(tmp_path, capsys, junk):
    if junk is not None:
        (tmp_path / "known").mkdir()
        (tmp_path / PLAN).write_text(junk)
    assert cli.main(["verify", str(tmp_path)]) == 2
    assert "expected the results of a run" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- what files say of themselves


def cut_and_flipped(content):
    """The content of a file cut short, with one bit changed, with something after its end, and none of it."""
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    return [content[:-1], content[: len(content) // 2], bytes(flipped), content + b"x", b"", b"junk"]


def write_image(path):
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([1, 2])
    figure.savefig(path)


def write_record(path):
    table = Table({"pixel": [1, 2]}, meta={"networks": "n", "grid": "g"})
    table.write(path, format="ascii.ecsv")
    write_table(path, [path.read_text()])


def write_networks(path):
    replace(random_networks(4), provenance={"grid_sha256": "g", "settings": SETTINGS}).write(path)


WRITERS = {
    "figures/x.png": (write_image, {}),
    "training_record.ecsv": (write_record, {"networks": "n", "grid": "g"}),
    "neural_network.npz": (write_networks, {"grid": "g", "settings": SETTINGS, "digest": random_networks(4).digest}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_one_changed_bit_is_damage(tmp_path, name):
    path = tmp_path / Path(name).name
    write, said = WRITERS[name]
    write(path)
    assert facts_of(path, name, thorough=False) == {"problem": "", **said}
    content = path.read_bytes()
    for damaged in cut_and_flipped(content)[: 6 if name.endswith(("png", "ecsv")) else 3]:
        path.write_bytes(damaged)
        assert facts_of(path, name, thorough=False)["problem"], len(damaged)


def test_a_table_without_its_checksum_is_damaged(tmp_path):
    path = tmp_path / "training_record.ecsv"
    Table({"pixel": [1, 2]}, meta={"networks": "n"}).write(path, format="ascii.ecsv")
    assert "no checksum" in facts_of(path, path.name, thorough=False)["problem"]


@pytest.mark.parametrize("junk", ["", "[]", "{}", "3", "junk"])
def test_a_summary_that_names_no_grid_is_damaged(tmp_path, junk):
    path = tmp_path / "grid_summary.json"
    path.write_text(junk)
    assert "not the summary of a grid" in facts_of(path, path.name, thorough=False)["problem"]
    path.write_text('{"sha256": "g"}')
    assert facts_of(path, path.name, thorough=False) == {"problem": "", "grid": "g"}


def test_fits_in_both_formats_have_one_digest_of_values():
    from payneflow.fitting.results import digest_of_values

    table = Table({"a": [1.0, np.nan], "n": [1, 2], "c": np.zeros((2, 2)), "who": ["x", "y"]})
    big_endian = Table(
        {"a": np.array([1.0, np.nan], dtype=">f8"), "n": np.array([1, 2], dtype=">i4"), "c": np.zeros((2, 2))}
    )
    n_row, digest = digest_of_values([table.itercols()])
    assert n_row == 2 and digest == digest_of_values([big_endian.itercols()])[1]
    assert digest_of_values(table[i : i + 1].itercols() for i in range(2)) == (2, digest)
    big_endian["c"][1, 0] = 1e-300
    assert digest != digest_of_values([big_endian.itercols()])[1]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Fits in all three formats, of several blocks, the last row of which is another one."""
    for module in ("rows", "results", "fits_file", "parquet_file"):
        monkeypatch.setattr(f"payneflow.fitting.{module}.BLOCK", 10)
    table = table_of(47)
    table["most"] = np.ma.array(np.arange(47.0), mask=np.arange(47) % 5 == 1)
    write_results(table, tmp_path / "fits", parquet=True)
    return tmp_path


def test_tables_are_compared_block_by_block(tables):
    facts = {name: facts_of(tables / name, name, thorough=True) for name in TABLES}
    assert {name: said["problem"] for name, said in facts.items()} == dict.fromkeys(TABLES, "")
    assert len({said["digest"] for said in facts.values()}) == 1 and {said["rows"] for said in facts.values()} == {47}
    quick = {name: facts_of(tables / name, name, thorough=False) for name in TABLES}
    assert all(said["rows"] == 47 and "digest" not in said for said in quick.values())


@pytest.mark.parametrize("name", ["fits.fits", "fits.parquet"])
def test_tables_that_are_damaged_or_hold_other_fits_are_seen(tables, name):
    path = tables / name
    content, digest = path.read_bytes(), facts_of(path, name, thorough=True)["digest"]
    for damaged in (content[:-1], content[: len(content) // 2], content + b"x", b"", b"junk"):
        path.write_bytes(damaged)
        assert facts_of(path, name, thorough=False)["problem"]
    if name == "fits.parquet":
        other = bytearray(content)
        other[-9000] ^= 1  # among the values of the last rows, which have a CRC
        path.write_bytes(other)
    else:
        path.write_bytes(content)
        with fits.open(path, mode="update") as hdus:
            hdus[1].data["Teff"][-1] += 1.0
    said = facts_of(path, name, thorough=True)
    assert said["problem"] or said["digest"] != digest


def test_a_table_with_rows_removed_is_damaged_though_its_checksum_was_removed_too(tables):
    """Without it, the table is one that astropy wrote; and facts are asked of tables with a checksum."""
    path = tables / "fits.ecsv"
    lines = path.read_text().splitlines(True)
    path.write_text("".join(line for line in lines[:-1] if "SHA-256" not in line))
    assert "no checksum" in facts_of(path, "fits.ecsv", thorough=True)["problem"]


def test_comparing_tables_takes_little_memory(tmp_path):
    """Of columns that take more than is held."""
    n = 30_000
    write_results(table_of(n), tmp_path / "fits", parquet=True)
    sizes = {}
    for name in TABLES:
        facts_of(tmp_path / name, name, thorough=True)
        tracemalloc.start()
        assert facts_of(tmp_path / name, name, thorough=True)["rows"] == n
        sizes[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert max(sizes.values()) < 8 * 2**20, sizes
