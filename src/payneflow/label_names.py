"""What a label may be called: anything but what a table of fits calls its other columns; and its name in FITS files.

The columns of a table are the labels, each with its error, its flags and, where it is known, its truth, and those of
COLUMNS. FITS takes no heed of capitals in the names of columns, and knows ASCII only.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

# of a table of fits (fitting/table.py, fitting/many.py), beside those of the labels
COLUMNS = ("spectrum", "identifier", "path", "RV", "RV_error", "covariance", "SNR", "chi2", "dof", "iterations")
COLUMNS += ("RV1", "RV1_error", "RV2", "RV2_error", "light_ratio", "light_ratio_error")
COLUMNS += ("n_pixel", "n_masked", "n_outlier", "mismatch", "mismatch_kind", "extra_scatter", "flags")
COLUMNS += ("chi2_noiseless", "flags_noiseless")  # of test spectra with noise (fitting/many.py)
COLUMNS += ("n_piece", "n_fitted", "RV_scatter", "RV_chance")  # of stars in pieces (fitting/star_tables.py)
# what follows a label's name in the names of its columns; PERCENTILES: of its posterior
ERROR, TRUE, FLAGS, INFORMATION = "_error", "_true", "_flags", "_information"
NOISELESS = "_noiseless"
TEST_SNR = "test_snr"  # in the meta of fits of test spectra: S/N of the noise that they got, or NO_NOISE
NO_NOISE = "none"
PIECES = "_pieces"  # ends the names of tables of the pieces of stars
PERCENTILES = {"_p2_5": 2.5, "_p16": 16.0, "_p50": 50.0, "_p84": 84.0, "_p97_5": 97.5}
_HOLDS = {ERROR: "error", TRUE: "truth", FLAGS: "flags", INFORMATION: "information"}
_HOLDS |= {NOISELESS: "fit without noise"}
_HOLDS |= dict.fromkeys(PERCENTILES, "percentiles")
COLUMNS += ("posterior_ess", "posterior_sampled", *(f"RV{ending}" for ending in PERCENTILES))
LONGEST = 60  # letters of a column's name in FITS, whose cards hold 68


def problems_of_names(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The number of each label whose name (n_label,) cannot be one, and why, as a part of a sentence."""
    reserved = {_plain(column): column for column in COLUMNS}
    written = [unicodedata.normalize("NFC", name) for name in names]
    own = {_plain(name + ending): (i, ending) for i, name in enumerate(names) for ending in _HOLDS}
    for i, name in enumerate(names):
        plain = _plain(name)
        if not name.isprintable():
            yield i, "which holds a line break or another sign that cannot be printed"
        elif written[i] in written[:i]:
            yield i, f"which reads as that of label {written.index(written[i])} does"
        elif plain in reserved:
            yield i, f"as is the column '{reserved[plain]}' of every table of fits"
        elif plain in own:
            other, ending = own[plain]
            yield i, f"as is the column of '{names[other]}' that holds its {_HOLDS[ending]}"


def _plain(name: str) -> str:
    """The name as two of them are compared: capitals and ways to write a letter make no difference."""
    return unicodedata.normalize("NFKC", name).casefold()


def ascii_columns(names: Sequence[str]) -> list[str]:
    """Column names as the FITS standard wants them: [Fe/H]_error becomes Fe_H_error; no two of them are one.

    Where two would be, both keep their own names if FITS can hold these; else the second gets a number, or the label
    that would be called as one of COLUMNS.
    """
    plain = [_ascii(name) for name in names]
    if _differ(plain) and all(plain):
        return plain
    if _differ(names) and all(name.isascii() and len(name) <= LONGEST for name in names):
        return list(names)
    taken = {name.casefold() for name in names if name in COLUMNS}
    return [
        name if name in COLUMNS else _free(short or "column", taken) for name, short in zip(names, plain, strict=True)
    ]


def _differ(names: Sequence[str]) -> bool:
    return len({name.casefold() for name in names}) == len(names)


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number where it is taken, which it then is."""
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free.casefold())
    return free


def _ascii(name: str) -> str:
    letters = "".join(map(_ascii_letter, unicodedata.normalize("NFKD", name)))
    return re.sub(r"[\W_]+", "_", letters, flags=re.ASCII).strip("_")[:LONGEST]


def _ascii_letter(letter: str) -> str:
    """A Greek letter becomes its name, an accent nothing, a letter without a name of its own its number: 星 u661f."""
    if letter.isascii():
        return letter
    if unicodedata.combining(letter):
        return ""
    spelled = re.match(r"[A-Z]+ (CAPITAL|SMALL) LETTER (?:FINAL )?([A-Z]+)$", unicodedata.name(letter, ""))
    if spelled:
        return spelled[2].capitalize() if spelled[1] == "CAPITAL" else spelled[2].lower()
    return f"u{ord(letter):x}" if letter.isalnum() else "_"
