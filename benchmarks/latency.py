"""Latency of inference on the CPU: plain, converted, folded.

A ResNet-50, and a small decoder written with Keras' layers: a prompt at once
(prefill) and one token. All models take turns in one process; the median ratio
to the plain model in the same round and its quartiles are what is reported.

    python benchmarks/latency.py
    python benchmarks/latency.py --backends jax --rounds 50
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
VARIANTS = ("rw", "rw+lr")
WIDTH, BLOCKS, PROMPT = 512, 8, 128


def main():
    options = parser(__doc__, rounds=20, backends=BACKENDS)
    options.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one:
        return print(json.dumps(measure(arguments.rounds)))
    rows = []
    for backend in arguments.backends:
        rows += in_fresh_process(backend, arguments.rounds)
        write(
            "latency",
            rows,
            command="python benchmarks/latency.py",
            unit="forward pass, converted or folded over plain",
            setting="one 224x224 image; decoder of 8 blocks, D 512: 128 "
            "tokens, and one; rank 16; float32",
        )


def in_fresh_process(backend, rounds):
    command = [sys.executable, __file__, "--one", "--rounds", str(rounds)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    output = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    rows = json.loads(output.splitlines()[-1])
    for row in rows:
        low, high = row["quartiles"]
        print(
            f"{backend:10} {row['case']:9} {row['model']:14} "
            f"{row['median']:.3f} ({low:.3f} to {high:.3f})",
            flush=True,
        )
    return [{"backend": backend, **row} for row in rows]


def measure(rounds):
    import numpy as np

    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 224, 224, 3)).astype("float32")
    tokens = rng.normal(size=(1, PROMPT, WIDTH)).astype("float32")
    cases = {
        "resnet50": (resnet50, [image]),
        "decoder": (decoder, [tokens, tokens[:, :1]]),
    }
    found = []
    for case, (build, inputs) in cases.items():
        models = all_models(build)
        for x, name in zip(inputs, ("prefill", "token")):
            case_name = case if len(inputs) == 1 else name
            passes = {k: forward(m, x) for k, m in models.items()}
            measured = interleaved(passes, rounds)
            found += [
                {"case": case_name, "model": k, **ratio(measured, k, "plain")}
                for k in models
                if k != "plain"
            ]
    return found


def all_models(build):
    import keras_laurel

    models = {"plain": build()}
    for variant in VARIANTS:
        model = keras_laurel.laurelize(build(), keras_laurel.get(variant))
        shake(model)
        models[variant] = model
        models[f"{variant} folded"] = keras_laurel.fold(model).model
    return models


def shake(model):
    """At their start alpha and beta are 1, and folding has nothing to do."""
    import numpy as np

    import keras_laurel

    rng = np.random.default_rng(0)
    for layer in keras_laurel.laurel_layers(model):
        for weight in layer.weights:
            weight.assign(weight + rng.normal(scale=0.1, size=weight.shape))


def resnet50():
    import keras

    return keras.applications.ResNet50(weights=None)


def decoder():
    """Blocks whose branches end in dense layers, without a cache."""
    import keras
    from keras import layers

    inputs = x = keras.Input((None, WIDTH))
    for _ in range(BLOCKS):
        h = layers.RMSNormalization()(x)
        h = layers.GroupQueryAttention(64, 8, 2)(h, h, use_causal_mask=True)
        h = layers.Dense(WIDTH, use_bias=False)(h)
        x = layers.Add()([x, h])
        h = layers.RMSNormalization()(x)
        gate = layers.Dense(4 * WIDTH, activation="silu", use_bias=False)(h)
        h = layers.Dense(4 * WIDTH, use_bias=False)(h)
        h = layers.Multiply()([gate, h])
        x = layers.Add()([x, layers.Dense(WIDTH, use_bias=False)(h)])
    return keras.Model(inputs, layers.RMSNormalization()(x))


def forward(model, x):
    """A function that runs a compiled forward pass and waits for it."""
    import keras
    from keras import ops

    run = compiled(model, keras.config.backend())
    x = ops.convert_to_tensor(x)
    return lambda: ops.convert_to_numpy(run(x))


def compiled(model, backend):
    if backend == "jax":
        import jax

        trainable = [v.value for v in model.trainable_variables]
        others = [v.value for v in model.non_trainable_variables]

        @jax.jit
        def run(trainable, others, x):
            y, _ = model.stateless_call(trainable, others, x, training=False)
            return y

        return lambda x: run(trainable, others, x)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda x: model(x, training=False))
    import torch

    @torch.no_grad()
    def run(x):
        return model(x, training=False)

    return run


if __name__ == "__main__":
    main()
