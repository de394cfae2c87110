"""`python -m experiments.costs`: what LAuReL costs in a model of the paper.

Without `--topology` the costs are counted from the model's shapes. With it
the TPU compiler is asked for a slice of chips, which needs KERAS_BACKEND=jax
and the extra `tpu`, and takes minutes for each of the two models.
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path

import keras

from experiments.costs.training_case import MODELS
from experiments.costs.training_case import TrainingCase
from keras_laurel.costs.measure import footprint
from keras_laurel.costs.tpu import compile_program
from keras_laurel.costs.tpu.chips import find_chip
from keras_laurel.costs.tpu.chips import find_devices
from keras_laurel.costs.tpu.comparison import compare
from keras_laurel.costs.tpu.comparison import overheads
from keras_laurel.costs.tpu.compiler import EFFORTS
from keras_laurel.costs.tpu.compiler import PROGRAMS
from keras_laurel.distribution import llama_layout_map
from keras_laurel.distribution import make_distribution
from keras_laurel.distribution.layout_maps import convolution_layout_map


def main(arguments=None):
    options = parse(arguments)
    try:
        keras.config.set_dtype_policy(options.precision)
        results = run(options)
    except ValueError as error:
        sys.exit(f"{error}")
    if options.output:
        Path(options.output).write_text(json.dumps(results, indent=1) + "\n")
    if not all(cost["fits"] for cost in results.get("tpu", {}).values()):
        sys.exit("A model does not fit the memory of a chip.")


def run(options):
    """Print the tables; return what they were made of."""
    cases = {
        variant: make_case(options, variant)
        for variant in dict.fromkeys(["baseline", options.variant])
    }
    first = next(iter(cases.values()))
    chips = 1
    if options.topology:
        # Before Keras or JAX look for a TPU, and with the error about a mesh.
        devices = find_devices(options.topology)
        distribution_maker(first, options)(devices)
        chips = len(devices)
    batch_size = options.batch_size or first.batch_size(chips)
    counted = count(cases, batch_size)
    print(counted)
    results = {"options": vars(options), "footprint": counted.to_dict()}
    if options.topology:
        costs = compile_cases(cases, batch_size, options)
        print(f"\nOne chip of {options.topology}, {options.program}")
        print(compare(costs))
        results["tpu"] = {name: c.to_dict() for name, c in costs.items()}
        results["percent_added"] = overheads(
            costs[options.variant], costs["baseline"]
        )
    return results


def make_case(options, variant):
    return TrainingCase(
        model=options.model,
        variant=variant,
        rank=options.rank,
        num_activations=options.num_activations,
        remat=options.remat,
        num_blocks=options.blocks,
        sequence_length=options.sequence_length,
    )


def count(cases, batch_size):
    """The `Footprint` of the last case, against the first."""
    baseline, *others = cases.values()
    (x, *_) = baseline.batch(batch_size)
    length = x["token_ids"].shape[1] if baseline.is_language_model else None
    with keras.StatelessScope(initialize_variables=False):
        plain = baseline.build_model()
        models = [case.build_model() for case in others]
    model = models[0] if models else plain
    against = plain if models else None
    return footprint(model, against, batch_size, length)


def compile_cases(cases, batch_size, options):
    """The `ProgramCost` of each case."""
    costs = {}
    for name, case in cases.items():
        with Progress(f"Compiling {case.model} {name}, {options.program}"):
            x, y, sample_weight = case.batch(batch_size)
            costs[name] = compile_program(
                case.build,
                x,
                y,
                sample_weight,
                program=options.program,
                topology=options.topology,
                distribution=distribution_maker(case, options),
                effort=options.effort,
            )
    return costs


def distribution_maker(case, options):
    """The function of devices that `compile_program` takes."""
    layout_map = (
        llama_layout_map if case.is_language_model else convolution_layout_map
    )
    return lambda devices: make_distribution(
        options.distribution,
        mesh_shape=options.mesh,
        devices=devices,
        layout_map=layout_map,
        auto_shard_dataset=False,
    )


class Progress:
    """Shows on a terminal that something takes long, and for how long."""

    def __init__(self, text):
        self.text = text
        self.done = threading.Event()
        self.start = time.monotonic()

    def __enter__(self):
        self.thread = threading.Thread(target=self.show, daemon=True)
        self.thread.start()

    def show(self):
        while not self.done.wait(1.0 if sys.stderr.isatty() else 60.0):
            self.write("\r" if sys.stderr.isatty() else "\n")

    def write(self, end):
        seconds = time.monotonic() - self.start
        print(f"{self.text}: {seconds:.0f} s", end=end, file=sys.stderr)

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()
        self.write("\n")


def positive(text):
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(
            f"received {text!r}, expected a whole number of 1 or more"
        )
    return int(text)


def mesh_shape(text):
    return tuple(positive(size) for size in text.split("x"))


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.costs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=MODELS, default="ablation-157m")
    add("--variant", default="rw+lr", help="rw, lr, pa, rw+lr, ..., deeper")
    add("--rank", type=positive, help="default: the paper's for the model")
    add("--num-activations", type=positive, default=3)
    add("--blocks", type=positive, help="another number of transformer blocks")
    add(
        "--batch-size",
        type=positive,
        help="of all chips; default: by the model",
    )
    add("--sequence-length", type=positive)
    add("--precision", default="mixed_bfloat16")
    add("--topology", help="for example v5e:4x4; what follows is for it")
    add("--remat", action="store_true", help="rematerialise the blocks")
    add("--program", choices=PROGRAMS, default="train")
    add("--distribution", choices=("data", "fsdp", "tensor"), default="data")
    add("--mesh", type=mesh_shape, help="for tensor: batch x model, 4x4")
    add("--effort", choices=EFFORTS, help="of the compiler")
    add("--output", help="a JSON file for what was found")
    options = parser.parse_args(arguments)
    check(options, parser)
    return options


def check(options, parser):
    """Say what is wrong with the options before anything takes its time."""
    given = {
        name
        for name, value in vars(options).items()
        if value != parser.get_default(name)
    }
    if options.output and not Path(options.output).absolute().parent.is_dir():
        parser.error(
            f"--output got {options.output}, whose folder does not exist"
        )
    check_sizes(options.variant, given, parser)
    check_topology(options.topology, given, parser)


def check_sizes(variant, given, parser):
    for part, name in (("lr", "rank"), ("pa", "num_activations")):
        if name in given and part not in variant.split("+"):
            parser.error(
                f"{flag(name)} is about variants with {part!r}, and --variant "
                f"got {variant}; leave one of them out"
            )


def check_topology(topology, given, parser):
    if topology:
        try:
            find_chip(topology)
        except ValueError as error:
            parser.error(str(error))
        return
    for name in ("remat", "program", "distribution", "mesh", "effort"):
        if name in given:
            parser.error(
                f"{flag(name)} is about a slice of TPUs; pass --topology too, "
                "such as v5e:4x4"
            )


def flag(name):
    return "--" + name.replace("_", "-")


if __name__ == "__main__":
    main()
