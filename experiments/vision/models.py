"""ResNet-50 classifiers: plain, one block deeper, and with LAuReL.

All are plain functional models, so a saved one needs neither KerasCV nor
KerasHub to load.
"""

import keras

import keras_laurel
from experiments.variants import PLAIN_VARIANTS
from experiments.variants import copy_shared_weights
from experiments.variants import laurel_layer

FILTERS = (64, 128, 256, 512)
STRIDES = (1, 2, 2, 2)
BLOCKS = (3, 4, 6, 3)
# One more bottleneck block in the third stage: the 4.37 % of Table 1.
DEEPER_BLOCKS = (3, 4, 7, 3)
# Of the narrow network, in units of its width. ResNet-50 doubles its filters
# in each stage.
STAGE_WIDTHS = (1, 1, 2, 2)
# From 28 x 28 pixels, 7 x 7 reach the first stage. XLA's convolutions on a
# processor take three times as long where its blocks keep them.
NARROW_STRIDES = (2, 2, 2, 1)
EXPANSION = 4


def build_classifier(settings, num_classes, seed):
    """The model of some settings; equal seeds give shared weights alike."""
    keras.utils.set_random_seed(seed)
    model = build_resnet(settings, num_classes)
    if settings.variant == "deeper":
        deeper = build_resnet(settings, num_classes, DEEPER_BLOCKS)
        copy_shared_weights(model, deeper)
        return deeper
    if settings.variant in PLAIN_VARIANTS:
        return model
    sites = keras_laurel.residual_sites(model)
    if settings.sites == "identity":
        sites = [site for site in sites if site.kind == "identity"]
    layer = laurel_layer(settings, settings.rank)
    return keras_laurel.laurelize(model, layer, sites=sites)


def build_resnet(settings, num_classes, blocks=BLOCKS):
    """A ResNet-50 with a pooled linear head that returns float32 logits."""
    backbone = build_backbone(settings, blocks)
    set_batch_norm_momentum(backbone, settings.batch_norm_momentum)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(backbone.input, logits, name="resnet50")


def build_backbone(settings, blocks):
    shape = (settings.image_size, settings.image_size, 3)
    if settings.backbone == "narrow":
        return build_narrow_resnet(shape, blocks, settings.width)
    build = {"keras_cv": build_keras_cv, "keras_hub": build_keras_hub}
    return build[settings.backbone](shape, blocks)


def build_keras_cv(image_shape, blocks):
    import keras_cv

    return keras_cv.models.ResNetBackbone(
        stackwise_filters=list(FILTERS),
        stackwise_blocks=list(blocks),
        stackwise_strides=list(STRIDES),
        include_rescaling=False,
        input_shape=image_shape,
    )


def build_keras_hub(image_shape, blocks):
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


def set_batch_norm_momentum(model, momentum):
    """Set the momentum of all batch norms; the defaults are 0.99 and 0.9.

    At 0.99 the running statistics need several hundred steps, more than a
    short run has, before evaluation sees what training saw.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def build_narrow_resnet(image_shape, blocks, width):
    """ResNet-50's residual connections in a network for small images.

    KerasHub's first stage has 64 filters whatever is asked for, and KerasCV's
    stem; here they are as narrow as the rest. Returns no head.

    Args:
        image_shape: `(height, width, channels)`.
        blocks: Bottleneck blocks in each of the four stages.
        width: Filters of the first stage's 3 x 3 convolutions; the output of
            its blocks has four times as many.
    """
    image = keras.Input(image_shape)
    x = convolution(image, width, 3, 2, "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    stages = zip(STAGE_WIDTHS, blocks, NARROW_STRIDES, strict=True)
    for index, (factor, count, stride) in enumerate(stages):
        for block in range(count):
            name = f"stage{index + 1}_block{block + 1}"
            first = {"stride": stride, "project": True} if not block else {}
            x = bottleneck(x, factor * width, name, **first)
    return keras.Model(image, x)


def bottleneck(x, filters, name, stride=1, project=False):
    """Build a residual block; with `project`, its skip is a convolution.

    The last scale starts at 0, so the block starts as its skip. One epoch over
    Fashion-MNIST then takes the network to 86 % instead of 81 %.
    """
    shortcut, outputs = x, EXPANSION * filters
    if project:
        shortcut = normalized(x, outputs, 1, stride, f"{name}_shortcut")
    x = convolution(x, filters, 1, stride, f"{name}_1")
    x = convolution(x, filters, 3, 1, f"{name}_2")
    x = normalized(x, outputs, 1, 1, f"{name}_3", scale="zeros")
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def convolution(x, filters, kernel_size, stride, name):
    x = normalized(x, filters, kernel_size, stride, name)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def normalized(x, filters, kernel_size, stride, name, scale="ones"):
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same",
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    return keras.layers.BatchNormalization(
        epsilon=1e-5, gamma_initializer=scale, name=f"{name}_norm"
    )(x)
