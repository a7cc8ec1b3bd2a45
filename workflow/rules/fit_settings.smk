# What the fitting stage shares: the settings of config.yaml as options, and the shards of the observed spectra.

from payneflow.spectra import find_files, make_layout, plan_shards


def layout_options() -> str:
    """How observed spectra are stored, as options; the arrays' names as far as they are not the usual ones."""
    layout = config["fit"]["layout"]
    arrays = {role: layout[role] for role in ("wavelength", "flux", "flux_error", "ivar", "mask", "identifier")}
    renamed = [shlex.quote(f"{role}={name}") for role, name in arrays.items() if name != role]
    options = [f"--format {layout['format']} --uncertainty {layout['uncertainty']}"]
    options += [f"--array {pair}" for pair in renamed]
    if layout["mask_bits"]:
        options.append(f"--mask-bits {','.join(map(str, layout['mask_bits']))}")
    if layout["loader"]:
        options.append(f"--loader {shlex.quote(layout['loader'])}")
    return " ".join([*options, f"--wavelength-unit {layout['wavelength_unit']} --medium {layout['medium']}"])


def fit_options() -> str:
    """What is fitted, as options of `payneflow fit` and `payneflow calibrate`."""
    fit = config["fit"]
    options = [f"--fix {shlex.quote(f'{name}={value}')}" for name, value in fit["fixed"].items()]
    options += [f"--prior {shlex.quote(f'{name}={mean},{sigma}')}" for name, (mean, sigma) in fit["priors"].items()]
    options += ["--velocity"] if fit["velocity"] else []
    options += [] if fit["emulator_error"] else ["--no-emulator-error"]
    for name in ("max_velocity", "continuum", "n_starts", "tolerance"):
        options.append(f"--{name.replace('_', '-')} {fit[name]}")
    return " ".join(options)


def plan_fits() -> dict:
    """The shards of the observed spectra by name; the test half of the grid is one shard, of no observed file."""
    fit = config["fit"]
    if not fit["spectra"]:
        return {"test_half": None}
    if fit["start"] == "truth":
        raise WorkflowError("fit.start is truth, but the true labels of observed spectra are unknown: use estimate.")
    said = {name: value for name, value in fit["layout"].items() if name != "mask_bits"}
    layout = make_layout(**said, mask_bits=tuple(fit["layout"]["mask_bits"]), constant_error=fit["flux_error"])
    return {shard.name: shard for shard in plan_shards(find_files(fit["spectra"]), layout, fit["shard_size"])}


def spectra_of_shard(wildcards) -> dict:
    """The files that a fitting job reads, and no others: if they change, it is repeated."""
    shard = SHARDS[wildcards.shard]
    return {"grid": GRID} if shard is None else {"spectra": list(shard.paths)}


def source_options(wildcards) -> str:
    """Which spectra `payneflow fit` fits, and how they are stored.

    The patterns and a range instead of the files, whose names may be more than a command line can hold.
    """
    fit, shard = config["fit"], SHARDS[wildcards.shard]
    common = f"--flux-error {fit['flux_error']} --start {fit['start']}"
    if shard is None:
        return f"--grid {shlex.quote(str(GRID))} {key_options()} {common}"
    patterns = " ".join(map(shlex.quote, fit["spectra"]))
    selection = f"--spectra {shard.selection.start}:{shard.selection.stop} --plan {shard.digest}"
    return f"{patterns} {selection} {layout_options()} {common}"


try:
    SHARDS = plan_fits()
except PayneflowError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    shard=r"[\w-]+",
