"""`python -m experiments NAME`: train the arms of a config, and compare them.

Without a name it lists the configs. KERAS_BACKEND chooses the backend.
"""

import argparse
import os
import sys

from experiments.configs import find_experiment
from experiments.configs import list_experiments
from experiments.options import parse

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description=__doc__,
        epilog=list_experiments(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=arguments[:1] in ([], ["-h"], ["--help"]),
    )
    parser.add_argument("name", nargs="?", help="of a config, see below")
    options, others = parser.parse_known_args(arguments)
    if options.name is None and others:
        parser.error(f"the name of a config comes first, before {others[0]}")
    if options.name is None:
        return parser.print_help()
    try:
        experiment = find_experiment(options.name)
        experiment, machine = parse(experiment, others)
        for arm in experiment.arms:
            experiment.settings_of(arm)
        keep_compiled(machine.output)
        # Keras takes its seconds; what is wrong with a command is said before.
        from experiments.program import run

        run(experiment, machine, arguments)
    except ValueError as error:
        notes = "".join(f" {x}." for x in getattr(error, "__notes__", ()))
        sys.exit(f"error: {error}{notes}")


def keep_compiled(folder):
    """Let JAX keep what it compiles, unless the user says where.

    An arm is then compiled with its first seed only, and not again when a run
    is resumed. JAX reads this when it is imported.
    """
    compiled = str((folder / "compiled").resolve())
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", compiled)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


if __name__ == "__main__":
    main(sys.argv[1:])
