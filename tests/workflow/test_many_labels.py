"""The second example configuration: the grid of 22 labels, trained by the workflow on a few of its pixels."""

import numpy as np
import yaml
from conftest import ROOT
from workflow_runs import new_directory, snakemake

from payneflow.kriging import descended_lengths, kriging_matrix

EXAMPLE = ROOT / "examples/many_labels.yaml"


def test_networks_of_22_labels_are_closer_than_kriging(tmp_path):
    example = yaml.safe_load(EXAMPLE.read_text())
    assert set(example) == {"grid", "results"}, "all else is what config.yaml says"
    pixels = "30::160"
    directory = new_directory(
        tmp_path / "22", grid=str(ROOT / example["grid"]), pixels=pixels, results=example["results"]
    )
    results = directory / example["results"]
    status, output = snakemake(directory, example["results"] + "/evaluation.npz")
    assert status == 0, output
    with np.load(results / "neural_network.npz", allow_pickle=False) as networks:
        assert networks["w_array_0"].shape == (6, 20, 22)
        rms = networks["emulator_rms"]
    with np.load(ROOT / example["grid"], allow_pickle=False) as grid:
        flux, labels = grid["Y_u_all"].astype(float), grid["labels_array"].T
    least, most = labels[::2].min(0), labels[::2].max(0)
    scaled = 0.1 + 0.8 * (labels - least) / (most - least)
    lengths, nugget = descended_lengths(scaled[::2], flux[::2])
    own = np.ascontiguousarray(flux[:, 30::160])
    kriging = kriging_matrix(scaled[::2], scaled[1::2], lengths, nugget) @ own[::2] - own[1::2]
    assert np.sqrt((rms**2).mean()) < 0.7 * np.sqrt((kriging**2).mean())
