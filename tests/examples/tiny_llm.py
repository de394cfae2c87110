"""Runs an LLM program with a few thousand weights and a few modules of text.

The name of the program comes first, its options after it. `TINY_LOGICAL_CPUS`
gives TensorFlow that many CPU devices.
"""

import importlib
import itertools
import sys

from logical_cpus import split_cpu

from experiments.language import datasets as text_datasets
from experiments.language import models

SIZES = models.Architecture(3, 16, 2, 32, 300, 32)
MODULES = 40


def shrink():
    """Makes `tiny` tinier, and the standard library and the plays short."""
    models.ARCHITECTURES["tiny"] = SIZES
    for builder in text_datasets.BUILDERS:
        builder.read_documents = shortened(builder.read_documents)


def shortened(read_documents):
    def read(self):
        for name, text in itertools.islice(read_documents(self), MODULES):
            yield name, text[:3000]

    return read


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    # Only a module that is run as a program takes the options before Keras.
    module = importlib.import_module(program)
    shrink()
    split_cpu()
    module.main(module.parse_options(arguments))
