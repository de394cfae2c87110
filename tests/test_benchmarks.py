"""The benchmarks read their options; without a GPU none measures one."""

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


# The others import their frameworks first.
QUICK = {
    "conversion_time": "--one",
    "decoder_time": "--backends",
    "import_time": "--backends",
    "latency": "--backends",
    "opened_layers": "--backends",
    "step_time": "--cases",
}


@pytest.mark.parametrize("script", QUICK)
def test_options_are_read_before_anything_is_measured(script):
    def run(*options):
        command = [sys.executable, ROOT / "benchmarks" / f"{script}.py"]
        return subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=60
        )

    shown = run("--help")
    assert shown.returncode == 0 and shown.stdout.startswith("usage: ")
    for options in ([QUICK[script], "foo"], ["--round", "3"]):
        refused = run(*options)
        assert refused.returncode == 2, options
        assert refused.stderr.startswith("usage: "), options


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
