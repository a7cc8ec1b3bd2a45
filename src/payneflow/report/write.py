"""The one page: page.html with the style, the verdicts, what went in and the figures, and a checksum at its end."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from payneflow import __version__
from payneflow.figures import REPORT_FIGURES
from payneflow.files import whole_file
from payneflow.label_names import NOISELESS
from payneflow.report.facts import Facts
from payneflow.report.verdicts import FEW_PULLS, Colour, Verdict, judge, overall, pulls_of
from payneflow.sealed import sealed
from payneflow.statistics import bias_and_width

TALLEST = 22  # of the bars of a histogram, as in page.html
WORDS = {Colour.GREEN: "Good.", Colour.UNKNOWN: "Not known.", Colour.AMBER: "Look at it.", Colour.RED: "Bad."}


def write_report(facts: Facts, path: str | Path, settings: Sequence | None = None) -> list[Verdict]:
    """Write the page to `path`, whole or not at all, and return its verdicts.

    `settings`: those that are not the default, each with `name`, `value`, `default` and `meaning`; None: not known.
    """
    verdicts = judge(facts)
    content = page_of(facts, verdicts, settings).encode("utf-8", "backslashreplace")
    with whole_file(path) as temporary:
        temporary.write_bytes(sealed(content))
    return verdicts


def report_text(verdicts: Sequence[Verdict]) -> str:
    """The verdicts in lines for a terminal or a log; the last one is that on the whole."""
    lines = [f"{one.colour.said:<10} {one.question}: {one.said}" for one in verdicts]
    colour, said = overall(verdicts)
    return "\n".join([*lines, f"{WORDS[colour]} {said}"])


def page_of(facts: Facts, verdicts: Sequence[Verdict], settings: Sequence | None) -> str:
    """The page as text, without its checksum. Every text is escaped by the template."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    colour, said = overall(verdicts)
    return environment.from_string(_text("page.html")).render(
        version=__version__,
        title=f"payneflow report: {_title(facts)}",
        style=Markup(_text("style.css")),
        made_of={
            "networks": facts.networks.digest if facts.networks is not None else "",
            "grid": facts.grid_digest,
            "label_errors": facts.fits.meta.get("label_errors", "") if facts.fits is not None else "",
            "fits": facts.fits_digest,
        },
        overall={"colour": colour, "word": WORDS[colour], "said": said},
        verdicts=verdicts,
        went_in=list(_went_in(facts)),
        labels=[_label(label) for label in (facts.summary or {}).get("labels", [])],
        settings=settings,
        has_explorer=facts.has_explorer,
        figures=[
            {"title": REPORT_FIGURES[name].title, "content": base64.b64encode(content).decode()}
            for name, content in facts.figures.items()
        ],
        **_accuracy(facts),
    )


def _text(name: str) -> str:
    return (files("payneflow.report") / "page" / name).read_text(encoding="utf-8")


def _title(facts: Facts) -> str:
    return Path(facts.summary["path"]).name if facts.summary else facts.directory.name


# -------------------------------------------------------------------------------------------------------- what went in


def _went_in(facts: Facts):
    """Names and values of what the run was made of, as far as it is known."""
    if facts.summary is not None:
        yield from _of_grid(facts.summary)
    networks, record = facts.networks, facts.record
    if networks is not None:
        said = networks.provenance.get("settings", {})
        trainer = f", trainer {said['trainer']}, seed {said['seed']}" if {"trainer", "seed"} <= set(said) else ""
        yield "networks", f"{len(networks.wavelength)} pixels have one{trainer}"
    if record is not None:
        seconds = float(np.nansum(np.asarray(record["seconds"], dtype=float)))
        n = len(set(record["chunk"]))
        yield "training", f"{n} chunk{'s' if n > 1 else ''}, {seconds:.3g} s of processor time"
    if facts.fits is not None:
        yield "spectra fitted", _of_fits(facts)
        yield "what was fitted", str(facts.fits.meta.get("mode", "not known"))


def _of_grid(summary: dict):
    yield "grid", f"{summary['path']} (SHA-256 {summary['sha256'][:12]}…)"
    yield (
        "spectra",
        f"{summary['n_spectrum']}: {summary['n_training']} train ({summary['split']['training']}), "
        f"{summary['n_test']} test ({summary['split']['test']})",
    )
    axis = summary["wavelength"]
    n = len(axis["segments"])
    yield (
        "pixels",
        f"{summary['n_pixel']}, {axis['first']:.2f} to {axis['last']:.2f} Å in {n} segment{'' if n == 1 else 's'}, "
        f"wavelengths in {axis['medium_of_file']}",
    )


def _of_fits(facts: Facts) -> str:
    n = len(facts.fits)
    if not facts.of_test_spectra:
        snr = f", median S/N {1 / facts.noise:.3g}" if facts.noise else ""
        return f"{n} observed ones{snr}"
    noise = "without noise" if facts.test_snr is None else f"with noise of S/N {facts.test_snr:g}"
    return f"{n} of the test set, {noise}"


def _label(label: dict) -> dict:
    """A row of the table of labels; of a summary of an earlier version without what that does not say."""
    counts = label.get("counts", [])
    most = max(counts, default=0) or 1
    return {
        "name": label["name"],
        "unit": label["unit"],
        "range": f"{label['training_min']:.5g} … {label['training_max']:.5g}",
        "bars": [round(TALLEST * count / most, 1) for count in counts],
        "gap": f"{label['gap'][0]:.5g} … {label['gap'][1]:.5g}" if "gap" in label else "",
        "outside": label["n_test_outside"],
    }


# ------------------------------------------------------------------------------------------------ how well labels come


def _accuracy(facts: Facts) -> dict:
    """The table of the labels of test spectra, with noise, without, and their pulls; an empty one of observed ones."""
    if not facts.of_test_spectra or not facts.succeeded.any():
        return {"accuracy": [], "accuracy_said": "", "has_noiseless": False, "has_pulls": False}
    has_noiseless = all(f"{name}{NOISELESS}" in facts.fits.colnames for name in facts.label_names)
    pulls = pulls_of(facts) if facts.test_snr is not None else {}
    rows = []
    for name in facts.label_names:
        values = _bias_and_width(facts, name, name)
        values += _bias_and_width(facts, name, f"{name}{NOISELESS}") if has_noiseless else []
        values += _of_pulls(pulls.get(name)) if pulls else []
        rows.append({"name": name, "unit": str(facts.fits[name].unit or ""), "numbers": values})
    said = "Fitted − true: the median, and the robust width, which is the standard deviation where errors are normal. "
    if facts.test_snr is None:
        said += "The spectra had no noise, as in the published comparison."
    else:
        said += f"The spectra had noise of S/N {facts.test_snr:g}; without noise is the published comparison."
    return {"accuracy": rows, "accuracy_said": said, "has_noiseless": has_noiseless, "has_pulls": bool(pulls)}


def _bias_and_width(facts: Facts, name: str, column: str) -> list[str]:
    error = np.asarray(facts.fits[column], dtype=float) - np.asarray(facts.fits[f"{name}_true"], dtype=float)
    error = error[np.isfinite(error)]
    return [f"{value:.2g}" for value in bias_and_width(error)] if len(error) else ["no fit", ""]


def _of_pulls(pull: np.ndarray | None) -> list[str]:
    known = np.array([]) if pull is None else pull[np.isfinite(pull)]
    if len(known) < FEW_PULLS:
        return ["held" if pull is None else "too few", ""]
    bias, width = bias_and_width(known)
    return [f"{bias:+.2f}", f"{width:.2f}"]
