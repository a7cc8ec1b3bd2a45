"""docs/posterior.md: every line of Python of it, with small networks in place of those of a run."""

import os
import re
import subprocess
import sys

from conftest import PATIENCE, ROOT
from smooth_stars import networks  # noqa: F401 - a fixture


def test_the_page_runs_as_it_stands(networks, tmp_path):  # noqa: F811 - the fixture
    (tmp_path / "results").mkdir()
    networks.write(tmp_path / "results/neural_network.npz")
    page = (ROOT / "docs/posterior.md").read_text()
    code = "".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    asserts = """
error = draws.std(axis=0)
assert np.all(np.abs(draws.mean(axis=0) - true) < 4 * error)
mean = weights @ nested.results.samples / weights.sum()
assert np.all(np.abs(mean - draws.mean(axis=0)) < 0.5 * error), "both samplers agree"
assert np.isfinite(nested.results.logz[-1])
"""
    (tmp_path / "page.py").write_text(code + asserts)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Teff" in done.stdout
