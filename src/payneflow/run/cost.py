"""What a pixel of a run costs: by the law, as measured here and now, or as an earlier run has recorded it."""

import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from payneflow.chunks.selection import parse_pixels
from payneflow.errors import SettingsError
from payneflow.progress import say
from payneflow.run.config import RunConfig
from payneflow.settings import settings_record
from payneflow.stored_tables import read_table
from payneflow.training.trainers import entry_of, seconds_of_preparation


@dataclass(frozen=True)
class PixelCost:
    """Seconds of one core for a pixel, and where the number comes from."""

    seconds: float
    origin: str


def cost_by_law(config: RunConfig, n_training: int, n_label: int) -> PixelCost:
    """The cost that the law of the trainer expects."""
    seconds = entry_of(config.settings).seconds_a_pixel(config.settings, n_training, n_label)
    return PixelCost(seconds, "the law of the trainer, measured on a Zen 4 core; --measure 64 asks this machine")


def cost_measured(config: RunConfig, n_measured: int) -> PixelCost:
    """Split `n_measured` evenly spread pixels off the real grid and train them, here and now, as a job would.

    One pixel more is trained first, so that compiling and loading are in no measured second. Raises GridError and
    SettingsError as split and train do.
    """
    from payneflow.chunks.split import split_grid
    from payneflow.chunks.train import train_chunk  # numba: not wanted where nothing is trained
    from payneflow.files import read_npz
    from payneflow.grid import read_grid

    if n_measured < 1:
        raise SettingsError(f"--measure {n_measured}: expected a number of pixels, 1 or more; 64 measure well.")
    grid = read_grid(config.grid, config.keys, config.reading, seed=config.seed)
    pixels = parse_pixels(config.pixels, len(grid.wavelength))
    n_measured = max(1, min(n_measured, len(pixels) - 1))
    say(f"measuring {n_measured} pixels; what split prepares first takes about {_preparation(config, grid):.0f} s")
    spread = pixels[:: max(1, len(pixels) // (n_measured + 1))][: n_measured + 1]
    training = config.trainer, config.settings, config.seed
    with tempfile.TemporaryDirectory() as scratch:
        selection = f"{spread.start}:{spread.stop}:{spread.step}"
        measured, *first = split_grid(grid, selection, n_measured, scratch, *training)
        output = Path(scratch) / "trained.npz"
        for chunk in (*first, measured):
            train_chunk(chunk, output)
        seconds = read_npz(output, SettingsError, "a trained chunk", keys=("seconds",))["seconds"]
    return PixelCost(
        float(seconds.mean()), f"measured now, {len(seconds)} pixels evenly spread, on one core of this machine"
    )


def _preparation(config: RunConfig, grid) -> float:
    n_training, n_label = grid.split.n_training, grid.labels.shape[1]
    return seconds_of_preparation(config.settings, n_training, n_label, len(grid.wavelength))


def cost_recorded(config: RunConfig, record: str | Path) -> PixelCost:
    """The mean cost in a training record. Raises SettingsError where that is missing or of other settings."""
    what = "a training record (training_record.ecsv, made by payneflow gather)"
    table = read_table(record, SettingsError, what, {"seconds": "f"}, {"settings": str})
    seconds, said = [float(one) for one in table["seconds"]], table.meta["settings"]
    if not all(math.isfinite(one) and one >= 0 for one in seconds):
        raise SettingsError(f"{record}: column seconds holds what is no time; expected {what}.")
    _check_same_settings(config, record, said)
    if not seconds:
        raise SettingsError(f"{record}: holds no pixel; expected {what}.")
    return PixelCost(sum(seconds) / len(seconds), f"{record}, mean of {len(seconds)} pixels")


def _check_same_settings(config: RunConfig, record: str | Path, said: str) -> None:
    try:
        recorded = dict(json.loads(said))
    except (ValueError, TypeError, RecursionError):
        raise SettingsError(f"{record}: settings in its meta is {said[:300]!r}, expected JSON.") from None
    wanted = settings_record(config.trainer, config.settings, config.seed)
    other = [name for name, value in wanted.items() if name != "seed" and recorded.get(name) != value]
    if other:
        name = other[0]
        raise SettingsError(
            f"{record}: {name} was {recorded.get(name)!r} there, but is {wanted[name]!r} in {config.path}: another "
            "cost. Leave the record out, or measure with --measure 64."
        )
