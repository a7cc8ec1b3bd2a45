"""Time to read a network file and to predict 1000 spectra with it.

python benchmarks/prediction_speed.py NETWORK_FILE
"""

import statistics
import sys
import time

import numpy as np

from payneflow import read_networks

ROUNDS, SPECTRA = 5, 1000


def timed(function) -> tuple[float, object]:
    """Median seconds of ROUNDS calls, and what the last one returned."""
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), result


def main(path: str) -> None:
    read, networks = timed(lambda: read_networks(path))
    labels = np.random.default_rng(0).uniform(networks.x_min, networks.x_max, (SPECTRA, len(networks.x_min)))
    predict, flux = timed(lambda: networks.predict(labels))
    print(f"{path}: {flux.shape[1]} pixels, {networks.w_array_0.shape[1]} neurons, {len(networks.x_min)} labels")
    print(f"read the network file      {read:8.3f} s")
    print(f"predict {SPECTRA} spectra       {predict:8.3f} s  ({predict / SPECTRA * 1e3:.2f} ms a spectrum)")


if __name__ == "__main__":
    main(*sys.argv[1:])
