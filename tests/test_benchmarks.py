"""Without a GPU the benchmark of GPUs measures and writes nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.backends import once

pytestmark = once

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


def test_without_a_gpu_nothing_is_measured_or_written(tmp_path):
    result = RESULTS / "gpu_step.json"
    before = result.exists() and result.read_bytes()
    finished = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "gpu_step.py"),
            *("--forms", "jax", "--models", "tiny"),
        ],
        # No GPU either where there is one.
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "No GPU is at hand for jax: nothing was measured" in finished.stdout
    assert before == (result.exists() and result.read_bytes())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_parts_of_the_gpu_benchmark_run_within_their_time():
    """On the CPU; where time is short parts are left out, and it says so."""
    command = [sys.executable, ROOT / "benchmarks" / "gpu_step.py"]
    command += ["--on", "cpu", "--models", "tiny", "--rounds", "2"]
    for minutes, missing in (("8", False), ("0.5", True)):
        start = time.monotonic()
        finished = subprocess.run(
            [*command, "--minutes", minutes],
            check=True,
            capture_output=True,
            text=True,
        )
        assert time.monotonic() - start < 60 * float(minutes) + 20
        assert ("not measured" in finished.stdout) == missing
        if not missing:
            for form in ("jax ", "torch ", "torch compiled "):
                lines = [
                    line.split(" tiny ")[1].split()[:2]
                    for line in finished.stdout.splitlines()
                    if line.startswith(form + " " * (14 - len(form)))
                ]
                assert ["step", "rw+lr"] in lines
