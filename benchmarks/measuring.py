"""Interleaved timing, and the file that results are written to."""

import json
import os
import pathlib
import platform
import statistics
import time
from importlib import metadata

RESULTS = pathlib.Path(__file__).parent.parent / "results"


def interleaved(baseline, variant, rounds, warm_up=2):
    """Seconds of two functions called in turn, after `warm_up` calls each.

    The order within a round alternates, so that neither always runs in the
    caches the other left.

    Returns:
        List of `(baseline seconds, variant seconds)`, one for each round.
    """
    for _ in range(warm_up):
        baseline()
        variant()
    pairs = []
    for i in range(rounds):
        order = (baseline, variant) if i % 2 == 0 else (variant, baseline)
        seconds = [_seconds(function) for function in order]
        pairs.append(tuple(seconds if i % 2 == 0 else seconds[::-1]))
    return pairs


def ratio(pairs):
    """Median and quartiles of variant over baseline, over the rounds."""
    ratios = [variant / baseline for baseline, variant in pairs]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"median": median, "quartiles": [low, high], "rounds": len(ratios)}


def write(name, rows, **about):
    """Write `results/<name>.json`: the rows and what they were run on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({**about, "run_on": _run_on(), "rows": rows}, indent=1)
        + "\n"
    )
    print(f"Written to {path.relative_to(RESULTS.parent)}")


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _run_on():
    packages = ("keras", "jax", "tensorflow", "torch")
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }
