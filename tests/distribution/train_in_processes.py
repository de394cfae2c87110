"""One of the processes that train a model together and keep checkpoints.

    python train_in_processes.py FOLDER ROWS COLUMNS [die]

Keras reads which of them it is from `KERAS_DISTRIBUTION_...`. It goes on where
the checkpoints in FOLDER end, on a mesh of ROWS x COLUMNS, and prints the loss
of each round. With "die" the first process is killed in the second round, while
the others have begun a step.
"""

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    # Or Keras imports it to set its seed, which takes seconds.
    sys.modules["tensorflow"] = None

import jax
import keras
import numpy as np

from experiments.training import Checkpoints
from experiments.training import restore
from keras_laurel import distribution
from tests.small_models import convert
from tests.small_models import residual_mlp

BATCH, STEPS, ROUNDS = 8, 2, 3


class Losses(keras.callbacks.Callback):
    """Prints at once, since the process may end."""

    def on_epoch_end(self, epoch, logs):
        print(f"round {epoch}: {logs['loss']}", flush=True)


class Death(keras.callbacks.Callback):
    """SIGKILL before the last step of the second round."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, STEPS - 1):
            os.kill(os.getpid(), signal.SIGKILL)


def train(folder, callbacks=(), shard=0, shards=1):
    """The losses of the rounds that are left, on one part of each batch."""
    keras.utils.set_random_seed(0)
    model = convert(residual_mlp(), rank=2)
    model.compile(keras.optimizers.AdamW(0.1), "mse")
    fitted = model.fit(
        *part_of_data(shard, shards),
        batch_size=BATCH // shards,
        shuffle=False,
        initial_epoch=restore(model, folder),
        epochs=ROUNDS,
        callbacks=[*callbacks, Losses(), Checkpoints(folder / "checkpoints")],
        verbose=0,
    )
    return fitted.history["loss"]


def part_of_data(shard, shards):
    """Inputs and targets of the steps of a round, each round the same."""
    data = np.random.default_rng(0).normal(size=(2, STEPS, BATCH, 8))
    parts = np.split(data.astype("float32"), shards, axis=2)
    return parts[shard].reshape(2, -1, 8)


def layout_map(mesh):
    layout_map = keras.distribution.LayoutMap(mesh)
    layout_map["dense_.*/kernel"] = (None, "model")
    return distribution.extend_layout_map(layout_map, residual_axis="model")


def main(folder, rows, columns, *death):
    keras.distribution.initialize()
    tensor = distribution.make_distribution(
        "tensor",
        (int(rows), int(columns)),
        layout_map=layout_map,
        auto_shard_dataset=False,
    )
    callbacks = [Death()] if death and jax.process_index() == 0 else []
    # Where the processes share one copy of the model they read the same data.
    shards = min(tensor.num_model_replicas, tensor.num_processes)
    with tensor.scope():
        train(Path(folder), callbacks, tensor.data_shard_id, shards)


if __name__ == "__main__":
    main(*sys.argv[1:])
