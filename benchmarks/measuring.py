"""Interleaved timing, the options, and the file of the results."""

import argparse
import json
import os
import pathlib
import platform
import statistics
import time
from importlib import metadata

RESULTS = pathlib.Path(__file__).parent.parent / "results"


def parser(doc, rounds=None, **names):
    """Return a parser of the options that benchmarks have in common.

    Args:
        doc: String, the docstring of the script.
        rounds: Integer, the default of `--rounds`, or `None` without it.
        **names: For each option of this name, what can be measured.
    """
    made = argparse.ArgumentParser(
        description=doc.partition("\n")[0], allow_abbrev=False
    )
    for option, choices in names.items():
        made.add_argument(
            f"--{option}",
            nargs="+",
            choices=choices,
            default=choices,
            help="what to measure; all of them by default",
        )
    if rounds is not None:
        made.add_argument(
            "--rounds",
            type=at_least_two,
            default=rounds,
            help=f"measurements of each, at least 2; {rounds} by default",
        )
    return made


def at_least_two(text):
    """Return the number of rounds that quartiles need."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(
            f"must be an integer of at least 2. Received: {text}"
        )
    return int(text)


def interleaved(functions, rounds, warm_up=2):
    """Seconds of functions called in turn, after `warm_up` calls of each.

    The order turns by one place each round, so that none always runs in the
    caches that the same other one left.

    Args:
        functions: Dict of functions by name.

    Returns:
        List with a dict of seconds by name for each round.
    """
    names = list(functions)
    for name in names * warm_up:
        functions[name]()
    measured = []
    for i in range(rounds):
        first = i % len(names)
        order = names[first:] + names[:first]
        measured.append({name: _seconds(functions[name]) for name in order})
    return measured


def ratio(measured, name, baseline="baseline"):
    """Median and quartiles over two rounds or more of one over another."""
    return spread([seconds[name] / seconds[baseline] for seconds in measured])


def spread(values):
    """Median and quartiles of two values or more."""
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "quartiles": [low, high], "rounds": len(values)}


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
    packages = ("keras", "keras-hub", "jax", "tensorflow", "torch", "libtpu")
    versions = {name: _version(name) for name in packages}
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        **{name: found for name, found in versions.items() if found},
    }


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
