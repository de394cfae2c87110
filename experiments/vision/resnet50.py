"""ResNet-50 and ResNet-50 with one more layer, plain and with LAuReL."""

import keras

from experiments.variants import PLAIN_VARIANTS
from experiments.variants import LaurelSizes
from keras_laurel.conversion import laurelize

FILTERS = (64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)
STRIDES = (1, 2, 2, 2)
STAGES = (1, 2, 3, 4)
# One more bottleneck block in the third stage: the 4.37 % of Table 1.
DEEPER_BLOCKS = (3, 4, 7, 3)


def build_resnet50(
    variant, laurel=None, image_size=224, num_classes=1000, stages=STAGES
):
    """A ResNet-50 that returns float32 logits, not compiled.

    Args:
        variant: One of `PLAIN_VARIANTS`, or a name that `keras_laurel.get`
            knows.
        laurel: `LaurelSizes`; the default has the rank 16 of Table 1.
        image_size: Side of the square images, in pixels.
        num_classes: Number of logits.
        stages: Those of the four stages that get LAuReL connections.
    """
    blocks = DEEPER_BLOCKS if variant == "deeper" else BLOCKS
    backbone = build_resnet50_backbone((image_size, image_size, 3), blocks)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    model = keras.Model(backbone.input, logits, name="resnet50")
    if variant in PLAIN_VARIANTS:
        return model
    laurel = laurel or LaurelSizes(rank=16)
    layer = laurel.layer(variant)
    return laurelize(model, lambda x: layer if stage_of(x) in stages else None)


def stage_of(site):
    """The stage of a site of ResNet-50, 1 to 4, which its width tells."""
    return STAGES[FILTERS.index(site.output_shape[-1] // 4)]


def build_resnet50_backbone(image_shape, blocks=BLOCKS):
    """KerasHub's ResNet-50 without its head.

    Args:
        image_shape: `(height, width, channels)`.
        blocks: Bottleneck blocks in each of the four stages.
    """
    import keras_hub

    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=list(FILTERS),
        stackwise_num_blocks=list(blocks),
        stackwise_num_strides=list(STRIDES),
        block_type="bottleneck_block",
        image_shape=image_shape,
    )
