"""Training-step time of LAuReL over the plain residual connection.

For ResNet-50 on 64x64 images, and for one bare layer against `Add`; every
variant, three backends. All variants and the baseline take turns in one
process; the median ratio to the baseline of the same round and its quartiles
are what is reported.

    python benchmarks/step_time.py
    python benchmarks/step_time.py --backends jax --cases layer --rounds 50
"""

import argparse
import json
import os
import subprocess
import sys

from measuring import interleaved
from measuring import parser
from measuring import ratio
from measuring import write

BACKENDS = ("jax", "tensorflow", "torch")
CASES = ("layer", "resnet50")
VARIANTS = ("rw", "lr", "pa", "rw+lr", "rw+pa", "lr+pa", "rw+lr+pa")


def main():
    arguments = parse_arguments()
    if arguments.one:
        return print(json.dumps(measure_case(arguments.one, arguments)))
    rows = []
    for backend in arguments.backends:
        for case in arguments.cases:
            rows += in_fresh_process(backend, case, arguments)
    write(
        "step_time",
        rows,
        command="python benchmarks/step_time.py",
        unit="training step, variant over baseline",
        setting="ResNet-50: 64x64 images, batch 16, rank 16, k 3; layer: "
        "inputs (32, 256, 256), rank 16, k 3; float32, SGD",
    )


def line(row):
    low, high = row["quartiles"]
    return (
        f"{row['backend']:10} {row['case']:8} {row['variant']:8} "
        f"{row['median']:.3f} ({low:.3f} to {high:.3f})"
    )


def in_fresh_process(backend, case, arguments):
    command = [sys.executable, __file__, "--one", case]
    command += ["--rounds", str(arguments.rounds)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    output = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    rows = [
        {"backend": backend, "case": case, **row}
        for row in json.loads(output.splitlines()[-1])
    ]
    for row in rows:
        print(line(row), flush=True)
    return rows


def measure_case(case, arguments):
    """A row for each variant."""
    build = {"layer": layer_step, "resnet50": resnet50_step}[case]
    steps = {name: build(name) for name in ("baseline", *VARIANTS)}
    rounds = arguments.rounds * (4 if case == "layer" else 1)
    measured = interleaved(steps, rounds)
    return [{"variant": name, **ratio(measured, name)} for name in VARIANTS]


def layer_step(variant):
    import keras

    import keras_laurel

    if variant == "baseline":
        return step(one_layer_model(keras.layers.Add(), 0), (32, 256, 256))
    layer = keras_laurel.get(variant)
    history = max(layer.num_activations - 1, 0)
    return step(one_layer_model(layer, history), (32, 256, 256))


def one_layer_model(layer, history):
    """The layer, and before it one shift for each input to take gradients."""
    import keras

    image = keras.Input((256, 256))
    inputs = [
        keras.layers.LayerNormalization(scale=False)(image)
        for _ in range(2 + history)
    ]
    y = layer(inputs)
    return keras.Model(image, keras.layers.GlobalAveragePooling1D()(y))


def resnet50_step(variant):
    import keras

    import keras_laurel

    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(
        weights=None, classes=10, input_shape=(64, 64, 3)
    )
    if variant != "baseline":
        model = keras_laurel.laurelize(model, keras_laurel.get(variant))
    return step(model, (16, 64, 64, 3))


def step(model, shape):
    """A function that trains `model` one step on a fixed batch."""
    import numpy as np

    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = np.ones((shape[0], *model.output_shape[1:]), "float32")
    model.compile("sgd", "mse")
    return lambda: model.train_on_batch(x, y)


def parse_arguments():
    options = parser(__doc__, rounds=15, backends=BACKENDS, cases=CASES)
    options.add_argument("--one", metavar="CASE", help=argparse.SUPPRESS)
    return options.parse_args()


if __name__ == "__main__":
    main()
