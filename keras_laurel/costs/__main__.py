"""`python -m keras_laurel.costs`: the cost of a saved model.

It counts parameters, FLOPs and the bytes that LAuReL keeps, from the model's
shapes.
"""

import argparse
import json
import sys
from pathlib import Path

import keras

from keras_laurel.costs.measure import footprint


def main(arguments=None):
    options = parse(arguments)
    try:
        found = footprint(
            load(options.model),
            options.baseline and load(options.baseline),
            options.batch_size,
            options.sequence_length,
        )
    except ValueError as error:
        sys.exit(f"{error}")
    print(found)
    if options.output:
        text = json.dumps(found.to_dict(), indent=1) + "\n"
        Path(options.output).write_text(text)


def load(path):
    return keras.models.load_model(path, compile=False)


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
    add("--batch-size", type=int, default=1)
    add("--sequence-length", type=int)
    add("--output", help="a JSON file for the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
