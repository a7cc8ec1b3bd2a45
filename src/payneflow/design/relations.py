"""Relations between labels, such as `[N/Fe] < 0.6 - 0.2*logg`: text in, which labels keep them out.

The text is read by a grammar of its own (pyparsing), which knows numbers, labels, + - * / ** and brackets, six
functions, comparisons, and, or, not. Nothing of it is ever code: what the grammar does not know is an error. A label's
name stands as it is where it is a word (`Teff`) or in square brackets (`[Fe/H]`), any other between double quotes
(`"C-N"`); names hold no double quote there.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from payneflow.errors import SettingsError

LONGEST, DEEPEST = 300, 12  # letters of a relation, and its brackets in one another
FUNCTIONS = {
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log10": (1, np.log10),
    "min": (2, np.minimum),
    "max": (2, np.maximum),
}
_WORDS = ("and", "or", "not")
_COMPARE = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_ADD = {"+": np.add, "-": np.subtract}
_MULTIPLY = {"*": np.multiply, "/": np.divide}
_KNOWN = (
    "expected a comparison of labels and numbers by < <= > >=, with + - * / **, round brackets, "
    f"{', '.join(FUNCTIONS)}, and, or, not; a label is a word, or in square brackets, or in double quotes"
)

Columns = dict[str, np.ndarray]  # labels (n,) by their names
Node = Callable[[Columns], np.ndarray]


@dataclass(frozen=True, eq=False)
class Relation:
    """`text`: as it was given. `labels`: the names that it speaks of, each once. `_keeps`: what the grammar made."""

    text: str
    labels: tuple[str, ...]
    _keeps: Node

    def keeps(self, columns: Columns) -> np.ndarray:
        """(n,) bool: where labels (n,), by their names, keep it. What is no number, such as sqrt(-1), does not."""
        with np.errstate(all="ignore"):
            return np.asarray(self._keeps(columns), dtype=bool)


def parse_relation(text: str, names: Sequence[str]) -> Relation:
    """The relation that `text` says of labels `names`.

    Raises SettingsError naming what of it cannot be meant, and where.
    """
    from pyparsing import ParseBaseException

    if len(text) > LONGEST:
        raise SettingsError(f"--where {text[:40]}...: {len(text)} letters; a relation has {LONGEST} at most. Give two.")
    depth = max((text[: i + 1].count("(") - text[: i + 1].count(")") for i in range(len(text))), default=0)
    if depth > DEEPEST:
        raise SettingsError(f"--where {text}: {depth} brackets in one another; {DEEPEST} at most.")
    spoken_of: dict[str, None] = {}
    try:
        keeps = _grammar(tuple(names), spoken_of).parse_string(text, parse_all=True)[0]
    except ParseBaseException as error:
        if isinstance(error.__cause__, SettingsError):
            raise error.__cause__ from None
        rest = text[error.loc :].strip()
        place = f"it is not understood from {rest!r} on" if rest else "it ends too early"
        raise SettingsError(f"--where {text}: {place}; {_KNOWN}.") from None
    except RecursionError:
        raise SettingsError(f"--where {text}: too many signs in one another. Make it simpler.") from None
    if not spoken_of:
        raise SettingsError(f"--where {text}: it speaks of no label; {_KNOWN}.")
    return Relation(text, tuple(spoken_of), keeps)


def _grammar(names: tuple[str, ...], spoken_of: dict[str, None]):
    """The parser of a relation; it puts each label it meets into `spoken_of`, and makes a Node."""
    import pyparsing as pp

    def label(text: str, place: int, tokens) -> Node:
        name = tokens[0]
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]}?" if close else ""
            problem = SettingsError(f"--where {text}: no label {name!r}; the labels are {', '.join(names)}.{hint}")
            raise pp.ParseFatalException(text, place, str(problem)) from problem
        spoken_of[name] = None
        return lambda columns: columns[name]

    def call(text: str, place: int, tokens) -> Node:
        function, arguments = tokens[0], list(tokens[1:])
        n, applied = FUNCTIONS[function]
        if len(arguments) != n:
            problem = SettingsError(f"--where {text}: {function} of {len(arguments)} values; expected {n}.")
            raise pp.ParseFatalException(text, place, str(problem)) from problem
        return lambda columns: applied(*(one(columns) for one in arguments))

    number = pp.Regex(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?").set_parse_action(_number)
    reserved = pp.one_of([*_WORDS, *FUNCTIONS], as_keyword=True)
    word = ~reserved + pp.Regex(r"[^\W\d]\w*")
    bracketed = pp.Regex(r"\[[^\[\]\"]*\]")
    quoted = pp.QuotedString('"')
    value = pp.Forward()
    known = pp.one_of(list(FUNCTIONS), as_keyword=True)
    called = (known + pp.Suppress("(") - pp.DelimitedList(value) + pp.Suppress(")")).set_parse_action(call)
    inner = pp.Suppress("(") + value + pp.Suppress(")")
    atom = number | called | (quoted | bracketed | word).set_parse_action(label) | inner
    factor = pp.Forward()
    power = (atom + pp.Optional(pp.Suppress("**") - factor)).set_parse_action(_power)
    factor <<= (pp.Literal("-") + factor).set_parse_action(_minus) | power
    product = (factor + (pp.one_of("* /") - factor)[...]).set_parse_action(lambda tokens: _chain(tokens, _MULTIPLY))
    value <<= (product + (pp.one_of("+ -") - product)[...]).set_parse_action(lambda tokens: _chain(tokens, _ADD))
    compared = (value + (pp.one_of("<= >= < >") + value)[1, ...]).set_parse_action(_comparison)
    either = pp.Forward()
    one = pp.Forward()
    of_both = compared | (pp.Suppress("(") + either + pp.Suppress(")"))
    one <<= (pp.Keyword("not").suppress() + one).set_parse_action(_not) | of_both
    both = (one + (pp.Keyword("and").suppress() - one)[...]).set_parse_action(lambda t: _all(t, np.logical_and))
    either <<= (both + (pp.Keyword("or").suppress() - both)[...]).set_parse_action(lambda t: _all(t, np.logical_or))
    return either


def _number(tokens) -> Node:
    value = float(tokens[0])
    return lambda columns: value


def _minus(tokens) -> Node:
    node = tokens[1]
    return lambda columns: -node(columns)


def _not(tokens) -> Node:
    node = tokens[0]
    return lambda columns: ~node(columns)


def _power(tokens) -> Node:
    if len(tokens) == 1:
        return tokens[0]
    base, exponent = tokens

    def raised(columns: Columns) -> np.ndarray:
        return np.power(np.asarray(base(columns), dtype=float), exponent(columns))

    return raised


def _chain(tokens, operations) -> Node:
    """a - b + c, from the left."""
    first, rest = tokens[0], list(zip(tokens[1::2], tokens[2::2], strict=True))
    if not rest:
        return first
    return lambda columns: reduce(lambda a, b: operations[b[0]](a, b[1](columns)), rest, first(columns))


def _comparison(tokens) -> Node:
    """a < b <= c: each with the next."""
    values, signs = list(tokens[0::2]), list(tokens[1::2])

    def kept(columns: Columns) -> np.ndarray:
        found = [value(columns) for value in values]
        pairs = zip(signs, found, found[1:], strict=False)
        return reduce(np.logical_and, (_COMPARE[sign](a, b) for sign, a, b in pairs))

    return kept


def _all(tokens, joined) -> Node:
    nodes = list(tokens)
    if len(nodes) == 1:
        return nodes[0]
    return lambda columns: reduce(joined, (node(columns) for node in nodes))
