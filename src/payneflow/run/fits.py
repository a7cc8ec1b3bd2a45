"""The Python of the rules that fit: shards of the spectra, what is proved before anything runs, options as text."""

import shlex
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from payneflow.chunks.selection import parse_pixels
from payneflow.errors import SettingsError, SpectraError
from payneflow.files import read_small
from payneflow.fitting.settings import FitSettings
from payneflow.grid import GridKeys, name_of, paths_of, read_resolution, read_wavelength
from payneflow.grid.checks import in_vacuum
from payneflow.label_names import NO_NOISE
from payneflow.run.config import check_labels, has_pieces
from payneflow.run.workflow import grid_as_options, key_options, named_by_content, reading_of
from payneflow.spectra.layout import ROLES, SpectraLayout


def plan_fits(fit: Mapping) -> dict:
    """The shards of the observed spectra, or stars, by name; the test set of the grid is one, of no observed file.

    Raises SpectraError or SettingsError where files or settings cannot be used.
    """
    from payneflow.spectra import find_files, plan_shards, plan_star_shards

    if not fit["spectra"]:
        return {"test_set": None}
    if fit["start"] == "truth":
        raise SettingsError("fit.start is truth, but the true labels of observed spectra are unknown: use estimate.")
    cut = plan_star_shards if has_pieces(fit) else plan_shards
    shards = cut(find_files(fit["spectra"]), _layout_of(fit), fit["shard_size"])
    return {shard.name: shard for shard in shards}


def memory_of_fit(fit: Mapping) -> int:
    """MB of a job that fits a shard: spectra are read batch by batch, but the pieces of stars are held together."""
    return 6000 if has_pieces(fit) else 2000


def _layout_of(fit: Mapping):
    from payneflow.spectra import make_layout

    said = {name: value for name, value in fit["layout"].items() if name != "mask_bits"}
    return make_layout(**said, mask_bits=tuple(fit["layout"]["mask_bits"]), constant_error=fit["flux_error"])


# settings of fits that need a package of an extra of the same name, and what it is for
_EXTRAS = {"parquet": ("pyarrow", "writes such files"), "posterior": ("emcee", "samples it where draws are too few")}


def check_extras(fit: Mapping, with_conda: bool) -> None:
    """Raise SettingsError where fits are asked for what is not installed; with conda the rules bring their own."""
    for name, (package, what) in _EXTRAS.items():
        if fit[name] and not with_conda and find_spec(package) is None:
            raise SettingsError(
                f"fit.{name} is true, but {package}, which {what}, is not installed for {sys.executable}: "
                f"pip install 'payneflow[{name}]' there, or set {name}: false."
            )


def resolution_of_spectra(config: Mapping, shards: Mapping) -> float:
    """R of the spectra at which label errors are measured, where their files say it: the median of the first spectrum.

    To three digits, so that a change that means nothing repeats nothing; 0 where no file says one, or not one that can
    be read, of which the job that fits it complains.
    """
    first = next((shard.paths[0] for shard in shards.values() if shard is not None), None)
    layout = None if first is None else _layout_of(config["fit"])
    if layout is None or not layout.instrument:
        return 0.0
    from payneflow.spectra import read_spectra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            spectra = next(read_spectra([first], layout, _wavelength_of_networks(config), selection=range(1)), None)
        except SpectraError:
            return 0.0
    known = np.zeros(0) if spectra is None or spectra.resolution is None else spectra.resolution
    known = known[np.isfinite(known)]
    return float(f"{np.median(known):.3g}") if len(known) else 0.0


def check_resolution(config: Mapping, fit: FitSettings, shards: Mapping) -> None:
    """Raise SettingsError where the first spectrum cannot be fitted with networks of the grid for its resolution.

    `fit`: the settings that `check_labels` takes. Files of which only some are sharper than the grid are for the jobs.
    """
    if all(shard is None for shard in shards.values()):
        return
    layout, first = _layout_of(config["fit"]), resolution_of_spectra(config, shards)
    if layout.instrument and fit.resolution:
        raise SettingsError(
            f"fit.resolution is {fit.resolution:g}, but fit.layout names {layout.instrument}: "
            f"{layout.instrument_said}. Leave one of both out."
        )
    if not first or first == _resolution_of_grid(config):
        return
    keys, reading = GridKeys(**config["grid_keys"]), reading_of(config)
    try:
        at_first = replace(fit, resolution=first)
    except SettingsError as error:
        raise SettingsError(f"{first:g} is R of the first spectrum: {error}") from None
    try:
        check_labels(at_first, config["grid"], keys, reading, config["seed"], config["pixels"])
    except SettingsError as error:
        said = str(error).replace("fit.resolution is", "the resolution of the first spectrum is")
        raise SettingsError(said) from None


def _resolution_of_grid(config: Mapping) -> float:
    """The lowest R of the grid; 0 where nobody says one."""
    known = float(np.min(read_resolution(config["grid"], GridKeys(**config["grid_keys"]))))
    return known or config["fit"]["grid_resolution"]


def _wavelength_of_networks(config: Mapping) -> np.ndarray:
    """The wavelengths that the networks will have, Angstrom in vacuum."""
    keys = GridKeys(**config["grid_keys"])
    stored = read_wavelength(config["grid"], keys)
    wavelength = in_vacuum(paths_of(config["grid"])[0], keys.wavelength, stored, reading_of(config).grid_medium)
    return wavelength[np.asarray(parse_pixels(config["pixels"], len(wavelength)))]


def check_other_wavelengths(config: Mapping, shards: Mapping) -> None:
    """Raise SettingsError where spectra on other wavelengths than the networks' meet pixels too far apart for that.

    Of the spectra the first is looked at; one that cannot be read is for the job that fits it to complain of.
    """
    first = next((shard.paths[0] for shard in shards.values() if shard is not None), None)
    if first is None:
        return
    from payneflow.fitting.sampling import problem_of_grid_file
    from payneflow.spectra import read_spectra

    keys, own = GridKeys(**config["grid_keys"]), _wavelength_of_networks(config)
    pixels = parse_pixels(config["pixels"], len(read_wavelength(config["grid"], keys)))
    problem = problem_of_grid_file(config["grid"], keys, reading_of(config), pixels)
    if not problem:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            spectra = next(read_spectra([first], _layout_of(config["fit"]), own, selection=range(1)), None)
        except SpectraError:
            return
    if spectra is not None and not spectra.on_networks_axis:
        raise SettingsError(
            f"{first} has other wavelengths than the networks will have, and pixels {config['pixels']!r} of "
            f'{name_of(config["grid"])} are {problem}. Train all pixels, pixels: "::", or use a finer grid.'
        )


def grid_of_fit(config: Mapping, shard) -> str:
    """The grid as options of `payneflow fit`, where its test set is fitted."""
    return grid_as_options(config) if shard is None else ""


def layout_options(layout: Mapping) -> str:
    """How observed spectra are stored, as options; the arrays' names as far as they are not the usual ones."""
    usual = SpectraLayout()
    arrays = {role: layout[role] for role in ROLES if role in layout}
    renamed = [shlex.quote(f"{role}={name}") for role, name in arrays.items() if name != usual.key(role)]
    options = [f"--format {layout['format']}"]
    options += [f"--uncertainty {layout['uncertainty']}"] if layout["uncertainty"] else []
    options += [f"--array {pair}" for pair in renamed]
    if layout["mask_bits"]:
        options.append(f"--mask-bits {','.join(map(str, layout['mask_bits']))}")
    for name in ("hdu", "loader", "lsf_unit"):
        if layout[name]:
            options.append(f"--{name.replace('_', '-')} {shlex.quote(layout[name])}")
    if layout["rows"] != "spectra":
        options.append(f"--rows {layout['rows']}")
    return " ".join([*options, f"--wavelength-unit {layout['wavelength_unit']} --medium {layout['medium']}"])


def spectra_options(fit: Mapping) -> str:
    """What is fitted, as options of `payneflow fit`."""
    return " ".join(filter(None, [fit_options(fit), "--posterior" if fit["posterior"] else ""]))


def fit_options(fit: Mapping) -> str:
    """What is fitted, as options of `payneflow calibrate`, and of `payneflow fit` but for what it alone has."""
    usual = FitSettings()
    options = [_pair("--fix", name, f"{value}") for name, value in fit["fixed"].items()]
    options += [_pair("--prior", name, f"{mean},{sigma}") for name, (mean, sigma) in fit["priors"].items()]
    options += [f"--{name}" for name in ("velocity", "vsini", "vmac") if fit[name]]
    options += [f"--no-{name.replace('_', '-')}" for name in ("emulator_error", "pairs") if not fit[name]]
    for name in ("max_velocity", "continuum", "n_starts", "tolerance"):
        options.append(f"--{name.replace('_', '-')} {fit[name]}")
    for name in ("max_vsini", "max_vmac", "epsilon", "vmac_kind", "resolution", "grid_resolution"):
        if fit[name] != getattr(usual, name):  # so that runs without broadening keep the params they had
            options.append(f"--{name.replace('_', '-')} {fit[name]}")
    if fit["windows"]:
        options.append(f"--windows {shlex.quote(str(windows_file(fit['windows'])))}")
    return " ".join(options)


def calibration_options(config: Mapping, shards: Mapping) -> str:
    """The same, as options of `payneflow calibrate`: at the resolution of the spectra, where their files say it."""
    first = resolution_of_spectra(config, shards)
    lower = first and first < (_resolution_of_grid(config) or np.inf)
    return " ".join([fit_options(config["fit"]), *([f"--resolution {first:g}"] if lower else [])])


def windows_file(path: str | Path) -> Path:
    """A copy of a table of windows, below SCRATCH, named by its content: another content repeats the fits, no date.

    Raises SettingsError where there is no such file.
    """
    return named_by_content("windows", read_small(Path(path), SettingsError, "a table of windows (ECSV)"), ".ecsv")


def _pair(option: str, name: str, text: str) -> str:
    """NAME=TEXT as an option; a name that begins with a hyphen would be taken for one itself."""
    return f"{option}{'=' if name.startswith('-') else ' '}{shlex.quote(f'{name}={text}')}"


def source_options(config: Mapping, shard) -> str:
    """Which spectra `payneflow fit` fits, and how they are stored; `shard` None: the test set of the grid.

    Where the grid is belongs to `grid_of_fit`: the same grid elsewhere is no reason to fit again. The patterns and a
    range instead of the files, whose names may be more than a command line can hold.
    """
    fit = config["fit"]
    common = f"--flux-error {fit['flux_error']} --start {fit['start']}"
    if shard is None:
        noise = "" if fit["test_snr"] == NO_NOISE else f" --seed {config['seed']}"
        return f"{key_options(config)} {common} --test-snr {fit['test_snr']}{noise}"
    given = fit["spectra"]
    patterns = " ".join(map(shlex.quote, [given] if isinstance(given, str) else given))
    which = f"--pieces {fit['pieces']} --stars" if has_pieces(fit) else "--spectra"
    selection = f"{which} {shard.selection.start}:{shard.selection.stop} --plan {shard.digest}"
    return f"{patterns} {selection} {layout_options(fit['layout'])} {common}"
