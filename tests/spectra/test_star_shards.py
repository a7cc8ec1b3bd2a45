"""Stars in pieces are cut into shards of whole stars, wherever their spectra lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.errors import SettingsError, SpectraError, SpectraWarning
from payneflow.spectra import find_star_shard, make_layout, plan_star_shards, read_spectra

LAYOUT, AXIS = make_layout(uncertainty="flux_error"), np.linspace(15000, 15010, 5)


def write_files(directory, stars_of_files):
    """A file for each list of stars; the flux of a spectrum says its number among all."""
    paths, number = [], 0
    for k, stars in enumerate(stars_of_files):
        paths.append(directory / f"night{k}.npz")
        flux = 1.0 + 0.01 * np.arange(number, number + len(stars))[:, None] * np.ones(5)
        np.savez(paths[-1], wavelength=AXIS, flux=flux, flux_error=np.full(5, 0.1), identifier=np.array(stars))
        number += len(stars)
    return paths


@settings(max_examples=30)
@given(
    files=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=5),
    shard_size=st.integers(1, 20),
)
def test_shards_hold_every_star_once_and_whole(tmp_path_factory, files, shard_size):
    paths = write_files(tmp_path_factory.mktemp("stars"), files)
    every = [star for stars in files for star in stars]
    shards = plan_star_shards(paths, LAYOUT, shard_size)
    known = list(dict.fromkeys(every))
    assert [star for shard in shards for star in dict.fromkeys(shard.star.tolist())] == list(map(str, known))
    assert [n for shard in shards for n in shard.selection] == list(range(len(known)))
    for shard in shards:
        own = known[shard.selection.start : shard.selection.stop]
        assert shard.numbers.tolist() == [i for i, star in enumerate(every) if star in own]
        assert len(shard.numbers) <= shard_size or len(own) == 1, "no larger than asked for, but for one star"
        batches = list(read_spectra(shard.paths, LAYOUT, AXIS, selection=shard.runs, names=shard.names))
        assert [round(100 * (flux[0] - 1)) for batch in batches for flux in batch.flux] == shard.numbers.tolist()
        assert [name for batch in batches for name in batch.identifier] == shard.star.tolist()
        assert {path for batch in batches for path in batch.path} == set(map(str, shard.paths)), "no file in vain"
        again = find_star_shard(paths, LAYOUT, shard.selection)
        assert again.digest == shard.digest and (again.n_star, again.n_all) == (len(known), len(every))
    names = [shard.name for shard in shards]
    assert sorted(set(names)) == names and len({shard.digest for shard in shards}) == len(shards)


def test_a_damaged_file_is_a_star_of_its_own_and_a_moved_star_is_another_shard(tmp_path):
    paths = write_files(tmp_path, [[1, 2], [2, 1], [1, 3]])
    before = [shard.digest for shard in plan_star_shards(paths, LAYOUT, 3)]
    paths[1].write_bytes(b"damaged")
    shards = plan_star_shards(paths, LAYOUT, 3)
    assert [shard.star.tolist() for shard in shards] == [["1", "2", "1"], ["night1", "3"]]
    assert before[0] != shards[0].digest and [len(shard.paths) for shard in shards] == [2, 2]
    with pytest.warns(SpectraWarning, match="Recorded as failed"):
        batches = list(read_spectra(shards[1].paths, LAYOUT, AXIS, selection=shards[1].runs, names=shards[1].names))
    assert [name for batch in batches for name in batch.identifier] == ["night1", "3"]


def test_what_cannot_be_meant_is_said(tmp_path):
    paths = write_files(tmp_path, [[1, 2], [2, 1]])
    with pytest.raises(SpectraError, match="there are 2 stars in 2 files, and none of 2:9"):
        find_star_shard(paths, LAYOUT, range(2, 9))
    with pytest.raises(SettingsError, match="shard_size is 0"):
        plan_star_shards(paths, LAYOUT, 0)
    with pytest.raises(SpectraError, match="no such file"):
        plan_star_shards([tmp_path / "none.npz"], LAYOUT, 10)
