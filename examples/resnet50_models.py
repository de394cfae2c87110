"""ResNet-50 classifiers: the baseline, one more layer, and with LAuReL.

All are plain functional models, so a saved one needs neither KerasCV nor
KerasHub to load.
"""

import dataclasses
import functools
import math

import keras

import keras_laurel
from experiments.variants import LaurelSizes
from experiments.vision.narrow_resnet import build_narrow_resnet
from experiments.vision.resnet50 import BLOCKS
from experiments.vision.resnet50 import FILTERS
from experiments.vision.resnet50 import STRIDES
from experiments.vision.resnet50 import build_resnet50_backbone
from shared_weights import copy_shared_weights

BACKBONES = ("keras_cv", "keras_hub", "applications", "narrow")
PLAIN_VARIANTS = ("baseline", "extra-layer")
LAUREL_PARTS = ("rw", "lr", "pa")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What all variants of a run share.

    Args:
        backbone: One of `BACKBONES`.
        image_size: Side of the square images, in pixels.
        num_classes: Number of logits.
        rank: Rank r of the LAuReL variants that have a low-rank part.
        num_activations: k of the variants with previous activations.
        sites: "all" residual connections, or the "identity" ones only.
        batch_norm_momentum: Momentum of the running mean and variance.
        width: Filters of the first stage of the backbone "narrow"; those of
            the others are ResNet-50's.
        layer_options: Dict of further arguments of `keras_laurel.Laurel`.
    """

    backbone: str = "keras_cv"
    image_size: int = 224
    num_classes: int = 1000
    rank: int = 16
    num_activations: int = 3
    sites: str = "all"
    batch_norm_momentum: float = 0.9
    width: int = 16
    layer_options: dict = dataclasses.field(default_factory=dict)


def check_variant(variant, architecture):
    """Raises a ValueError for a variant that cannot be built."""
    if variant in PLAIN_VARIANTS:
        check_extra_layer(variant, architecture)
        return
    parts = variant.split("+")
    if not set(parts) <= set(LAUREL_PARTS) or len(set(parts)) < len(parts):
        raise ValueError(
            f"Unknown variant: received `{variant}`, expected one of "
            f"{', '.join(PLAIN_VARIANTS)} or {', '.join(LAUREL_PARTS)} joined "
            "by `+`. For example: `--variants baseline rw rw+lr`."
        )
    laurel_layer(variant, architecture)


def check_extra_layer(variant, architecture):
    if variant == "extra-layer" and architecture.backbone == "applications":
        raise ValueError(
            "The variant `extra-layer` is not available with `--backbone "
            "applications`, whose ResNet50 has a fixed depth; expected "
            "keras_cv or keras_hub. Pass `--backbone keras_cv`, or leave "
            "`extra-layer` out of `--variants`."
        )


def laurel_layer(variant, architecture):
    """The layer of a LAuReL variant, with the options that it has."""
    sizes = LaurelSizes(architecture.rank, architecture.num_activations)
    layer = sizes.layer(variant)
    options = {**layer.get_config(), **architecture.layer_options}
    return layer.from_config(options)


def build_classifier(variant, architecture, seed):
    """The model of a variant; equal seeds give the shared weights alike."""
    keras.utils.set_random_seed(seed)
    model = build_resnet(architecture)
    if variant == "extra-layer":
        deeper = build_resnet(architecture, extra_blocks=(0, 0, 1, 0))
        copy_shared_weights(model, deeper)
        return deeper
    if variant not in PLAIN_VARIANTS:
        return add_laurel(model, variant, architecture)
    return model


def build_resnet(architecture, extra_blocks=(0, 0, 0, 0)):
    """A ResNet-50 with a pooled linear head that returns float32 logits."""
    blocks = [n + more for n, more in zip(BLOCKS, extra_blocks, strict=True)]
    backbone = build_backbone(architecture, blocks)
    set_batch_norm_momentum(backbone, architecture.batch_norm_momentum)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    logits = keras.layers.Dense(
        architecture.num_classes, dtype="float32", name="logits"
    )(x)
    return keras.Model(backbone.input, logits, name="resnet50")


def build_backbone(architecture, blocks):
    side = architecture.image_size
    build = {
        "keras_cv": build_keras_cv,
        "keras_hub": build_resnet50_backbone,
        "applications": build_applications,
        "narrow": functools.partial(
            build_narrow_resnet, width=architecture.width
        ),
    }[architecture.backbone]
    return build((side, side, 3), blocks)


def build_keras_cv(image_shape, blocks):
    import keras_cv

    return keras_cv.models.ResNetBackbone(
        stackwise_filters=list(FILTERS),
        stackwise_blocks=blocks,
        stackwise_strides=list(STRIDES),
        include_rescaling=False,
        input_shape=image_shape,
    )


def build_applications(image_shape, blocks):
    return keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=image_shape
    )


def set_batch_norm_momentum(model, momentum):
    """One momentum for every backbone; their defaults are 0.99 and 0.9.

    At 0.99 the running statistics need several hundred steps, more than a
    short run has, before evaluation sees what training saw.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def add_laurel(model, variant, architecture):
    """Puts the variant's layer where the residual additions stood."""
    sites = keras_laurel.residual_sites(model)
    if architecture.sites == "identity":
        sites = [site for site in sites if site.kind == "identity"]
    layer = laurel_layer(variant, architecture)
    return keras_laurel.laurelize(model, layer, sites=sites)


def trainable_parameters(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)
