"""`payneflow plan`: what it reads, what it estimates, and what it warns of before Slurm would keep silent about it.

Slurm's real sinfo cannot be had in a unit test: `fake_sinfo` puts a script of that name on PATH, which prints what the
real one prints (Slurm 22.05). tests/cluster asks the real one.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.table import Table
from conftest import ROOT, write_small_grid
from hypothesis import given
from hypothesis import strategies as st

from payneflow import cli
from payneflow.chunks.record import write_record
from payneflow.errors import GridError, PayneflowError, SettingsError
from payneflow.run import slurm
from payneflow.run.config import read_config
from payneflow.run.cost import cost_by_law, cost_recorded
from payneflow.run.plan import make_plan, plan_text, plan_warnings
from payneflow.run.profile import read_profile
from payneflow.run.sizing import memory_mb_per_rank, minutes_of_job, runtime_minutes
from payneflow.settings import LmSettings, SgdSettings, settings_record

SINFO = "main*|up|1:00:00|1-infinite|{}|2|8000"  # as the real one prints it: a line for each partition and node
PROFILE = {
    "executor": "slurm",
    "jobs": 100,
    "default-resources": {"slurm_partition": "main", "slurm_account": "lab", "runtime": 10, "ranks": 2},
}


def write_config(directory, **settings):
    """The repository's config.yaml with another grid (24 spectra, 20 pixels) and `settings`; returns its path."""
    directory.mkdir(exist_ok=True)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    grid = write_small_grid(directory / "grid.npz")
    for name, value in {"grid": grid.name, **settings}.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    return directory / "config.yaml"


def write_profile(directory, **settings):
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_text(yaml.safe_dump({**PROFILE, **settings}))
    return read_profile(str(directory))


@pytest.fixture
def fake_sinfo(tmp_path, monkeypatch):
    """Put a sinfo on PATH that prints `lines`; without any, PATH has no Slurm at all."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def write(*lines, status=0, command="sinfo"):
        program = programs / command
        said = "\n".join(lines)
        program.write_text(
            f"#!/bin/sh\nwhile read -r line; do echo \"$line\"; done <<'END'\n{said}\nEND\nexit {status}\n"
        )
        program.chmod(0o755)

    return write


# ------------------------------------------------------------------------------------------------------- the config


def test_the_config_of_the_repository_is_read_as_it_stands():
    config = read_config(ROOT / "config.yaml")
    assert (config.grid, config.results) == (ROOT / "resources/hband_grid.npz", ROOT / "results")
    assert (config.pixels, config.trainer, config.settings, config.seed) == ("::", "lm", LmSettings(), 0)


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("chunk_size=7", "chunk_size", 7),
        ("chunk_size=auto", "chunk_size", None),
        ("pixels=1:50:2", "pixels", "1:50:2"),
        ('pixels="::8"', "pixels", "::8"),
        ("ranks=3", "ranks", 3),
        ("trainer=sgd", "settings", SgdSettings()),
        ("lm={n_neurons: 20, trunc_diff: 3e-3}", "settings", LmSettings(n_neurons=20)),
    ],
)
def test_overrides_are_read_as_snakemake_reads_them(tmp_path, override, name, value):
    assert getattr(read_config(write_config(tmp_path), [override]), name) == value


def test_an_override_leaves_what_else_stands_in_a_section_of_a_section(tmp_path):
    path = write_config(tmp_path, fit={"fixed": {"logg": 2.5}})
    assert read_config(path, ["fit={fixed: {Teff: 5e3}, layout: {flux: f}}"]).fit.fixed == {"logg": 2.5, "Teff": 5000}


def test_paths_of_a_config_start_at_its_own_directory(tmp_path):
    config = read_config(write_config(tmp_path / "there", results="out"))
    assert (config.grid, config.results) == (tmp_path / "there/grid.npz", tmp_path / "there/out")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["chunk_size=0"], "chunk_size is 0, expected a whole number of at least 1, or auto"),
        (["chunk_size=many"], "chunk_size is 'many'"),
        (["chunk_size=true"], "chunk_size is 'true'"),
        (["ranks=1.5"], "ranks is '1.5', expected a whole number of at least 1"),
        (["seed=-1"], "seed is -1"),
        (["trainer=adam"], "trainer is 'adam', expected one of: lm, sgd, theano"),
        (["lm={n_neuron: 3}"], "lm.n_neuron: no such setting; did you mean n_neurons?"),
        (["lm={n_neurons: 0}"], "n_neurons is 0"),
        (["lm=3"], "lm is '3', expected a section"),
        (["chunksize=3"], "chunksize: no such setting; did you mean chunk_size?"),
        (["zzz=3"], "zzz: no such setting; expected grid, grid_keys, "),
        (["chunk_size"], "chunk_size: expected NAME=VALUE"),
        (["grid_keys={flx: a}"], "grid_keys.flx: no such setting; did you mean flux?"),
        (["fit={layout: {format: tar}, start: end}"], "fit.layout.format is 'tar', expected one of: npz, "),
        (["pixels=[1, 2]"], "pixels is ['1', '2'], expected text."),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, overrides, says):
    with pytest.raises(SettingsError) as error:
        read_config(write_config(tmp_path), overrides)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pixels: [1", "not YAML"),
        ("- 1\n- 2", "holds list, expected names and values"),
        ("", "holds NoneType"),
        ("trainer: lm", "grid: missing."),
        ("trainer: lm\ngrid: 3", "grid is 3, expected a file, or a list of files"),
        ("\x00", "not YAML"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, text, says):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SettingsError) as error:
        read_config(tmp_path / "config.yaml")
    assert str(tmp_path / "config.yaml") in str(error.value) and says in str(error.value)


def test_a_config_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match="no such file; expected the settings of a run"):
        read_config(tmp_path / "config.yaml")
    with pytest.raises(SettingsError, match="a directory; expected the settings of a run"):
        read_config(tmp_path)


def test_a_pipe_or_a_device_in_place_of_a_config_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "pipe"), (Path("/dev/zero"), "device")):
        with pytest.raises(SettingsError, match=f"{path}: a {kind}, no file"):
            read_config(path)


SWELLING = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12)
)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("ranks: 2", "not YAML .line [0-9]+ gives 'ranks' a second time"),
        (SWELLING, "more than 10000 entries, aliases counted"),
        ("a: &a [*a]", "more than 10000 entries, aliases counted"),
        (f"a: {'[' * 2000}", "more than 50 lists and sections inside each other"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: 2024-13-45", "month must be in 1..12"),
        (f"a: {'9' * 5000}", "not YAML"),
        (f"a: {'b' * 5000}", "a: no such setting"),
        ("".join(f"a{i}: 1\n" for i in range(3000)), "a19: no such setting.*\n  and 2980 more"),
    ],
)
def test_what_no_settings_are_is_refused_at_once_and_in_a_screen(tmp_path, more, says):
    path = write_config(tmp_path)
    path.write_text(f"{path.read_text()}\n{more}\n")
    with pytest.raises(SettingsError, match=says) as refused:
        read_config(path)
    assert str(path) in str(refused.value) and len(str(refused.value)) < 5000


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (f"ranks={10**400}", "ranks is 1000.* [.][.][.], expected at most 3e[+]38"),
        (f"trainer={'x' * 5000}", "trainer is 'xxx.* [.][.][.], expected"),
        (f"a={'[' * 40000}", "a: no such setting"),
    ],
)
def test_values_beyond_use_are_refused_and_cut_short(tmp_path, setting, says):
    with pytest.raises(SettingsError, match=says) as refused:
        read_config(write_config(tmp_path), [setting])
    assert len(str(refused.value)) < 1000


def test_a_zero_byte_in_a_path_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="grid is 'a.*b', which holds a zero byte"):
        read_config(write_config(tmp_path, grid="a\0b"))


def test_bytes_that_are_no_text_are_no_config(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"grid: \xe9\n")
    with pytest.raises(SettingsError, match="config.yaml: no UTF-8 .* at byte 6"):
        read_config(tmp_path / "config.yaml")


# ------------------------------------------------------------------------------------------------------ the profile


def test_a_profile_says_where_jobs_run_and_with_how_many_ranks(tmp_path):
    profile = write_profile(tmp_path / "slurm")
    assert (profile.is_slurm, profile.partition, profile.account) == (True, "main", "lab")
    assert (profile.ranks, profile.jobs) == (2, 100)
    assert profile.runtime is None, "default-resources do not stand above what the rule asks for"


@pytest.mark.parametrize(
    "settings",
    [
        {"default-resources": ["slurm_partition=main", "ranks=2"]},
        {
            "default-resources": ["slurm_partition=main", "ranks=9"],
            "set-resources": ["train_chunk:tasks=2", "gather:tasks=9"],
        },
        {"default-resources": "slurm_partition='main'", "set-resources": {"train_chunk": ["tasks=2"]}},
    ],
)
def test_resources_may_be_lists_or_text_as_in_snakemake(tmp_path, settings):
    profile = write_profile(tmp_path / "slurm", **settings)
    assert (profile.partition, profile.ranks) == ("main", 2)


def test_the_profiles_of_the_repository_can_be_read():
    for path in (ROOT / "workflow/profiles").glob("*/config.yaml"):
        assert read_profile(str(path.parent)).is_slurm == (path.parent.name == "slurm")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"set-resources": 3}, "set-resources is 3"),
        ({"set-resources": {"train_chunk": {"tasks": 0}}}, "tasks is 0, expected a whole number from 1"),
        ({"default-resources": {"ranks": "two"}}, "ranks is 'two', expected a whole number from 1"),
        ({"set-resources": {"train_chunk": 7}}, "set-resources: train_chunk is 7"),
        ({"jobs": "few"}, "jobs is 'few'"),
        ({"set-resources": {"train_chunk": {"tasks": 10**300}}}, "expected a whole number from 1"),
        ({"default-resources": "ranks=2 'x"}, ": No closing quotation"),
    ],
)
def test_a_wrong_profile_is_named(tmp_path, settings, says):
    with pytest.raises(SettingsError) as error:
        write_profile(tmp_path / "slurm", **settings)
    assert says in str(error.value)


def test_a_missing_profile_is_named_with_those_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SettingsError, match="slumr/config.yaml: no such profile.* workflow/profiles/default"):
        read_profile("slumr")


# --------------------------------------------------------------------------------------------------------- the plan


def test_a_plan_is_made_of_the_config_and_the_functions_of_sizing(tmp_path):
    plan = make_plan(read_config(write_config(tmp_path, chunk_size=8, ranks=2)))
    assert [len(chunk.pixels) for chunk in plan.chunks] == [8, 8, 4]
    assert plan.shape == (24, 20, 3)
    seconds = cost_by_law(plan.config, 12, 3).seconds
    assert plan.minutes == minutes_of_job(8, seconds, 2, on_cluster=False)
    assert plan.runtime == tuple(runtime_minutes(8, seconds, 2, attempt) for attempt in (1, 2, 3))
    assert plan.memory == tuple(memory_mb_per_rank(8, 24, 3, LmSettings(), attempt) for attempt in (1, 2, 3))
    assert plan.core_hours == pytest.approx((3 * 2 * 1.0 + 20 * seconds) / 3600)


def test_ranks_of_the_profile_stand_above_the_config_and_so_do_its_requests(tmp_path):
    config = read_config(write_config(tmp_path / "run", ranks=1, chunk_size="auto"))
    assert make_plan(config).ranks == 1
    assert make_plan(config, write_profile(tmp_path / "slurm")).ranks == 2
    resources = {"train_chunk": {"tasks": 3, "runtime": 90, "mem_mb_per_cpu": "500 * attempt"}}
    plan = make_plan(config, write_profile(tmp_path / "slurm", **{"set-resources": resources}))
    assert plan.ranks == 3
    assert plan.runtime == (90, 90, 90)
    assert plan.memory == tuple(memory_mb_per_rank(20, 24, 3, LmSettings(), attempt) for attempt in (1, 2, 3))


def test_the_text_says_all_that_a_user_wants_to_know(tmp_path):
    text = plan_text(make_plan(read_config(write_config(tmp_path, chunk_size="auto"))))
    for said in (
        "24 spectra, 12 of them to train on, 3 labels",
        "20 of 20 (::)",
        "lm, 10 neurons",
        "(chunk_size: auto)",
    ):
        assert said in text
    assert re.search(r"runtime, minutes +4 +8 +12$", text, re.M), text
    assert "the law of the trainer" in text and "core-hours" in text


def test_a_grid_that_cannot_be_trained_on_is_refused_by_its_headers(tmp_path):
    config = write_config(tmp_path)
    write_small_grid(tmp_path / "grid.npz", labels_array=np.zeros((3, 23)))
    with pytest.raises(GridError, match=r"labels_array has shape \(3, 23\)"):
        make_plan(read_config(config))


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        ({"fixed": {"teff": 5000}}, r"fit.fixed names the label 'teff'; .*grid.npz have Teff, logg, .*mean Teff\?"),
        ({"priors": {"vmic": [3, 1]}}, "fit.priors names the label 'vmic'"),
        ({"fixed": {"logg": 9}}, "fit.fixed logg is 9 dex: beyond the bounds of a fit, "),
    ],
)
def test_labels_that_the_grid_does_not_have_are_refused(tmp_path, fit, says):
    config = read_config(write_config(tmp_path, fit=fit))
    with pytest.raises(SettingsError, match=says):
        make_plan(config)


def test_labels_that_the_grid_has_may_be_held_or_have_priors(tmp_path):
    fit = {"fixed": {"logg": 2.5}, "priors": {"Teff": [5000, 100]}}
    assert make_plan(read_config(write_config(tmp_path, fit=fit))).shape == (24, 20, 3)


def test_the_cost_can_be_measured_on_the_real_grid(tmp_path, capsys):
    path = write_config(tmp_path, lm={"max_iterations": 5}, pixels="::2")
    assert cli.main(["plan", "--config", str(path), "--measure", "4"]) == 0
    said = capsys.readouterr().out
    assert "measured now, 4 pixels evenly spread" in said
    assert cli.main(["plan", "--config", str(path), "--measure", "99"]) == 0
    assert "measured now, 9 pixels evenly spread" in capsys.readouterr().out, "one of the ten is trained first"
    assert cli.main(["plan", "--config", str(path), "--measure", "0"]) == 2
    assert "--measure 0: expected a number of pixels" in capsys.readouterr().err


def record_of(path, settings, seconds):
    table = Table({"seconds": seconds})
    table.meta["settings"] = json.dumps(settings)
    write_record(table, path)
    return path


def test_the_cost_can_be_taken_from_a_training_record_of_the_same_settings(tmp_path):
    config = read_config(write_config(tmp_path))
    record = record_of(tmp_path / "record.ecsv", settings_record("lm", LmSettings(), seed=3), [0.5, 1.0, 1.5])
    assert cost_recorded(config, record).seconds == 1.0
    other = record_of(tmp_path / "other.ecsv", settings_record("lm", LmSettings(n_neurons=20), 0), [1.0])
    with pytest.raises(SettingsError, match="n_neurons was 20 there, but is 'auto' in"):
        cost_recorded(config, other)
    empty = record_of(tmp_path / "empty.ecsv", settings_record("lm", LmSettings(), 0), np.array([], float))
    with pytest.raises(SettingsError, match="holds no pixel"):
        cost_recorded(config, empty)
    with pytest.raises(SettingsError, match="no such file; expected a training record"):
        cost_recorded(config, tmp_path / "none.ecsv")
    (tmp_path / "torn.ecsv").write_bytes(record.read_bytes()[:60])
    with pytest.raises(SettingsError, match="torn.ecsv: not a readable ECSV table"):
        cost_recorded(config, tmp_path / "torn.ecsv")


# ----------------------------------------------------------------------------------------------------- the warnings


def plan_of(tmp_path, profile=None, **settings):
    config = read_config(write_config(tmp_path / "run", **settings))
    return make_plan(config, profile if profile else write_profile(tmp_path / "slurm"))


LONG = {"trainer": "sgd", "sgd": {"num_epochs": 10**8}, "chunk_size": 16}  # some minutes a pixel
IN_TIME = {"trainer": "sgd", "sgd": {"num_epochs": 12 * 10**6}, "chunk_size": 16}  # some minutes a job
SHORT = {"trainer": "sgd", "sgd": {"num_epochs": 4 * 10**5}, "chunk_size": 16}


def test_a_plan_that_fits_has_no_warnings(tmp_path, fake_sinfo):
    fake_sinfo(*(SINFO.format(node) for node in ("n1", "n2", "n3", "n4")))
    plan = plan_of(tmp_path, **IN_TIME)
    assert plan.minutes > 5 and plan.runtime[2] <= 60, plan.minutes
    assert plan_warnings(plan) == []


def test_short_jobs_are_warned_of_with_a_better_size(tmp_path, fake_sinfo):
    fake_sinfo(SINFO.format("n1"))
    (short,) = plan_warnings(plan_of(tmp_path, **{**IN_TIME, "chunk_size": 4}))
    assert "are short: each costs 5 s to start" in short and short.endswith("Of chunk_size 20 there would be 1.")
    (short,) = plan_warnings(plan_of(tmp_path, **{**SHORT, "chunk_size": 20}))
    assert "One core of one machine does everything in" in short


def test_a_plan_for_one_machine_is_not_held_against_slurm(tmp_path, fake_sinfo):
    assert plan_warnings(make_plan(read_config(write_config(tmp_path / "run", **LONG)))) == []


def test_a_job_beyond_the_time_limit_is_said_to_wait_for_ever(tmp_path, fake_sinfo):
    fake_sinfo(*(SINFO.format(node) for node in ("n1", "n2")))
    plan = plan_of(tmp_path, **LONG)
    (late,) = plan_warnings(plan)
    assert f"attempt 1 asks for {plan.runtime[0]} minutes, partition main allows 60: that job would be pending" in late
    fake_sinfo(SINFO.format("n1").replace("1:00:00", "infinite"), SINFO.format("n2").replace("1:00:00", "infinite"))
    assert plan_warnings(plan) == []


def test_a_retry_that_asks_for_too_much_time_is_warned_of(tmp_path, fake_sinfo):
    plan = plan_of(tmp_path, **IN_TIME)
    fake_sinfo(SINFO.format("n1").replace("1:00:00", f"{plan.runtime[0]}:00"))
    assert [warning[:9] for warning in plan_warnings(plan)] == ["attempt 2"]


@pytest.mark.parametrize(
    ("tasks", "memory", "nodes", "job_size", "fits"),
    [
        (8, 3800, 4, "1-infinite", True),
        (9, 3800, 4, "1-infinite", False),  # eight cores
        (4, 4200, 4, "1-infinite", True),
        (5, 4200, 4, "1-infinite", False),  # of so much memory one fits on a node
        (1, 8200, 4, "1-infinite", False),  # no node has that
        (4, 3800, 4, "1-2", True),
        (5, 3800, 4, "1-2", False),  # two nodes at most
    ],
)
def test_cores_and_memory_that_no_job_can_have_are_warned_of(
    tmp_path, fake_sinfo, tasks, memory, nodes, job_size, fits
):
    fake_sinfo(*(SINFO.format(f"n{node}").replace("1-infinite", job_size) for node in range(nodes)))
    resources = {"train_chunk": {"tasks": tasks, "runtime": 30, "mem_mb_per_cpu": memory}}
    profile = write_profile(tmp_path / "slurm", **{"set-resources": resources})
    wide = [warning for warning in plan_warnings(plan_of(tmp_path, profile, **LONG)) if "has room" in warning]
    assert len(wide) == (not fits)
    if wide:
        assert f"attempt 1 asks for {tasks} cores with {memory} MB each" in wide[0]


def test_a_partition_that_slurm_does_not_know_is_an_error_that_names_those_it_knows(tmp_path, fake_sinfo, capsys):
    fake_sinfo(SINFO.format("n1"), SINFO.format("n1").replace("main*", "long"))
    config = write_config(tmp_path / "run", **LONG)
    write_profile(tmp_path / "slurm", **{"default-resources": {"slurm_partition": "mian"}})
    assert cli.main(["plan", "--config", str(config), "--profile", str(tmp_path / "slurm")]) == 2
    said = capsys.readouterr().err
    assert "slurm_partition is 'mian'; expected one of Slurm's partitions: main, long" in said


def test_without_a_partition_the_default_one_is_meant(tmp_path, fake_sinfo):
    fake_sinfo(SINFO.format("n1").replace("main*", "other").replace("1:00:00", "1:00"), SINFO.format("n1"))
    profile = write_profile(tmp_path / "slurm", **{"default-resources": {}})
    assert "partition main allows 60" in plan_warnings(plan_of(tmp_path, profile, **LONG))[0]
    fake_sinfo(SINFO.format("n1").replace("main*", "main"))
    with pytest.raises(SettingsError, match="no slurm_partition is set, and Slurm has no default"):
        plan_warnings(plan_of(tmp_path, profile, **LONG))


def test_a_partition_that_is_down_is_warned_of(tmp_path, fake_sinfo):
    fake_sinfo(SINFO.format("n1").replace("|up|", "|down|"))
    assert "partition main is not up" in plan_warnings(plan_of(tmp_path, **LONG))[0]


def test_without_slurm_the_plan_is_made_and_says_that_the_partition_was_not_checked(tmp_path, fake_sinfo, capsys):
    config = write_config(tmp_path / "run", **LONG)
    write_profile(tmp_path / "slurm")
    command = ["plan", "--config", str(config), "--profile", str(tmp_path / "slurm")]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "core-hours" in said
    assert "the partition was not checked: sinfo, a command of Slurm, is not on PATH here" in said
    fake_sinfo(status=1)
    assert cli.main(command) == 0
    assert "the partition was not checked: sinfo failed" in capsys.readouterr().out


def test_a_slurm_that_does_not_answer_is_not_waited_for(tmp_path, fake_sinfo, monkeypatch):
    monkeypatch.setattr(slurm, "PATIENCE", 0.1)
    fake_sinfo()
    program = Path(os.environ["PATH"]) / "sinfo"
    program.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    with pytest.raises(PayneflowError, match="does not answer within"):
        slurm.read_partitions()


def test_more_chunks_than_places_are_warned_of(tmp_path, fake_sinfo):
    fake_sinfo(*(SINFO.format(node) for node in ("n1", "n2")))
    profile = write_profile(tmp_path / "slurm", jobs=3)
    warnings = plan_warnings(plan_of(tmp_path, profile, **{**LONG, "chunk_size": 1}))
    assert any("20 chunks, but the profile submits 3 jobs at a time" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("1:00:00", 60), ("30:00", 30), ("2-12:30:00", 3630), ("0:30", 0.5), ("infinite", None), ("n/a", None)],
)
def test_time_limits_are_read_as_slurm_writes_them(limit, minutes):
    assert slurm.minutes_of(limit) == minutes


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_every_time_limit_is_read_back(days, hours, minutes, seconds):
    expected = 1440 * days + 60 * hours + minutes + seconds / 60
    assert slurm.minutes_of(f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}") == pytest.approx(expected)


def test_help_has_an_example(capsys):
    for name in ("plan", "status"):
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        assert f"example:\n  payneflow {name} " in capsys.readouterr().out
