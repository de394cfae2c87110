"""Seconds to convert a ResNet, by the number of its residual connections.

Every model is built and converted in a fresh process, so that what JAX
compiles on first use is in the figure. Left out of it, and reported beside it,
is the first `get_config` of a process, in which Keras imports TensorFlow where
it is installed.

    python benchmarks/conversion_time.py
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from measuring import parser
from measuring import write

BLOCKS = ([3, 4, 6, 3], [3, 4, 23, 3], [3, 8, 36, 3], [3, 16, 72, 9])
VARIANT = "rw+lr+pa"
BACKENDS = ("jax", "tensorflow", "torch")
ROUNDS = 3


def main():
    options = parser(__doc__)
    options.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    blocks = options.parse_args().one
    if blocks:
        return print(json.dumps(measure(blocks)))
    rows = [row(backend, blocks) for backend in BACKENDS for blocks in BLOCKS]
    report_slopes(rows)
    write(
        "conversion_time",
        rows,
        command="python benchmarks/conversion_time.py",
        unit="median seconds over fresh processes",
        variant=VARIANT,
    )


def row(backend, blocks):
    runs = [in_fresh_process(backend, blocks) for _ in range(ROUNDS)]
    medians = {
        key: statistics.median(run[key] for run in runs) for key in runs[0]
    }
    made = {"backend": backend, **medians, "rounds": ROUNDS}
    print(
        f"{backend:10} {made['sites']:4} sites: build {made['build']:.2f} s, "
        f"find {made['find']:.3f} s, convert {made['convert']:.2f} s",
        flush=True,
    )
    return made


def in_fresh_process(backend, blocks):
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, __file__, "--one", json.dumps(blocks)]
    output = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def measure(blocks):
    import keras

    import keras_laurel

    start = time.perf_counter()
    keras.layers.Identity().get_config()
    first_config = time.perf_counter() - start
    start = time.perf_counter()
    model = resnet(blocks)
    built = time.perf_counter()
    sites = keras_laurel.residual_sites(model)
    found = time.perf_counter()
    keras_laurel.laurelize(model, keras_laurel.get(VARIANT), sites=sites)
    converted = time.perf_counter()
    return {
        "sites": len(sites),
        "build": built - start,
        "find": found - built,
        "convert": converted - found,
        "first_get_config": first_config,
    }


def resnet(blocks):
    """ResNet-50, 101 and 152 by their blocks, and a deeper one."""
    import keras

    x = image = keras.Input((64, 64, 3))
    x = conv_norm(x, 64, 7, strides=2, name="stem")
    for stack, count in enumerate(blocks):
        for block in range(count):
            x = bottleneck(x, 64 * 2**stack, stack, block)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def bottleneck(x, filters, stack, block):
    from keras import layers

    name = f"stack{stack}_block{block}"
    strides = 2 if stack and not block else 1
    skip = x
    if block == 0:
        skip = conv_norm(x, 4 * filters, 1, strides, f"{name}_skip")
    for i, (width, size) in enumerate([(filters, 1), (filters, 3)]):
        x = conv_norm(x, width, size, strides if i == 0 else 1, f"{name}_{i}")
        x = layers.ReLU()(x)
    x = conv_norm(x, 4 * filters, 1, 1, f"{name}_2")
    return layers.ReLU()(layers.Add(name=f"{name}_add")([skip, x]))


def conv_norm(x, filters, size, strides, name):
    from keras import layers

    x = layers.Conv2D(filters, size, strides, "same", name=f"{name}_conv")(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def report_slopes(rows):
    for backend in BACKENDS:
        mine = [row for row in rows if row["backend"] == backend]
        sites = np.array([row["sites"] for row in mine], "float64")
        seconds = np.array([row["convert"] for row in mine])
        slope, offset = np.polyfit(sites, seconds, 1)
        r2 = np.corrcoef(sites, seconds)[0, 1] ** 2
        print(
            f"{backend:10} {1000 * slope:.1f} ms a site + {offset:.2f} s, "
            f"r2 = {r2:.3f}"
        )


if __name__ == "__main__":
    main()
