"""Tables of stars that a design is for, and tables of spectra to compute."""

import numpy as np
import pytest
from astropy.table import Table

from payneflow import cli
from payneflow.design.stars import Stars, read_stars
from payneflow.design.table import read_design
from payneflow.errors import SettingsError

RNG = np.random.default_rng(5)
LABELS = np.column_stack([RNG.uniform(4000, 5000, 30), RNG.uniform(1, 3, 30)])


def table(path, **columns):
    Table(columns or {"Teff": LABELS[:, 0], "logg": LABELS[:, 1]}, units={"Teff": "K"}).write(path)
    return path


def test_rows_without_a_value_are_left_out_and_counted(tmp_path):
    labels = LABELS.copy()
    labels[3, 1] = np.nan
    found = read_stars(table(tmp_path / "a.ecsv", Teff=labels[:, 0], logg=labels[:, 1]), ("Teff", "logg"), 0.05)
    assert found.n_left_out == 1 and len(found.stars.labels) == 29 and found.units == {"Teff": "K", "logg": ""}


def test_what_is_wrong_with_stars_is_said(tmp_path):
    good = table(tmp_path / "good.ecsv")
    with pytest.raises(SettingsError, match=r"no column \[Fe/H\]; it has Teff, logg"):
        read_stars(good, ("Teff", "[Fe/H]"), 0.05)
    with pytest.raises(SettingsError, match="2 different stars.*3 or more are needed"):
        few = np.array([1.0, 2.0, 2.0, 1.0])
        read_stars(table(tmp_path / "few.ecsv", Teff=few, logg=few), ("Teff", "logg"), 0.05)
    with pytest.raises(SettingsError, match="column Teff is .*expected numbers"):
        read_stars(table(tmp_path / "text.ecsv", Teff=["hot"] * 9, logg=LABELS[:9, 1]), ("Teff", "logg"), 0.05)
    with pytest.raises(SettingsError, match="--margin nan"):
        read_stars(good, ("Teff", "logg"), np.nan)
    with pytest.raises(SettingsError, match="all stars have logg = 2"):
        Stars(("Teff", "logg"), np.column_stack([LABELS[:, 0], np.full(30, 2.0)]))


def test_the_command_writes_labels_in_order_with_units_and_how_it_was_made(tmp_path, capsys):
    stars, output = table(tmp_path / "stars.ecsv"), tmp_path / "first.ecsv"
    words = ["design", "first", "-n", "40", "--labels", "logg", "[Fe/H]", "Teff", "--like", str(stars)]
    words += ["--range", "[Fe/H]=-2:0.5", "--where", "[Fe/H] < 3 - logg", "--unit", "logg=dex", "--output", str(output)]
    assert cli.main(words) == 0
    labels, names, units = read_design(output)
    assert labels.shape == (40, 3) and names == ("logg", "[Fe/H]", "Teff") and units == ("dex", "", "K")
    meta = Table.read(output).meta
    assert (
        meta["command"].startswith("payneflow design first -n 40 --seed 0 --labels logg")
        and str(stars) in meta["sha256"]
    )
    said = capsys.readouterr().out
    assert "40 spectra of 3 labels" in said and "no unit is known of [Fe/H]" in said
    assert cli.main(words) == 2
    assert "there already. Name another file, or say --overwrite" in capsys.readouterr().err
    assert cli.main([*words, "--overwrite"]) == 0
    assert (read_design(output)[0] == labels).all(), "the same seed, the same points"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no labels: give --range"),
        (["--range", "Teff=1:2", "--unit", "Teff=parrot"], "--unit Teff=parrot: no unit"),
        (["--range", "Teff=1:2", "--unit", "logg=dex"], "no label 'logg'"),
        (["--range", "flags=1:2"], "one has a name as is the column 'flags'"),
        (["--labels", "a", "a"], "--labels names a twice"),
        (["--range", "Teff=1:2", "--like", "x.ecsv"], "--like needs --labels"),
        (["--labels", "a", "--like", "nowhere.ecsv"], "no such file"),
        (["--range", "Teff=1:2", "--seed", "-1"], "--seed -1"),
    ],
)
def test_what_the_command_cannot_mean_ends_in_a_message(tmp_path, capsys, words, said):
    output = tmp_path / "first.ecsv"
    assert cli.main(["design", "first", "-n", "3", *words, "--output", str(output)]) == 2
    assert said in capsys.readouterr().err and not output.exists()
