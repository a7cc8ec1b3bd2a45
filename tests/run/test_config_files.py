"""config.yaml and its schema are what the declarations of the settings say."""

import pytest
import yaml
from conftest import ROOT
from jsonschema import Draft202012Validator

from payneflow.errors import SettingsError
from payneflow.run import config_files
from payneflow.run.config import Config, check_config, values_of

SCHEMA = yaml.safe_load(config_files.schema_text())
DEFAULTS = values_of(Config())


@pytest.mark.parametrize(
    ("path", "text"),
    [(config_files.CONFIG, config_files.config_text()), (config_files.SCHEMA, config_files.schema_text())],
)
def test_both_files_are_those_of_the_declarations_line_by_line(path, text):
    stored = (ROOT / path).read_text(encoding="utf-8").splitlines()
    assert stored == text.splitlines(), "change the declaration, then: python -m payneflow.run.config_files"


def test_both_files_are_written_in_a_checkout_and_nowhere_else(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert config_files.main() == 2 and "run this in a checkout" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / config_files.SCHEMA.parent).mkdir(parents=True)
    assert config_files.main() == 0
    for path in (config_files.CONFIG, config_files.SCHEMA):
        assert (tmp_path / path).read_bytes() == (ROOT / path).read_bytes()


def test_the_written_config_gives_the_declared_defaults_back():
    config = yaml.safe_load(config_files.config_text())
    assert config == DEFAULTS and list(config) == list(DEFAULTS)
    assert check_config(config) == Config()
    assert all(len(line) <= 120 for line in config_files.config_text().splitlines())


@pytest.mark.parametrize("value", ["auto", "::", "a b", "yes", "null", "1e3", "", "é: #", 500.0, 1e-5, True, [], {}])
def test_a_value_is_written_so_that_it_is_read_back(value):
    line = f"name: {config_files._yaml(value)}"
    back = yaml.safe_load(line)["name"]
    assert (float(back) if isinstance(value, float) else back) == value


def with_(name, value):
    """The defaults with another value of `name`, such as fit.layout.format."""
    *places, last = name.split(".")
    config = section = yaml.safe_load(config_files.config_text())
    for place in places:
        section = section[place]
    section[last] = value
    return config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk_size", 0),
        ("chunk_size", "many"),
        ("ranks", 1.5),
        ("pixels", 6602),
        ("trainer", "adam"),
        ("chunksize", 3),
        ("lm.virtual_weight", 1.1),
        ("sgd.num_epochs", 199),
        ("fit.layout.mask_bits", [63]),
        ("fit.layout.format", "tar"),
        ("fit.fixed", {"logg": None}),
        ("fit.fixed", {"logg": "high"}),
        ("fit.priors", {"logg": [1, 0]}),
        ("fit.priors", {"logg": [1]}),
        ("fit.velocity", 1),
        ("fit.max_velocity", 30001),
        ("fit.spectra", [""]),
    ],
)
def test_the_schema_refuses_what_the_check_refuses(name, value):
    config = with_(name, value)
    assert list(Draft202012Validator(SCHEMA).iter_errors(config)) != []
    with pytest.raises(SettingsError):
        check_config(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk_size", 7),
        ("lm.virtual_weight", 0),
        ("fit.layout.mask_bits", [0, 62]),
        ("fit.fixed", {"logg": 2}),
        ("fit.priors", {"logg": [1, 0.1]}),
        ("fit.spectra", ["*.fits"]),
    ],
)
def test_the_schema_takes_what_the_check_takes(name, value):
    config = with_(name, value)
    Draft202012Validator.check_schema(SCHEMA)
    assert list(Draft202012Validator(SCHEMA).iter_errors(config)) == []
    assert values_of(check_config(config)) == config
