"""Seconds that `import keras_laurel` takes after `import keras`.

Each round is a fresh process, the backends in turn.

    python benchmarks/import_time.py
"""

import os
import statistics
import subprocess
import sys

from measuring import parser
from measuring import write

PROGRAM = """
import keras
import time
start = time.perf_counter()
import keras_laurel
print(time.perf_counter() - start)
"""
BACKENDS = ("jax", "tensorflow", "torch")
ROUNDS = 7


def main():
    parser(__doc__).parse_args()
    seconds = {backend: [] for backend in BACKENDS}
    for _ in range(ROUNDS):
        for backend in BACKENDS:
            seconds[backend].append(import_seconds(backend))
    rows = [
        {
            "backend": backend,
            "median": statistics.median(values),
            "range": [min(values), max(values)],
            "rounds": ROUNDS,
        }
        for backend, values in seconds.items()
    ]
    for row in rows:
        low, high = row["range"]
        print(
            f"{row['backend']:10} {row['median']:.3f} s "
            f"({low:.3f} to {high:.3f})"
        )
    write(
        "import_time",
        rows,
        command="python benchmarks/import_time.py",
        unit="seconds beyond `import keras`",
    )


def import_seconds(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout
    return float(output.splitlines()[-1])


if __name__ == "__main__":
    main()
