"""The models whose exports are tested, tiny and with random weights."""

import keras
import numpy as np


def resnet():
    import keras_hub

    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[8],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[2, 2],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        image_shape=(32, 32, 3),
    )


def mobilenet_v2():
    return keras.applications.MobileNetV2(
        (64, 64, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )


def llama():
    import keras_hub

    return keras_hub.models.LlamaBackbone(
        vocabulary_size=64,
        num_layers=3,
        hidden_dim=16,
        intermediate_dim=32,
        num_query_heads=4,
        num_key_value_heads=2,
    )


def gpt2():
    import keras_hub

    return keras_hub.models.GPT2Backbone(
        vocabulary_size=64,
        num_layers=3,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=32,
    )


MODELS = {
    "ResNet": resnet,
    "MobileNetV2": mobilenet_v2,
    "Llama": llama,
    "GPT-2": gpt2,
}

VARIANTS = {
    "rw": {},
    "lr": {"rank": 3},
    "pa": {},
    "rw+lr": {"rank": 3},
    "rw+lr+pa": {"rank": 3},
}


def example(model, length=6):
    """One image, or one sequence of tokens without padding."""
    rng = np.random.default_rng(0)

    def one(x):
        shape = (1, *[size or length for size in x.shape[1:]])
        if "padding_mask" in x.name:
            return np.ones(shape, x.dtype)
        if keras.backend.is_int_dtype(x.dtype):
            return rng.integers(1, 8, size=shape).astype(x.dtype)
        return rng.normal(size=shape).astype(x.dtype)

    return keras.tree.map_structure(one, model.input)
