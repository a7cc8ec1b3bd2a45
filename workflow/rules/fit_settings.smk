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


def plan_fits() -> tuple[list[Path], dict]:
    """The observed files, and the shards by name; the test half of the grid is one shard, of no observed file."""
    fit = config["fit"]
    if not fit["spectra"]:
        return [], {"test_half": None}
    if fit["start"] == "truth":
        raise WorkflowError("fit.start is truth, but the true labels of observed spectra are unknown: use estimate.")
    said = {name: value for name, value in fit["layout"].items() if name != "mask_bits"}
    layout = make_layout(**said, mask_bits=tuple(fit["layout"]["mask_bits"]), constant_error=fit["flux_error"])
    files = find_files(fit["spectra"])
    return files, {shard.name: shard for shard in plan_shards(files, layout, fit["shard_size"])}


def spectra_of_shard(wildcards) -> dict:
    """What a fitting job reads; that the list of shards is new is no reason to fit again: its files are."""
    shard = SHARDS[wildcards.shard]
    if shard is None:
        return {"grid": GRID}
    return {"shard": ancient(RESULTS / f"shards/{shard.name}.txt"), "spectra": list(shard.paths)}


def source_options(wildcards, input) -> str:
    """Which spectra `payneflow fit` fits, and how they are stored."""
    fit = config["fit"]
    common = f"--flux-error {fit['flux_error']} --start {fit['start']}"
    if SHARDS[wildcards.shard] is None:
        return f"--grid {shlex.quote(str(input.grid))} {key_options()} {common}"
    return f"{shlex.quote(f'@{input.shard}')} {layout_options()} {common}"


try:
    SPECTRA, SHARDS = plan_fits()
except PayneflowError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    shard=r"[\w-]+",
