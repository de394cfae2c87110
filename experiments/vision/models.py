"""ResNet-50 classifiers: plain, one block deeper, and with LAuReL.

All are plain functional models, so a saved one needs neither KerasCV nor
KerasHub to load.
"""

import keras

import keras_laurel
from experiments.variants import PLAIN_VARIANTS
from experiments.variants import copy_shared_weights
from experiments.variants import laurel_layer
from experiments.vision.narrow_resnet import build_narrow_resnet

FILTERS = (64, 128, 256, 512)
STRIDES = (1, 2, 2, 2)
BLOCKS = (3, 4, 6, 3)
# One more bottleneck block in the third stage: the 4.37 % of Table 1.
DEEPER_BLOCKS = (3, 4, 7, 3)


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
    return with_head(backbone, num_classes)


def with_head(backbone, num_classes):
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
