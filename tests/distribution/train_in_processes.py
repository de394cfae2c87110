"""One of the processes that train a model together, on each of two meshes.

Keras reads which of them it is from `KERAS_DISTRIBUTION_...`. It prints the
losses.
"""

import json

import keras
import numpy as np

from keras_laurel import distribution
from tests.distribution.meshes import convert
from tests.distribution.meshes import dense_model

BATCH, STEPS = 8, 3


def layout_map(mesh):
    layout_map = keras.distribution.LayoutMap(mesh)
    layout_map["dense_.*/kernel"] = (None, "model")
    return distribution.extend_layout_map(layout_map, residual_axis="model")


def train(shard=0, shards=1):
    """The losses of all steps, on one part of each batch."""
    keras.utils.set_random_seed(0)
    model = convert(dense_model(), rank=2)
    model.compile(keras.optimizers.AdamW(0.1), "mse")
    generator = np.random.default_rng(0)
    losses = []
    for _ in range(STEPS):
        x, y = generator.normal(size=(2, BATCH, 8)).astype("float32")
        mine = slice(shard * BATCH // shards, (shard + 1) * BATCH // shards)
        losses.append(float(model.train_on_batch(x[mine], y[mine])))
    return losses


def main():
    keras.distribution.initialize()
    # On the second mesh the processes share one copy of the model, and read
    # the same data.
    print(json.dumps([train_on((2, 2)), train_on((1, 4))]))


def train_on(mesh_shape):
    tensor = distribution.make_distribution(
        "tensor", mesh_shape, layout_map=layout_map, auto_shard_dataset=False
    )
    shards = min(tensor.num_model_replicas, tensor.num_processes)
    with tensor.scope():
        return train(tensor.data_shard_id, shards)


if __name__ == "__main__":
    main()
