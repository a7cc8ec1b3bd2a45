"""`payneflow init`: the files of the workflow in a directory, whole or not at all, and nothing overwritten."""

import os

import pytest
import yaml
from conftest import ROOT

from payneflow import __version__, cli, shipped
from payneflow.errors import PayneflowError
from payneflow.files import whole_file
from payneflow.run import new_run
from payneflow.run.new_run import DEMO, LINKS, write_run

ODD = """é "mine" it's $HOME {a} 星"""


def names_in(directory):
    return sorted(one.name for one in directory.iterdir())


def files_in(directory):
    return {str(one.relative_to(directory)): one for one in directory.rglob("*") if one.is_file()}


def test_the_files_are_those_of_the_checkout_byte_for_byte_but_for_the_name_of_payneflow(tmp_path):
    written = write_run(tmp_path / ODD / "stars", demo=True)
    there = files_in(tmp_path / ODD / "stars")
    assert len(written) == len(there) + len(LINKS)
    assert {"Snakefile", "config.yaml", "workflow/rules/train.smk", "workflow/report/workflow.rst", *DEMO} <= set(there)
    assert set(there) <= set(files_in(ROOT))
    for name, path in there.items():
        if not name.startswith("envs/"):
            assert path.read_bytes() == (ROOT / name).read_bytes(), name
            assert os.access(path, os.X_OK) == os.access(ROOT / name, os.X_OK), name
    assert (tmp_path / ODD / "stars/slurm/config.yaml").samefile(
        tmp_path / ODD / "stars/workflow/profiles/slurm/config.yaml"
    )


@pytest.mark.parametrize("name", ["payneflow", "theano"])
def test_the_conda_environments_install_this_version_by_name(tmp_path, name):
    write_run(tmp_path)
    ours, theirs = (yaml.safe_load((top / f"envs/{name}.yaml").read_text()) for top in (ROOT, tmp_path))
    (of_checkout,), (of_release,) = ours["dependencies"].pop()["pip"], theirs["dependencies"].pop()["pip"]
    extras = of_checkout.removeprefix("../..")
    assert extras.startswith("[") and of_release == f"payneflow{extras}=={__version__}"
    assert ours == theirs


def test_the_grid_comes_on_request_and_files_of_the_same_content_stay(tmp_path):
    assert not any("resources" in str(path) for path in write_run(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in files_in(tmp_path).values()}
    assert sorted(str(path.relative_to(tmp_path)) for path in write_run(tmp_path, demo=True)) == sorted(DEMO)
    assert write_run(tmp_path, demo=True) == []
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda top: (top / "config.yaml").write_text("grid: mine.npz"), "config.yaml"),
        (lambda top: (top / "Snakefile").mkdir(), "Snakefile"),
        (lambda top: (top / "slurm").symlink_to("elsewhere"), "slurm"),
        (lambda top: (top / "workflow").write_text("notes"), "workflow"),
        (lambda top: (top / "config.yaml").symlink_to("nowhere"), "config.yaml"),
    ],
    ids=["file", "directory", "link", "file for a directory", "dangling link"],
)
def test_what_is_in_the_way_is_named_and_nothing_is_written(tmp_path, capsys, make, named):
    make(tmp_path)
    before = names_in(tmp_path)
    assert cli.main(["init", str(tmp_path), "--demo"]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith(f"payneflow init: error: {tmp_path}: {named}: there already") and "Nothing was written" in said
    )
    assert names_in(tmp_path) == before


def test_many_files_in_the_way_are_counted(tmp_path):
    write_run(tmp_path)
    for path in (tmp_path / "workflow").rglob("*.smk"):
        path.write_text("mine")
    with pytest.raises(PayneflowError, match=r"workflow/rules/evaluate.smk, .*smk( and \d+ more)?: there already"):
        write_run(tmp_path)
    for path in (tmp_path / "workflow").rglob("*.rst"):
        path.write_text("mine")
    with pytest.raises(PayneflowError, match=r" and \d+ more: there already"):
        write_run(tmp_path)


def test_a_file_where_the_directory_should_be(tmp_path):
    (tmp_path / "stars").write_text("a list")
    for name in ("stars", "stars/mine"):
        with pytest.raises(PayneflowError, match=r"/stars: a file, not a directory"):
            write_run(tmp_path / name)
    assert (tmp_path / "stars").read_text() == "a list"


@pytest.mark.parametrize("name", ["new/stars", "."])
def test_a_disk_that_is_full_leaves_nothing_behind(tmp_path, monkeypatch, name):
    (tmp_path / "notes.txt").write_text("mine")

    def full(path):
        if path.name == "fit.smk":
            raise PayneflowError(f"{path}: cannot be written: No space left on device.")
        return whole_file(path)

    monkeypatch.setattr(new_run, "whole_file", full)
    with pytest.raises(PayneflowError, match=r"fit.smk: cannot be written"):
        write_run(tmp_path / name)
    assert names_in(tmp_path) == ["notes.txt"]


def test_a_file_system_without_links_is_said_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def without(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(type(tmp_path), "symlink_to", without)
    with pytest.raises(
        PayneflowError, match=r"slurm: no link can be made here: Operation not permitted. Name a directory"
    ):
        write_run(tmp_path / "stars")
    assert names_in(tmp_path) == []


def test_an_installation_that_lacks_a_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "IN_A_WHEEL", tmp_path)
    with pytest.raises(PayneflowError, match=r"config.yaml: missing from this installation"):
        write_run(tmp_path / "stars")
    assert names_in(tmp_path) == []


def test_the_command_says_what_to_do_next(tmp_path, capsys):
    place = str(tmp_path / "my stars")
    assert cli.main(["init", place]) == 0
    said = capsys.readouterr().out
    assert f"cd '{place}'" in said and "payneflow check GRID" in said
    assert "snakemake --workflow-profile workflow/profiles/default" in said
    assert cli.main(["init", place, "--demo"]) == 0 and "check GRID" not in capsys.readouterr().out
    assert cli.main(["init", place, "--demo"]) == 0 and "all is there already" in capsys.readouterr().out
