"""Measure the cost of opening the layers of a user's model.

A GPT of blocks that add in their `call`, converted, and its twin, whose blocks
call LAuReL layers. By backend: the processor's time to find the additions, and
to convert them, for each layer that is opened, beyond one run of the model
for its shapes; operations of a compiled step over the twin's (JAX); and
the time of a call op by op, the converted model and the twin in turn.

    python benchmarks/opened_layers.py
"""

import argparse
import json
import os
import subprocess
import sys
import time

from measuring import interleaved
from measuring import parser
from measuring import ratio
from measuring import spread
from measuring import write

BACKENDS = ("jax", "tensorflow", "torch")
DEPTH = 16
WIDTH, LENGTH, BATCH = 64, 32, 2
ROUNDS, OPENINGS = 40, 11


def main():
    options = parser(__doc__)
    options.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    if options.parse_args().one:
        return print(json.dumps(measure()))
    rows = [in_fresh_process(backend) for backend in BACKENDS]
    write(
        "opened_layers",
        rows,
        command="python benchmarks/opened_layers.py",
        unit="milliseconds for each opened layer; converted over twin",
        variant="rw+lr, rank 4",
    )


def in_fresh_process(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend}
    output = subprocess.run(
        [sys.executable, __file__, "--one"],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    row = {"backend": backend, **json.loads(output.splitlines()[-1])}
    print(row, flush=True)
    return row


def measure():
    import keras_laurel

    seconds_per_layer(2)  # What is imported and compiled on first use.
    # One by itself says little: Python may collect its garbage in it.
    opened = [seconds_per_layer(DEPTH) for _ in range(OPENINGS)]
    find, convert = ([1000 * x for x in each] for each in zip(*opened))
    twin, converted = gpt(8, keras_laurel.get("rw+lr", rank=4)), gpt(8)
    layer = keras_laurel.get("rw+lr", rank=4)
    keras_laurel.laurelize(converted, layer, verbose=False)
    x = tokens()
    calls = {"twin": lambda: wait(twin(x)), "made": lambda: wait(converted(x))}
    measured = interleaved(calls, ROUNDS, warm_up=5)
    return {
        "find_milliseconds": spread(find),
        "convert_milliseconds": spread(convert),
        "eager_call": ratio(measured, "made", "twin"),
        "flops": flops(converted) / flops(twin) if is_jax() else None,
    }


def seconds_per_layer(depth):
    """Of finding, and of converting, beyond a run of the model for shapes."""
    import keras

    import keras_laurel

    model = gpt(depth)
    x = keras.KerasTensor((BATCH, LENGTH), "int32")
    layer = keras_laurel.get("rw+lr", rank=4)
    own, find, convert = [
        seconds(function)
        for function in (
            lambda: keras.src.backend.compute_output_spec(model, x),
            lambda: keras_laurel.residual_sites(model),
            lambda: keras_laurel.laurelize(model, layer, verbose=False),
        )
    ]
    return (find - own) / depth, (convert - own) / depth


def seconds(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def gpt(depth, laurel=None):
    """A built model whose blocks add, or call a copy of `laurel`."""
    import keras
    from keras import layers

    def copy():
        return laurel and type(laurel).from_config(laurel.get_config())

    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm1 = layers.LayerNormalization()
            self.attention = layers.MultiHeadAttention(4, WIDTH // 4)
            self.norm2 = layers.LayerNormalization()
            self.up = layers.Dense(4 * WIDTH, activation="gelu")
            self.down = layers.Dense(WIDTH)
            self.first, self.second = copy(), copy()

        def call(self, x):
            h = self.norm1(x)
            h = self.attention(h, h, use_causal_mask=True)
            x = self.first([x, h]) if self.first else x + h
            h = self.down(self.up(self.norm2(x)))
            return self.second([x, h]) if self.second else x + h

    class GPT(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(256, WIDTH)
            self.blocks = [Block() for _ in range(depth)]
            self.head = layers.Dense(256)

        def call(self, tokens):
            x = self.embedding(tokens)
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    model = GPT()
    model(tokens())
    return model


def tokens():
    import numpy as np
    from keras import ops

    return ops.convert_to_tensor(np.ones((BATCH, LENGTH), "int32"))


def wait(y):
    return y.block_until_ready() if is_jax() else y


def is_jax():
    import keras

    return keras.backend.backend() == "jax"


def flops(model):
    """Return XLA's count of FLOPs of the loss and its gradient."""
    import jax
    from keras import ops

    def loss(trainable, rest, x):
        y, _ = model.stateless_call(trainable, rest, x)
        return ops.mean(ops.square(y))

    trainable = [v.value for v in model.trainable_variables]
    rest = [v.value for v in model.non_trainable_variables]
    step = jax.jit(jax.value_and_grad(loss))
    compiled = step.lower(trainable, rest, tokens()).compile()
    return compiled.cost_analysis()["flops"]


if __name__ == "__main__":
    main()
