"""Relations between labels: what they keep, and that text which means anything else is an error and nothing more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payneflow.design.relations import LONGEST, parse_relation
from payneflow.errors import SettingsError

NAMES = ("Teff", "logg", "[Fe/H]", "[N/Fe]", "C-N", "max")
COLUMNS = {
    "Teff": np.array([4000.0, 5000.0, 6000.0]),
    "logg": np.array([1.0, 2.5, 4.5]),
    "[Fe/H]": np.array([-1.0, 0.0, 0.3]),
    "[N/Fe]": np.array([0.4, 0.4, 0.4]),
    "C-N": np.array([-0.5, 0.0, 0.5]),
    "max": np.array([0.0, 1.0, 2.0]),
}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("[N/Fe] < 0.6 - 0.2*logg", [False, False, False]),
        ("[N/Fe] <= 0.61 - 0.2*logg", [True, False, False]),
        ("2 < logg <= 4.5", [False, True, True]),
        ("not (logg > 3 or [Fe/H] < -0.5)", [False, True, False]),
        ("logg > 3 or logg > 2 and Teff > 5500", [False, False, True]),
        ("(logg + 1)*2 < 8 and ((logg)) > 1.5", [False, True, False]),
        ('"C-N" >= 0', [False, True, True]),
        ('"max" > 0.5', [False, True, True]),
        ("-logg**2 < -6", [False, True, True]),
        ("2**-logg < 0.2 and 8/4/2 <= 1", [False, True, True]),
        ("10 - 4 - 3 <= 3 and logg > 0", [True, True, True]),
        ("max(logg, 2) - min(logg, 2) < abs(-1)", [False, True, False]),
        ("log10(Teff) > 3.65 and exp(0) + sqrt(4) >= 3", [False, True, True]),
        ("sqrt([Fe/H]) >= 0", [False, True, True]),
    ],
)
def test_relations_keep_what_they_say(text, kept):
    assert parse_relation(text, NAMES).keeps(COLUMNS).tolist() == kept


def test_a_relation_knows_its_labels():
    assert parse_relation("logg < 1 or [Fe/H] + logg > 2", NAMES).labels == ("logg", "[Fe/H]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends too early"),
        ("logg", "ends too early"),
        ("1 < 2", "speaks of no label"),
        ("loggg < 1", "no label 'loggg'.*Did you mean logg"),
        ("FeH < 1", "no label 'FeH'.*\\[Fe/H\\]"),
        ("C-N < 1", "no label 'C'"),
        ("logg == 1", "from '== 1' on"),
        ("logg < 1 and", "ends too early"),
        ("2 logg < 1", "from 'logg < 1' on"),
        ("min(logg) < 1", "min of 1 values; expected 2"),
        ("[Fe/H < 1", "not understood from"),
        ("__import__('os').system('touch /tmp/x') < logg", "no label '__import__'"),
        ("logg.__class__ < 1", "from '.__class__ < 1' on"),
        ("().__class__.__bases__[0] < logg", "not understood from"),
        ("lambda: logg < 1", "no label 'lambda'"),
        ("logg < 1; import os", "from '; import os' on"),
        ("eval(logg) < 1", "no label 'eval'"),
        ("exec('1') < logg", "no label 'exec'"),
        ("{logg} < 1", "not understood from"),
        ("f'{logg}' < 1", "no label 'f'"),
        ("logg[0] < 1", "from '\\[0\\] < 1' on"),
        ("logg < 'a'", "not understood from"),
        ("(logg := 3) < 4", "not understood from"),
        ("(" * 13 + "logg" + ")" * 13 + " < 1", "13 brackets in one another"),
        ("-" * LONGEST + "logg < 1", "letters; a relation has"),
    ],
)
def test_what_is_no_relation_is_an_error_that_says_where(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_relation(text, NAMES)


def test_towers_of_signs_and_powers_end_at_once():
    assert parse_relation("(" * 12 + "logg" + ")" * 12 + " < 2", NAMES).keeps(COLUMNS).tolist() == [True, False, False]
    assert parse_relation("logg ** 9**9**9**9 < 2", NAMES).keeps(COLUMNS).tolist() == [True, False, False]
    assert parse_relation("not " * 60 + "logg < 2", NAMES).keeps(COLUMNS).tolist() == [True, False, False]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="logTef[]()<>=*+-/. 019\"'andort_{}:;,", max_size=60))
def test_any_text_is_a_relation_or_an_error(text):
    try:
        kept = parse_relation(text, NAMES).keeps(COLUMNS)
    except SettingsError:
        return
    assert kept.dtype == bool and kept.shape == (3,)
