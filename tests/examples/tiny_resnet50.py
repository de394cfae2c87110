"""Runs the example program with a residual network of a few thousand weights.

`TINY_LOGICAL_CPUS` gives TensorFlow that many CPU devices.
"""

import keras
from keras import layers
from logical_cpus import split_cpu

import resnet50_imagenet
import resnet50_models
from command_line import parse_options


def build_tiny(image_shape, blocks):
    inputs = layers.Input(image_shape)
    x = layers.Conv2D(8, 4, strides=4, name="stem")(inputs)
    for stage, filters in enumerate((8, 16)):
        for block in range(blocks[stage] - 2):
            x = residual_block(x, filters, f"stage{stage}_block{block}")
    return keras.Model(inputs, x)


def residual_block(x, filters, name):
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(x)
        shortcut = layers.BatchNormalization()(shortcut)
    x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_relu")(x)


if __name__ == "__main__":
    split_cpu()
    resnet50_models.build_keras_cv = build_tiny
    resnet50_imagenet.main(parse_options())
