"""docs/posterior.md, which the site executes: what its two samplers find is right."""

import os
import re
import subprocess
import sys

from conftest import PATIENCE, ROOT


def test_both_samplers_of_the_page_find_the_star(tmp_path):
    page = (ROOT / "docs/posterior.md").read_text()
    code = "".join(re.findall(r"^```\{code-cell\}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
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
