"""What is known of files: as long as they do not change, and whatever their date, name and place."""

import hashlib
import os
import shutil

import pytest

from payneflow import cli
from payneflow.run.known import SETTLED, Known, digest_of, outdated, read_digest, write_digest


class Asked:
    """Says the size of a file, and remembers how often it was asked."""

    def __init__(self):
        self.times = 0

    def __call__(self, path):
        self.times += 1
        return path.stat().st_size


@pytest.fixture
def settled(monkeypatch):
    """Files that were written this moment are taken for settled."""
    monkeypatch.setattr("payneflow.run.known.SETTLED", -1.0)


def test_a_file_is_read_once_until_it_changes(tmp_path, settled):
    path, store, asked = tmp_path / "it's {a} é", tmp_path / "known.json", Asked()
    path.write_text("abc")
    for _ in range(2):
        known = Known(store)
        assert known.of(path, asked) == 3 and known.of(path, asked) == 3
        known.save()
    assert asked.times == 1
    assert known.of(path, asked, again=True) == 3 and asked.times == 2
    dates = path.stat()
    path.write_text("xyz")
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))  # the same size and the same date
    assert Known(store).of(path, asked) == 3 and asked.times == 3
    with pytest.raises(FileNotFoundError):
        known.of(tmp_path / "nowhere", asked)


def test_what_was_written_this_moment_is_looked_at_again(tmp_path):
    path, known, asked = tmp_path / "new", Known(tmp_path / "known.json"), Asked()
    path.write_text("abc")
    assert SETTLED > 0 and known.of(path, asked) == known.of(path, asked) == 3 and asked.times == 2


@pytest.mark.parametrize("junk", ["", "[1]", "{", '{"x": 3}', '{"PATH": [1, 2, 3]}'])
def test_what_is_known_may_be_lost(tmp_path, settled, junk):
    path, store = tmp_path / "file", tmp_path / "known.json"
    path.write_text("abc")
    store.write_text(junk.replace("PATH", str(path)))
    assert Known(store).of(path, Asked()) == 3
    nowhere = Known(tmp_path / "nowhere/known.json")
    nowhere.of(path, Asked())
    nowhere.save()
    assert not (tmp_path / "nowhere").exists()


def test_digests_are_of_the_content_alone(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text(path.name)
    known = Known(None)
    assert digest_of(paths[:1], known) == hashlib.sha256(b"a").hexdigest()
    both = digest_of(paths, known)
    assert both != digest_of(paths[::-1], known)
    (tmp_path / "elsewhere").mkdir()
    moved = [shutil.copy(path, tmp_path / f"elsewhere/other {path.name}") for path in paths]
    assert digest_of(moved, known) == both
    assert len({both, digest_of([paths[0], tmp_path / "gone"], known), digest_of([paths[0], tmp_path], known)}) >= 2


def test_a_digest_file_is_outdated_where_it_says_something_else_or_is_not_there(tmp_path):
    grid, link, digest = tmp_path / "grid", tmp_path / "link", tmp_path / "known/grid.json"
    grid.write_text("abc")
    link.symlink_to(grid)
    pairs = [(digest, [link])]
    assert outdated(pairs, Known(None)) == [digest], "not there"
    write_digest(digest, digest_of([link], Known(None)))
    assert outdated(pairs, Known(None)) == []
    os.utime(grid)
    assert outdated(pairs, Known(None)) == [], "touched"
    grid.write_text("abd")
    os.utime(grid, (1, 1))
    assert outdated(pairs, Known(None)) == [digest], "another of older date"
    digest.write_text("junk")
    assert read_digest(digest) is None and outdated(pairs, Known(None)) == [digest]


def test_the_command_says_a_digest_and_writes_it(tmp_path, capsys):
    path, output = tmp_path / "a {x}", tmp_path / "digest.json"
    path.write_text("abc")
    (tmp_path / "list").write_text(f"{path}\n")
    sha = hashlib.sha256(b"abc").hexdigest()
    command = ["digest", "--list", str(tmp_path / "list"), "--output", str(output), "--known", str(tmp_path / "known")]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"{sha}\n" and read_digest(output) == sha
    assert cli.main(["digest", str(tmp_path / "nowhere")]) == 0
    assert "nowhere: cannot be read; its digest says that alone" in capsys.readouterr().err
    assert cli.main(["digest", str(path), "--output", str(path)]) == 2 and path.read_text() == "abc"
