"""Time of the whole workflow on 64 pixels, everything installed: with cold and with warm compiled code.

    python benchmarks/workflow_time.py

Cold: the compiled kernels on disk are hidden from the run. Warm: the same again. Then once more with nothing to do.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIXELS = "::114"  # 64 of the 7214


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name, results in (("cold", "first"), ("warm", "second"), ("nothing to do", "second")):
            print(f"{name:14}{seconds(Path(scratch), results):6.1f} s", flush=True)


def seconds(scratch: Path, results: str) -> float:
    snakemake = Path(sys.executable).with_name("snakemake")
    settings = [f'pixels="{PIXELS}"', "chunk_size=32", f"results={scratch / results}"]
    begin = time.perf_counter()
    subprocess.run(
        [snakemake, "--cores", "all", "--config", *settings],
        cwd=ROOT,
        env={**os.environ, "NUMBA_CACHE_DIR": str(scratch / "compiled")},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
