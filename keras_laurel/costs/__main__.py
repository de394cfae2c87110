"""`python -m keras_laurel.costs`: the cost of a saved model.

It counts parameters, FLOPs and the bytes that LAuReL keeps, from the model's
shapes.
"""

import argparse
import importlib
import json
import re
import sys
from pathlib import Path

import keras

from keras_laurel.checks import check_file_path
from keras_laurel.costs.measure import footprint


def main(arguments=None):
    options = parse(arguments)
    try:
        if options.output is not None:
            check_output(options.output)
        for module in options.modules:
            import_module(module)
        found = footprint(
            load(options.model),
            options.baseline and load(options.baseline),
            options.batch_size,
            options.sequence_length,
        )
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(found)
    if options.output is not None:
        text = json.dumps(found.to_dict(), indent=1) + "\n"
        Path(options.output).write_text(text)


def check_output(path):
    """Raise if no file can be written at `path`."""
    check_file_path("--output", path)
    folder = Path(path).parent
    if not folder.is_dir():
        raise ValueError(
            "Argument `--output` must be a file in a folder that exists. "
            f"Received: --output {path}, and there is no folder {folder}. "
            "Make the folder, or name another file."
        )


def import_module(name):
    """Import a module, for the classes that it registers."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(
            "Argument `--import` must be a module that Python finds, without "
            f"`.py`. Received: --import {name}: {error}. Run the command in "
            "the folder of the module, or add the folder to `PYTHONPATH`."
        ) from error


def load(path):
    try:
        return keras.models.load_model(path, compile=False)
    except TypeError as error:
        missing = re.search("Could not locate class '(.*?)'", str(error))
        if missing is None:
            raise
        raise ValueError(
            "Argument `model` must be a file whose classes are imported. "
            f"Received: {path}, which has the class `{missing[1]}`. Pass "
            "`--import MODULE` with the module that registers it, or call "
            "`keras_laurel.costs.footprint(model)` from Python."
        ) from error


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m keras_laurel.costs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", help="a .keras file")
    add("--baseline", help="a .keras file to compare with")
    add(
        "--import",
        dest="modules",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module with classes of the model; may be repeated",
    )
    add(
        "--batch-size",
        type=int,
        default=1,
        help="the examples in a batch, 1 by default",
    )
    add(
        "--sequence-length",
        type=int,
        help="the length of sequences, for models that leave it undefined",
    )
    add("--output", help="a JSON file for the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
