"""Pictures show the numbers they were drawn from; no GPU, no result."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

from experiments.costs import tpu_picture

if keras.backend.backend() != "jax":
    pytest.skip("is the same on each backend", allow_module_level=True)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
FIELDS = {
    "scheduled cycles": ("percent_added", "cycles"),
    "bytes accessed": ("percent_added", "bytes_accessed"),
    "peak memory": ("percent_added", "peak_memory"),
    "step time, paper": ("paper_percent_step_time",),
    "peak memory, paper": ("paper_percent_memory",),
}


def value_at(row, path):
    for name in path:
        row = row[name]
    return row


def test_each_number_of_table_5_has_its_bar(monkeypatch, tmp_path):
    table = json.loads((RESULTS / "tpu_table_5.json").read_text())
    rows = [row for row in table["rows"] if row["variant"] != "baseline"]
    figures = []
    monkeypatch.setattr(tpu_picture.plt, "close", figures.append)
    tpu_picture.draw(table["rows"], "Table 5", tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.undo()
    (axes,) = figures[0].axes
    assert {bars.get_label() for bars in axes.containers} == set(FIELDS)
    labels = iter(axes.texts)
    for bars in axes.containers:
        for place, (bar, row) in enumerate(zip(bars, rows, strict=True)):
            value = value_at(row, FIELDS[bars.get_label()])
            assert bar.get_height() == (value or 0)
            assert next(labels).get_text() == (
                "" if value is None else f"{value:.1f}"
            )
            assert abs(bar.get_x() + bar.get_width() / 2 - place) < 0.5
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [row["variant"] for row in rows]
    tpu_picture.plt.close(figures[0])


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
