"""From a grid to chunk files, trained chunks and a gathered network file, through kills and wrong pieces."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.table import Table
from conftest import PATIENCE, ROOT, SLOW, same_but_seconds, wait_for, write_small_grid
from hypothesis import given
from hypothesis import strategies as st

from payneflow import cli, read_networks
from payneflow.chunks.checkpoint import checkpoint_path
from payneflow.chunks.chunk import read_chunk, read_training
from payneflow.chunks.gather import gather_chunks
from payneflow.chunks.progress_file import progress_path, read_progress
from payneflow.chunks.record import COLUMNS
from payneflow.chunks.selection import parse_pixels, plan_chunks
from payneflow.chunks.split import split_grid
from payneflow.chunks.trained import TrainedChunk, read_trained_pixels
from payneflow.errors import ChunkError, PayneflowError, SettingsError
from payneflow.grid import read_grid
from payneflow.settings import LmSettings, SgdSettings, TheanoSettings, settings_record
from payneflow.stored_arrays import write_arrays

QUICK = ["--trainer", "sgd", "--num-epochs", "200", "--trial-epochs", "200", "--max-iter", "3", "--trunc-diff", "0.01"]
LM = ["--trainer", "lm", "--n-neurons", "3", "--trunc-diff", "0.0003"]  # small enough that some pixels start anew
both = pytest.mark.parametrize("options", [QUICK, LM], ids=["sgd", "lm"])


SGD = "sgd", SgdSettings(), 0
THEANO = TheanoSettings(eta=0.07)


def trained(grid, directory, pixels="::", chunk_size=1000, options=QUICK):
    """Split, train and gather with the command line; returns the paths of the trained chunks."""
    split = ["split", str(grid), "--pixels", pixels, "--chunk-size", str(chunk_size), "--output", str(directory)]
    assert cli.main([*split, *options]) == 0
    paths = []
    for chunk in sorted(directory.glob("*.npz")):
        paths.append(directory / "trained" / chunk.name)
        assert cli.main(["train", str(chunk), "--output", str(paths[-1])]) == 0
    return paths


def weights(paths):
    networks, _ = gather_chunks(paths)
    names = ("w_array_0", "b_array_0", "w_array_1", "b_array_1", "wavelength", "emulator_rms")
    return {name: getattr(networks, name) for name in names}


# ------------------------------------------------------------------------------------------------------ the plan


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("::", range(100)),
        (":", range(100)),
        ("::8", range(0, 100, 8)),
        ("10:20", range(10, 20)),
        ("10:20:3", range(10, 20, 3)),
        ("-5:", range(95, 100)),
        (" 90 : 1000 : ", range(90, 100)),
    ],
)
def test_pixels_are_read_as_python_reads_a_slice(selection, expected):
    assert parse_pixels(selection, 100) == expected


@pytest.mark.parametrize("selection", ["", "7", "a:b", "1:2:3:4", "::0", "::-1", "50:50", "200:", "1.5:3", 6602])
def test_pixels_that_make_no_sense_are_refused(selection):
    with pytest.raises(SettingsError, match="pixels is .*start:stop:step"):
        parse_pixels(selection, 100)


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 400))
def test_chunks_cover_every_pixel_once_in_order(n_pixel, step, chunk_size):
    chunks = plan_chunks(n_pixel, f"::{step}", chunk_size)
    assert [pixel for chunk in chunks for pixel in chunk.pixels] == list(range(0, n_pixel, step))
    assert all(len(chunk.pixels) == chunk_size for chunk in chunks[:-1])
    assert len({chunk.name for chunk in chunks}) == len(chunks)
    assert [chunk.name for chunk in chunks] == sorted(chunk.name for chunk in chunks)


@pytest.mark.parametrize("chunk_size", [0, -3, 2.5, None])
def test_a_chunk_size_that_makes_no_sense_is_refused(chunk_size):
    with pytest.raises(SettingsError, match="chunk_size"):
        plan_chunks(10, "::", chunk_size)


def test_a_chunk_file_stands_alone(small_grid, tmp_path):
    grid = read_grid(small_grid)
    (path,) = split_grid(grid, "3:15:4", 10, tmp_path / "chunks", *SGD)
    chunk = read_chunk(path)
    assert chunk.pixels.tolist() == [3, 7, 11]
    assert (chunk.flux == grid.flux[:, [3, 7, 11]]).all()
    assert (chunk.wavelength == grid.wavelength[[3, 7, 11]]).all()
    assert chunk.grid_sha256 == grid.sha256


def test_the_scaling_is_of_the_whole_training_half_in_every_chunk(small_grid, tmp_path):
    """Earlier codes scaled each shard by its own random subset."""
    grid = read_grid(small_grid)
    for path in split_grid(grid, "::", 3, tmp_path / "chunks", *SGD):
        chunk = read_chunk(path)
        assert (chunk.x_min == grid.labels[::2].min(axis=0)).all()
        assert (chunk.x_max == grid.labels[::2].max(axis=0)).all()


@pytest.mark.parametrize(
    ("trainer", "settings"), [("lm", LmSettings(penalty=1 / 3)), ("sgd", SgdSettings(eta=0.07)), ("theano", THEANO)]
)
def test_a_chunk_carries_trainer_settings_and_seed_of_every_trainer(small_grid, tmp_path, trainer, settings):
    (path,) = split_grid(read_grid(small_grid), "::", 100, tmp_path, trainer, settings, 3)
    chunk = read_chunk(path)
    assert (chunk.trainer, chunk.settings, chunk.seed) == (trainer, settings, 3) == read_training(path)
    assert type(chunk.settings) is type(settings)


def test_a_trained_chunk_is_read_as_it_was_written(small_grid, tmp_path):
    (path,) = trained(small_grid, tmp_path / "chunks", "3:15:4")
    chunk = TrainedChunk.read(path)
    assert (chunk.name, chunk.pixels.tolist()) == ("pixel03-11-step4", [3, 7, 11])
    assert set(chunk.column("chunk")) == {chunk.name} and chunk.column("pixel").tolist() == [3, 7, 11]
    assert all(len(chunk.column(name)) == 3 for name in COLUMNS)
    chunk.write(tmp_path / "again.npz")
    with np.load(path) as first, np.load(tmp_path / "again.npz") as second:
        assert first.files == second.files and all(np.array_equal(first[key], second[key]) for key in first.files)
    assert read_trained_pixels(path) == [3, 7, 11]
    with pytest.raises(ChunkError, match="expected a trained chunk"):
        read_trained_pixels(tmp_path / "chunks" / path.name)


def test_what_the_chunk_carries_is_what_trains_it(small_grid, tmp_path):
    (path,) = trained(small_grid, tmp_path / "chunks", options=[*QUICK, "--seed", "5"])
    record = json.loads(str(np.load(path)["settings"]))
    short = SgdSettings(num_epochs=200, trial_epochs=200, max_iter=3, trunc_diff=0.01)
    assert record == settings_record("sgd", short, 5)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ("sgd", "prepared_for is 'sgd'"),
        ("theano", "prepared_for is 'theano'"),
        ("[1]", "prepared_for is"),
        ('{"trainer": "lm", "seed": 0, "old": 1}', "trainer lm has no setting old"),
        ('{"trainer": "lm"}', "seed is None"),
        ('{"trainer": "adam", "seed": 0}', "trainer is 'adam'"),
    ],
)
def test_a_chunk_that_does_not_say_how_to_train_it_is_refused(small_grid, tmp_path, capsys, record, says):
    """Earlier versions wrote no more than "sgd" where the trainer was the published one."""
    path = split_whole(small_grid, tmp_path, [])
    write_arrays(path, {**np.load(path), "prepared_for": record})
    assert cli.main(["train", str(path), "--output", str(tmp_path / "t.npz")]) == 2
    said = capsys.readouterr().err
    assert f"{path}: this chunk does not say how to train it: {says}" in said and "Run payneflow split again." in said


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut"])
def test_a_damaged_chunk_file_is_refused(tmp_path, content):
    (tmp_path / "pixel0-1.npz").write_bytes(content)
    with pytest.raises(ChunkError, match="pixel0-1.npz"):
        read_chunk(tmp_path / "pixel0-1.npz")
    np.savez(tmp_path / "other.npz", flux=np.zeros(3))
    with pytest.raises(ChunkError, match=r"other.npz: no chunk.*payneflow split"):
        read_chunk(tmp_path / "other.npz")


# --------------------------------------------------------------------------------------------- training and gathering


@both
def test_no_bit_depends_on_chunk_size_or_on_which_pixels_are_asked_for(small_grid, tmp_path, options):
    whole = weights(trained(small_grid, tmp_path / "whole", options=options))
    for chunk_size in (1, 7):
        pieces = weights(trained(small_grid, tmp_path / f"pieces{chunk_size}", chunk_size=chunk_size, options=options))
        assert all((whole[name] == pieces[name]).all() for name in whole)
    some = weights(trained(small_grid, tmp_path / "some", pixels="5::3", options=options))
    assert all((whole[name][5::3] == some[name]).all() for name in whole)


def test_the_training_record_says_what_happened(small_grid, tmp_path, capsys):
    paths = trained(small_grid, tmp_path / "chunks", chunk_size=6)
    network, record = tmp_path / "net.npz", tmp_path / "record.ecsv"
    texts = ["--licence", "CC-BY-4.0", "--abundances", "[X/H], Asplund et al. 2009"]
    assert cli.main(["gather", *map(str, paths), "--network", str(network), "--record", str(record), *texts]) == 0
    table = Table.read(record, format="ascii.ecsv")
    networks, grid = read_networks(network), read_grid(small_grid)
    error = np.abs(networks.predict_scaled(networks.scaler.scale(grid.labels)) - grid.flux)
    assert table["pixel"].tolist() == list(range(20))
    assert table["wavelength"].unit == "Angstrom" and (table["wavelength"] == grid.wavelength).all()
    assert np.allclose(table["deviation"], error[::2].max(axis=0), rtol=0, atol=1e-12)
    assert np.allclose(table["deviation_test"], error[1::2].max(axis=0), rtol=0, atol=1e-12)
    assert np.allclose(table["median_deviation_test"], np.median(error[1::2], axis=0), rtol=0, atol=1e-12)
    assert np.allclose(networks.emulator_rms, np.sqrt((error[1::2] ** 2).mean(axis=0)), rtol=0, atol=1e-12)
    assert ((table["end"] == "converged") == (table["deviation"] <= 0.01)).all()
    assert set(table["chunk"]) == {path.stem for path in paths}
    printed = capsys.readouterr().out
    assert f"converged      {np.sum(table['end'] == 'converged'):7d}" in printed
    worst = table["wavelength"][np.argmax(table["deviation"])]
    assert f"worst wavelengths: {worst:.2f} A" in printed
    assert networks.provenance["settings"]["num_epochs"] == 200
    said = [networks.provenance.get(name) for name in ("licence", "abundances", "citation")]
    assert said == ["CC-BY-4.0", "[X/H], Asplund et al. 2009", None]
    assert networks.provenance["grid_sha256"] == grid.sha256 == table.meta["grid"]
    assert networks.digest == table.meta["networks"]
    variance = np.asarray(grid.flux[1::2], dtype=float).var(axis=0)
    assert table["explained_test"] == pytest.approx(1 - networks.emulator_rms**2 / variance, abs=1e-9)
    assert not networks.failure and "FAILED" not in printed


@both
def test_training_never_sees_the_test_set(small_grid, tmp_path, options):
    """Earlier codes validated on the training spectra, or scaled by all. Here other test spectra change no weight."""
    stored = dict(np.load(small_grid))
    stored["Y_u_all"] = stored["Y_u_all"].copy()
    stored["Y_u_all"][1::2] = 1.0 - 0.5 * np.random.default_rng(5).random(stored["Y_u_all"][1::2].shape)
    other = write_small_grid(tmp_path / "other.npz", **stored)
    a = gather_chunks(trained(small_grid, tmp_path / "a", options=options))
    b = gather_chunks(trained(other, tmp_path / "b", options=options))
    assert (a[0].w_array_0 == b[0].w_array_0).all() and (a[0].b_array_1 == b[0].b_array_1).all()
    assert (a[1]["deviation"] == b[1]["deviation"]).all()
    assert (a[1]["deviation_test"] != b[1]["deviation_test"]).all(), "but the accuracy quoted is that of the test set"
    assert (a[0].emulator_rms != b[0].emulator_rms).all()


def altered(path, **changes):
    """A copy of a trained chunk with other contents, beside it."""
    copy = path.with_name(f"altered-{path.name}")
    write_arrays(copy, {**np.load(path), **changes})
    return copy


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pieces")
    return trained(write_small_grid(directory / "grid.npz"), directory / "chunks", chunk_size=5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"grid_sha256": "abc"}, "another grid"),
        ({"settings": '{"trunc_diff": 1}'}, "other settings"),
        ({"x_min": np.full(3, -9.0)}, "another label scaling"),
        ({"x_max": np.full(3, 9e9)}, "another label scaling"),
        ({"label_names": np.array(["a", "b", "c"])}, "other labels"),
        ({"preparation_note": "otherwise"}, "prepared in another way"),
        ({"requested": np.array([0, 10, 1])}, "other pixels"),
        ({"grid_resolution": 2e4}, 'another resolution.*is "20000", the other chunks have "unknown"'),
        ({"resolution": np.full(5, 2e4)}, 'another resolution.*is "one for each pixel", the other'),
        ({"resolution": np.full(5, -2e4)}, "resolution holds -20000.0, expected positive numbers"),
        ({"resolution": np.full(5, 2e4), "grid_resolution": 2e4}, "resolution and resolution, expected one of them"),
        ({"format_version": 99}, "format_version 99"),
    ],
)
@pytest.mark.parametrize("which", [0, 2])
def test_gather_names_the_chunk_that_does_not_belong(pieces, which, changes, says):
    paths = list(pieces)
    paths[which] = altered(paths[which], **changes)
    with pytest.raises(ChunkError, match=f"{paths[which]}.*{says}"):
        gather_chunks(paths)


def test_a_resolution_goes_from_the_grid_into_the_networks(pieces, small_grid, tmp_path):
    """A number as it is, and an array pixel by pixel, whatever the chunks and their order."""
    with np.load(small_grid) as arrays:
        np.savez(tmp_path / "one.npz", **arrays, resolution=22500)
        np.savez(tmp_path / "each.npz", **arrays, resolution=np.linspace(2e4, 3e4, 20))
    for name, of_grid in (("one", 22500.0), ("each", np.linspace(2e4, 3e4, 20))):
        paths = split_grid(read_grid(tmp_path / f"{name}.npz"), "1::2", 4, tmp_path / name, *SGD)
        chunks = [read_chunk(path) for path in paths]
        own = [of_grid if name == "one" else of_grid[chunk.pixels] for chunk in chunks]
        assert all(np.array_equal(chunk.resolution, expected) for chunk, expected in zip(chunks, own, strict=True))
        each = [{} if name == "one" else {"resolution": of_grid[5 * i : 5 * i + 5]} for i in range(4)]
        copies = [
            altered(path, **({"grid_resolution": of_grid} if name == "one" else own))
            for path, own in zip(pieces, each, strict=True)
        ]
        networks, _ = gather_chunks(copies[::-1])
        assert np.array_equal(networks.resolution, of_grid)
        assert ("resolution" in networks.provenance) == (name == "one")
        networks.write(tmp_path / "networks.npz")
        assert np.array_equal(read_networks(tmp_path / "networks.npz").resolution, of_grid)
    plain = gather_chunks(pieces)[0]
    assert plain.resolution == 0.0 and "resolution" not in plain.provenance
    with np.load(pieces[0]) as trained_chunk:
        assert not {"resolution", "grid_resolution"} & set(trained_chunk)


def test_gather_proves_that_every_requested_pixel_is_there_once(pieces):
    with pytest.raises(ChunkError, match=r"5 of 20 requested pixels.*first is pixel 10"):
        gather_chunks([pieces[0], pieces[1], pieces[3]])
    with pytest.raises(ChunkError, match=r"altered-.*pixel 5 is also in"):
        gather_chunks([*pieces, altered(pieces[1])])
    with pytest.raises(ChunkError, match="nothing to gather"):
        gather_chunks([])


def test_gather_refuses_files_that_are_no_trained_chunks(pieces, small_grid, tmp_path):
    half = tmp_path / "half.npz"
    half.write_bytes(pieces[0].read_bytes()[:1000])
    with pytest.raises(ChunkError, match=r"half.npz"):
        gather_chunks([half, *pieces[1:]])
    with pytest.raises(ChunkError, match=r"grid.npz: no chunk.*Train this chunk again"):
        gather_chunks([small_grid])


def test_the_order_of_the_chunks_does_not_matter(pieces):
    a, b = gather_chunks(pieces), gather_chunks(pieces[::-1])
    assert (a[0].w_array_0 == b[0].w_array_0).all()
    assert (a[1]["pixel"] == b[1]["pixel"]).all()


def test_weights_rounded_to_single_precision_are_stored_and_read_without_loss(pieces, tmp_path):
    files = {name: (tmp_path / f"{name}.npz", tmp_path / f"{name}.ecsv") for name in ("double", "single")}
    for name, (network, record) in files.items():
        options = ["--single"] if name == "single" else []
        paths = [*map(str, pieces), "--network", str(network), "--record", str(record)]
        assert cli.main(["gather", *paths, *options]) == 0
    double, single = (read_networks(network) for network, _ in files.values())
    for key in ("w_array_0", "b_array_0", "w_array_1", "b_array_1"):
        weights, rounded = getattr(double, key), getattr(single, key)
        assert rounded.dtype == float and (rounded == weights.astype(np.float32)).all()
        with np.load(files["double"][0]) as before, np.load(files["single"][0]) as after:
            assert before[key].dtype == np.float64 and after[key].dtype == np.float32
    assert single.digest == single.rounded().digest == Table.read(files["single"][1]).meta["networks"]
    assert single.digest != double.digest
    labels = double.x_min + np.linspace(0, 1, 5)[:, None] * (double.x_max - double.x_min)
    assert 0 < np.abs(single.predict(labels) - double.predict(labels)).max() < 1e-6


def test_the_versions_listed_are_those_that_trained(pieces):
    """Not those of the process that gathers; chunks of the format before say none."""
    ours = gather_chunks(pieces)[0].provenance["versions"]
    assert ours["numpy"] == np.__version__ and "python" in ours
    others = [altered(pieces[0], versions='{"payneflow": "0.0.7"}'), *pieces[1:]]
    theirs = gather_chunks(others)[0].provenance["versions"]
    assert theirs["payneflow"] == f"0.0.7, {ours['payneflow']}" and "unknown" in theirs["numpy"]
    with np.load(pieces[0]) as arrays:
        before = {key: arrays[key] for key in arrays if key not in ("versions", "explained_test")}
    write_arrays(pieces[0].with_name("before.npz"), {**before, "format_version": 5})
    networks, record = gather_chunks([pieces[0].with_name("before.npz"), *pieces[1:]])
    assert "unknown" in networks.provenance["versions"]["payneflow"] and not networks.failure
    assert np.isnan(record["explained_test"][:5]).all() and np.isfinite(record["explained_test"][5:]).all()


LOST, GOOD = {"explained_test": np.full(5, 0.4)}, {"explained_test": np.full(5, 0.9)}
SMALL = {"explained_test": np.full(5, -9.0), "deviation_test": np.full(5, 0.009)}  # trunc_diff is 0.01
VAIN = {"explained_test": np.full(5, 0.01), "end": np.full(5, "noise_floor")}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([GOOD, LOST, LOST, GOOD], ""),
        ([GOOD, LOST, LOST, LOST], "15 of 20 pixels have no network, or one that explains less than half"),
        ([{**LOST, "end": np.full(5, "noise_floor")}] * 3 + [LOST], ""),
        ([VAIN] * 4, "Likely cause: labels that do not explain the flux"),
        ([VAIN] * 3 + [LOST], ""),
        ([SMALL] * 4, ""),
        ([{**GOOD, "end": np.full(5, "max_loops")}] * 4, ""),
        ([{**LOST, "end": np.full(5, "stalled")}] * 4, "Likely cause: no trial ever improved"),
        ([{**LOST, "deviation": np.full(5, 1e-4)}] * 4, "Likely cause: the training spectra were learnt by heart"),
        ([{**LOST, "explained_test": np.full(5, -np.inf)}] * 4, "Likely cause: training ended long before"),
        ([{"end": np.full(5, "failed")}] * 4, "Likely cause: weights that became infinite"),
    ],
)
def test_training_that_failed_as_a_whole_is_said_first(pieces, capsys, tmp_path, changes, says):
    """And what merely did not converge, or is as good as the labels allow, is no failure."""
    same = {"end": np.full(5, "max_loops"), "deviation": np.full(5, 0.03), "deviation_test": np.full(5, 0.04)}
    paths = [altered(path, **{**same, **change}) for path, change in zip(pieces, changes, strict=True)]
    network, record = tmp_path / "n.npz", tmp_path / "r.ecsv"
    assert cli.main(["gather", *map(str, paths), "--network", str(network), "--record", str(record)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("FAILED: ") == bool(says) and says in first
    failure = read_networks(network).failure
    assert (
        failure == Table.read(record, format="ascii.ecsv").meta["failed"] == first.removeprefix("FAILED: ") * bool(says)
    )


# ------------------------------------------------------------------------------------------------------------- kills

# Long enough to be hit while it trains: no pixel can reach this criterion, so that every one runs all its loops.
LONG = ["--trainer", "sgd", "--num-epochs", "2000", "--trunc-diff", "1e-9", "--max-iter", "30", "--min-eta", "1e-9"]


def training(chunk, output):
    return [sys.executable, "-c", SLOW, "train", str(chunk), "--output", str(output)]


def start_training(chunk, output, seconds=0.5):
    """Start a training that sleeps so long before each loop: most of a minute in all, which a test strikes."""
    command, environment = training(chunk, output), {**os.environ, "STEP_SECONDS": str(seconds)}
    command += ["--checkpoint-seconds", "0.05"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment)


def split_whole(grid, directory, options):
    """The path of one chunk that holds all pixels of the small grid."""
    assert cli.main(["split", str(grid), "--output", str(directory), *options]) == 0
    return directory / "pixel00-19.npz"


@pytest.fixture(scope="module")
def quick_chunk(tmp_path_factory):
    directory = tmp_path_factory.mktemp("quick")
    return split_whole(write_small_grid(directory / "grid.npz"), directory, QUICK)


@pytest.fixture(scope="module")
def long_chunk(tmp_path_factory):
    """A chunk file and its trained chunk, made without any interruption."""
    directory = tmp_path_factory.mktemp("long")
    chunk = split_whole(write_small_grid(directory / "grid.npz"), directory, LONG)
    undisturbed = directory / "undisturbed.npz"
    assert cli.main(["train", str(chunk), "--output", str(undisturbed)]) == 0
    return chunk, undisturbed


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_again_and_again_it_ends_with_the_same_bits(long_chunk, tmp_path, how):
    chunk, undisturbed = long_chunk
    output = tmp_path / "trained.npz"
    checkpoint = checkpoint_path(output)
    for kill in range(3):
        before = checkpoint.stat().st_mtime_ns if kill else 0
        job = start_training(chunk, output)
        wait_for(lambda before=before: checkpoint.exists() and checkpoint.stat().st_mtime_ns != before)
        job.send_signal(how)
        _, said = job.communicate(timeout=PATIENCE)
        assert job.returncode == (130 if how is signal.SIGINT else -how)
        assert not output.exists()
        assert "Traceback" not in said
        assert ("resuming" in said) == (kill > 0)
    job = start_training(chunk, output, seconds=0.0)
    _, said = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0 and "resuming" in said
    assert same_but_seconds(output, undisturbed)
    assert not checkpoint.exists(), "nothing is left behind after success"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".npz" and "trained" not in path.name] == []


def test_two_writers_of_one_chunk_are_harmless(long_chunk, tmp_path):
    chunk, undisturbed = long_chunk
    output = tmp_path / "trained.npz"
    jobs = [start_training(chunk, output, seconds=0.01) for _ in range(2)]
    for job in jobs:
        job.communicate(timeout=PATIENCE)
        assert job.returncode == 0
    assert same_but_seconds(output, undisturbed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trained.npz"]


def test_a_checkpoint_of_other_settings_or_another_chunk_is_not_used(long_chunk, quick_chunk, tmp_path, capsys):
    chunk, _ = long_chunk
    output = tmp_path / "trained.npz"
    job = start_training(chunk, output)
    wait_for(checkpoint_path(output).exists)
    job.kill()
    job.communicate()
    stale = checkpoint_path(output).read_bytes()
    fresh = tmp_path / "fresh.npz"
    assert cli.main(["train", str(quick_chunk), "--output", str(fresh)]) == 0
    assert cli.main(["train", str(quick_chunk), "--output", str(output)]) == 0
    assert "another grid, chunk, version or settings: not used" in capsys.readouterr().err
    assert same_but_seconds(output, fresh)
    for damaged in (stale[: len(stale) // 2], b"", b"no zip"):
        checkpoint_path(output).write_bytes(damaged)
        assert cli.main(["train", str(quick_chunk), "--output", str(output)]) == 0
        assert "cannot be read" in capsys.readouterr().err
        assert same_but_seconds(output, fresh)


def test_a_full_disk_costs_the_checkpoint_not_the_training(quick_chunk, tmp_path, monkeypatch, capsys):
    fresh, output = tmp_path / "fresh.npz", tmp_path / "trained.npz"
    assert cli.main(["train", str(quick_chunk), "--output", str(fresh)]) == 0

    def no_room(*_):
        raise PayneflowError(f"{checkpoint_path(output)}: cannot be written: No space left on device")

    monkeypatch.setattr("payneflow.chunks.train.write_checkpoint", no_room)
    assert cli.main(["train", str(quick_chunk), "--output", str(output), "--checkpoint-seconds", "0"]) == 0
    assert "No space left on device" in capsys.readouterr().err
    assert same_but_seconds(output, fresh)


def test_a_full_disk_leaves_no_half_file(pieces, tmp_path):
    """A limit on the size of a file has the same effect on its writer as a full disk, and can be set by anyone."""
    script = "import resource, signal, sys; from payneflow import cli; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    script += "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); sys.exit(cli.main(sys.argv[1:]))"
    target = tmp_path / "limited"
    arguments = ["gather", *map(str, pieces), "--network", str(target / "n.npz"), "--record", str(target / "r.ecsv")]
    run = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 2 and "n.npz: cannot be written" in run.stderr
    assert list(target.iterdir()) == []


def test_a_pixel_that_cannot_be_trained_is_flagged_and_stops_nothing(small_grid, tmp_path, monkeypatch):
    """Plant an undefined weight in the first network of one pixel: the others do not notice."""
    from payneflow.training.sgd import SgdTrainer

    whole = weights(trained(small_grid, tmp_path / "whole"))
    new_network = SgdTrainer.new_network

    def poisoned(self, pixel, restart, flux, relevance):
        return new_network(self, pixel, restart, flux, relevance) * (np.nan if pixel == 4 else 1.0)

    monkeypatch.setattr(SgdTrainer, "new_network", poisoned)
    networks, record = gather_chunks(trained(small_grid, tmp_path / "poisoned"))
    others = np.arange(20) != 4
    assert record["end"][4] == "failed" and np.isnan(record["deviation"][4])
    assert np.isnan(networks.w_array_0[4]).all() and (networks.w_array_0[others] == whole["w_array_0"][others]).all()


# ----------------------------------------------------------------------------------------------------------- progress


def progress_of(chunk, output):
    trainer, settings, seed = read_training(chunk)
    return read_progress(progress_path(output), "pixel00-19", settings_record(trainer, settings, seed))


def test_a_job_reports_its_progress_in_numbers_through_interruption_to_the_end(long_chunk, tmp_path, monkeypatch):
    chunk, undisturbed = long_chunk
    output = tmp_path / "trained.npz"
    job = start_training(chunk, output)
    wait_for(lambda: progress_of(chunk, output))
    assert (found := progress_of(chunk, output)).state == "running" and found.n_pixel == 20
    assert abs(found.time - time.time()) < PATIENCE
    wait_for(checkpoint_path(output).exists)
    job.send_signal(signal.SIGINT)
    job.communicate(timeout=PATIENCE)
    assert progress_of(chunk, output).state == "interrupted"
    monkeypatch.setenv("STEP_SECONDS", "0")
    subprocess.run([*training(chunk, output), "--keep-checkpoint"], check=True, timeout=PATIENCE)
    found = progress_of(chunk, output)
    assert (found.state, found.n_done) == ("done", 20) and found.rate > 0
    assert same_but_seconds(output, undisturbed)
    files = str(output), "--network", str(tmp_path / "network.npz"), "--record", str(tmp_path / "record.ecsv")
    assert cli.main(["gather", *files]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.npz", "record.ecsv", "trained.npz"]


def test_a_job_that_fails_says_why(quick_chunk, tmp_path, monkeypatch):
    def fail(self):
        raise MemoryError("no room")

    output = tmp_path / "trained.npz"
    monkeypatch.setattr("payneflow.training.sgd.SgdTrainer.advance", fail)
    with pytest.raises(MemoryError):
        cli.main(["train", str(quick_chunk), "--output", str(output)])
    found = progress_of(quick_chunk, output)
    assert (found.state, found.reason, found.n_done) == ("failed", "MemoryError: no room", 0)


def test_a_full_disk_costs_the_progress_not_the_training(quick_chunk, tmp_path, monkeypatch, capsys):
    def no_room(path):
        raise PayneflowError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr("payneflow.chunks.progress_file.whole_file", no_room)
    output = tmp_path / "trained.npz"
    assert cli.main(["train", str(quick_chunk), "--output", str(output)]) == 0
    assert "trained.progress.json: cannot be written: No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["trained.npz"]


def test_progress_on_a_terminal_is_one_line_and_in_a_log_timestamped_lines(long_chunk, tmp_path, monkeypatch):
    """For the log there are no pauses; for the terminal it takes two seconds or more, so that the line is renewed."""
    monkeypatch.setenv("STEP_SECONDS", "0")
    chunk, _ = long_chunk
    command = training(chunk, tmp_path / "out.npz")
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stderr
    assert "\r" not in log
    lines = log.splitlines()
    assert len(lines) == 2 and "20 of 20 pixels done, 0 converged" in lines[1]
    assert all(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S") for line in lines)
    terminal, its_other_end = pty.openpty()
    monkeypatch.setenv("STEP_SECONDS", "0.03")
    subprocess.run(command, stderr=its_other_end, check=True, timeout=PATIENCE)
    os.close(its_other_end)
    shown = os.read(terminal, 100_000).decode()
    assert shown.count("\r\x1b[K") >= 2, "the line was renewed"
    assert "20 of 20 pixels done, 0 converged" in shown.splitlines()[-1]


def test_gather_is_told_a_resolution_that_the_grid_does_not_say(pieces, tmp_path, capsys):
    """`pieces` are chunks of a grid without one; fits with broadening ask for it."""
    network, record = tmp_path / "net.npz", tmp_path / "record.ecsv"

    def gathered(*options):
        return cli.main(["gather", *map(str, pieces), "--network", str(network), "--record", str(record), *options])

    assert gathered() == 0 and read_networks(network).resolution == 0.0
    assert gathered("--grid-resolution", "22500") == 0 and read_networks(network).resolution == 22500.0
    for wrong in ("-3", "inf", "nan"):
        assert gathered("--grid-resolution", wrong) == 2
        assert "expected R = wavelength / FWHM" in capsys.readouterr().err


def test_gather_refuses_another_resolution_than_the_grids(small_grid, tmp_path):
    stored = dict(np.load(small_grid)) | {"resolution": np.array(22500.0)}
    np.savez(tmp_path / "told.npz", **stored)
    paths = trained(tmp_path / "told.npz", tmp_path / "chunks")
    assert gather_chunks(paths, grid_resolution=22500.0)[0].resolution == 22500.0
    with pytest.raises(SettingsError, match="grid_resolution is 20000, but the grid of these chunks said .* 22500"):
        gather_chunks(paths, grid_resolution=20000.0)
