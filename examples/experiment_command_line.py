"""What the programs of several seeds have alike, before Keras is imported."""

import os
from pathlib import Path

from backend_option import add_backend_option


def add_system_options(group, name):
    """Where and how the runs of the experiment `name` are made."""
    add = group.add_argument
    add_backend_option(group)
    add(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="runs at the same time, each on a processor core of its own; "
        "1 for accelerators",
    )
    add("--data-dir", metavar="DIR", help="TFDS folder of prepared sets")
    add(
        "--output",
        type=Path,
        default=Path(f"runs/{name}"),
        metavar="DIR",
        help="folder of the runs",
    )
    add(
        "--results",
        type=Path,
        metavar="FILE",
        help=f"JSON file of all numbers (default: OUTPUT/{name}.json, or "
        f"OUTPUT/{name}_tuning.json with --tune)",
    )


def fill_in_results(options, name):
    """The file of the results, where it was not given."""
    if options.results is None:
        file = f"{name}_tuning.json" if options.tune else f"{name}.json"
        options.results = options.output / file


def keep_compiled(folder):
    """Lets JAX keep in a folder what it compiles, unless the user says where.

    Read when JAX is imported.
    """
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str((folder / "compiled").resolve())
    )
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
