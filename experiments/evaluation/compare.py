"""`python -m experiments.evaluation.compare A B`: two models' results.

A and B are JSON files that the harness wrote with `--output_path`. The standard
error of a difference is that of two independent samples. The models were asked
the same questions, so the true one is smaller as a rule.
"""

import argparse
import json
import math
from pathlib import Path

import pandas

from experiments.report.summary import markdown


def metrics(path):
    """Data frame of value and standard error by task and metric."""
    rows = {}
    found = json.loads(Path(path).read_text())["results"]
    for task, values in found.items():
        for key, value in values.items():
            name, _, rule = key.partition(",")
            if rule and not name.endswith("_stderr"):
                error = values.get(f"{name}_stderr,{rule}")
                known = isinstance(error, float)
                rows[task, key] = (value, error if known else math.nan)
    return pandas.DataFrame(rows, index=["value", "error"]).T


def compare(first, second):
    """Data frame of text: both models' metrics and their differences."""
    one, other = metrics(first), metrics(second)
    both = one.index.intersection(other.index)
    one, other = one.loc[both], other.loc[both]
    difference = other - one
    difference["error"] = (one["error"] ** 2 + other["error"] ** 2) ** 0.5
    frames = {"first": one, "second": other, "difference": difference}
    shown = {
        name: [show(*row) for row in frame.to_numpy()]
        for name, frame in frames.items()
    }
    names = both.to_frame(index=False, name=["task", "metric"])
    return names.join(pandas.DataFrame(shown))


def show(value, error):
    return f"{value:.4f}" + ("" if math.isnan(error) else f" ± {error:.4f}")


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.evaluation.compare",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument("first", help="results of the model compared with")
    parser.add_argument("second", help="results of the other model")
    options = parser.parse_args(arguments)
    print(markdown(compare(options.first, options.second)))


if __name__ == "__main__":
    main()
