"""More chunks than a command line can hold: planned by Snakemake, and gathered from stand-in files."""

import io
import re
import zipfile
import zlib

import numpy as np
from conftest import write_small_grid
from workflow_runs import new_directory, planned, snakemake

from payneflow import cli, read_networks
from payneflow.files import write_list
from payneflow.stored_arrays import CHECKSUM, checksum_of

N_PLANNED = 2_000  # jobs: Snakemake takes eight seconds; for 10 000 it takes a minute, and nothing else differs
N_GATHERED = 10_000  # their paths have 230 characters each: 2.3 MB, more than the 2 MB of arguments that Linux takes
BEFORE_AND_AFTER = ("check_grid", "split_pixels", "gather_networks")
SHORT = ["--trainer", "sgd", "--num-epochs", "200", "--trial-epochs", "200", "--max-iter", "1"]


def test_two_thousand_chunks_are_planned_and_the_command_that_gathers_them_stays_short(tmp_path):
    directory = new_directory(tmp_path / "run", pixels="::", chunk_size=1)
    grid = write_small_grid(directory / "grid.npz", n_pixel=N_PLANNED)
    asked = ["--dry-run", "--printshellcmds", "--config", f"grid={grid}"]
    status, output = snakemake(directory, "results/neural_network.npz", *asked)
    assert status == 0, output[-2000:]
    assert planned(output) == {"train_chunk": N_PLANNED, **dict.fromkeys(BEFORE_AND_AFTER, 1)}
    (command,) = re.findall(r"^Shell command: *(payneflow gather .*)$", output, flags=re.MULTILINE)
    assert len(command) < 300
    (split,) = re.findall(r"^Shell command: *(payneflow split .*)$", output, flags=re.MULTILINE)
    assert len(split) < 1000
    (path,) = re.findall(r"--list (\S+)", command)
    assert len((directory / path).read_text().splitlines()) == N_PLANNED


class StandIns:
    """Files that differ from one trained chunk in a few numbers, written as bytes: 10 000 a second."""

    def __init__(self, arrays):
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        self._bytes, self._places, self._infos = bytearray(stream.getvalue()), {}, {}
        with zipfile.ZipFile(stream) as archive:
            entry = archive.start_dir
            for info in archive.infolist():
                local = info.header_offset
                lengths = [int.from_bytes(self._bytes[local + i : local + i + 2], "little") for i in (26, 28)]
                key = info.filename.removesuffix(".npy")
                self._infos[key] = info
                self._places[key] = entry, local, local + 30 + sum(lengths), info.file_size
                entry += 46 + len(info.filename) + len(info.extra) + len(info.comment)

    def write(self, path, **arrays):
        """A stand-in with these arrays in place of those of the same key, shape and kind."""
        for key, array in arrays.items():
            self._set(key, array)
        self._set(CHECKSUM, np.array(checksum_of(self._infos.values())))
        path.write_bytes(self._bytes)

    def _set(self, key, array):
        entry, local, begin, size = self._places[key]
        content, end = array.tobytes(), begin + size
        self._bytes[end - len(content) : end] = content
        self._infos[key].CRC = zlib.crc32(self._bytes[begin:end])
        checksum = self._infos[key].CRC.to_bytes(4, "little")
        self._bytes[entry + 16 : entry + 20] = self._bytes[local + 14 : local + 18] = checksum


def test_ten_thousand_chunks_are_gathered_from_a_list(tmp_path, capsys):
    grid = write_small_grid(tmp_path / "grid.npz", n_pixel=N_GATHERED)
    split = ["split", str(grid), "--pixels", "0:1", "--output", str(tmp_path / "chunks"), *SHORT]
    assert cli.main(split) == 0
    (chunk,) = (tmp_path / "chunks").glob("*.npz")
    assert cli.main(["train", str(chunk), "--output", str(tmp_path / "one.npz")]) == 0
    with np.load(tmp_path / "one.npz") as stored:
        one = dict(stored)
    one["requested"] = np.array([0, N_GATHERED, 1])
    one["chunk"] = np.array("pixel00000")
    stand_ins, directory = StandIns(one), tmp_path / ("d" * 120) / ("e" * 80)
    directory.mkdir(parents=True)
    pixels = np.random.default_rng(0).permutation(N_GATHERED)
    paths = [directory / f"pixel{pixel:05d}.npz" for pixel in pixels]
    for pixel, path in zip(pixels, paths, strict=True):
        own = {"chunk": np.array(path.stem), "wavelength": np.array([15000 + 0.2 * pixel])}
        stand_ins.write(
            path, pixels=np.array([pixel]), pixel=np.array([pixel]), b_array_1=np.array([float(pixel)]), **own
        )
    write_list(tmp_path / "list.txt", paths)
    assert (tmp_path / "list.txt").stat().st_size > 2 * 1024**2
    network, record = str(tmp_path / "network.npz"), str(tmp_path / "record.ecsv")
    gather = ["gather", "--list", str(tmp_path / "list.txt"), "--network", network, "--record", record]
    assert cli.main(gather) == 0
    assert f"{N_GATHERED} pixels in {N_GATHERED} chunks" in capsys.readouterr().out
    networks = read_networks(network)
    assert networks.b_array_1.tolist() == list(range(N_GATHERED)), "in the order of the pixels"
    assert (networks.w_array_0 == one["w_array_0"]).all() and (np.diff(networks.wavelength) > 0).all()
