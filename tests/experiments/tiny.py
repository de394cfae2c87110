"""Runs the experiments with a small ResNet and a few modules of text.

`TINY_LOGICAL_CPUS` gives TensorFlow that many CPU devices.
"""

import itertools
import os
import sys

import keras
from keras import layers

from experiments.language import datasets
from experiments.vision import models

MODULES = 40
# A Llama of some thousand weights, and a training of a few seconds.
LANGUAGE = (
    "--depth 3 --width 32 --vocabulary-size 300 --sequence-length 32 --rank 4 "
    "--tokens 1536 --tokens-per-step 128 --rounds 4 --evaluation-batches 2 "
    "--learning-rate 0.01 --model tiny"
).split()
VISION = (
    "--dataset digits --train-split train[:512] --image-size 32 "
    "--backbone keras_cv --rank 2 --epochs 3 --batch-size 64 "
    "--learning-rate 0.005 --warmup-epochs 1"
).split()


def build_tiny(image_shape, blocks):
    """Stands for KerasCV's ResNet-50: four connections, five if deeper."""
    x = inputs = layers.Input(image_shape)
    x = layers.Conv2D(8, 4, strides=4, name="stem")(x)
    for stage, filters in ((1, 8), (2, 16)):
        for block in range(blocks[stage] - 3):
            x = residual_block(x, filters, f"stage{stage}_block{block}")
    return keras.Model(inputs, x)


def residual_block(x, filters, name):
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(x)
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def shrink(patch=setattr):
    """Make KerasCV's ResNet tiny, and the packaged texts short."""
    patch(models, "build_keras_cv", build_tiny)
    for builder in datasets.BUILDERS:
        patch(builder, "read_documents", shortened(builder.read_documents))


def shortened(read_documents):
    def read(self):
        for name, text in itertools.islice(read_documents(self), MODULES):
            yield name, text[:3000]

    return read


def split_cpu():
    """As many logical CPU devices as `TINY_LOGICAL_CPUS` says, if set."""
    count = int(os.environ.get("TINY_LOGICAL_CPUS", "1"))
    if count == 1:
        return
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * count,
    )


if __name__ == "__main__":
    from experiments.__main__ import main

    shrink()
    split_cpu()
    main(sys.argv[1:])
