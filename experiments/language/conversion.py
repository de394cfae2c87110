"""The model of an arm: LAuReL, LoRA and frozen weights in a plain one."""

import keras

import keras_laurel
from experiments.language.models import build_plain
from experiments.variants import PLAIN_VARIANTS
from experiments.variants import laurel_layer
from keras_laurel.initializers import ColumnOrthogonal


def build_model(settings, sizes, seed, start=None):
    """The model of some settings; equal seeds give shared weights alike."""
    extra = sizes.extra_blocks if settings.variant == "deeper" else 0
    model = start or build_plain(sizes, seed, settings.remat, extra)
    converted = keras_laurel.laurel_layers(model)
    # A model that has LAuReL keeps what it has.
    if settings.variant not in PLAIN_VARIANTS and not converted:
        model = add_laurel(model, settings, sizes.paper_rank)
    if settings.lora_rank:
        model.backbone.enable_lora(settings.lora_rank)
    freeze(model, settings.trained)
    return model


def add_laurel(model, settings, rank):
    layer = laurel_layer(settings, rank, ColumnOrthogonal())
    if settings.weights_in == "bfloat16":
        layer = CastLaurel.from_config(layer.get_config())
    return keras_laurel.laurelize(
        model, layer, granularity=settings.granularity
    )


def freeze(model, trained):
    """Freeze all but LAuReL's weights, or LAuReL's alone."""
    if trained == "laurel":
        for layer in model.backbone.layers:
            layer.trainable = False
    for layer in keras_laurel.laurel_layers(model):
        layer.trainable = trained != "plain"


@keras.saving.register_keras_serializable(package="experiments")
class CastLaurel(keras_laurel.Laurel):
    """A layer that applies alpha, beta and gamma in bfloat16.

    The library avoids this; here it is measured.

    The weights behind them stay in float32, as under any mixed policy, and so
    does the sum: what differs is that 1.002 acts as 1.
    """

    def _bounded_weights(self):
        return tuple(map(round_to_bfloat16, super()._bounded_weights()))

    def _gamma(self):
        gamma = super()._gamma()
        return None if gamma is None else round_to_bfloat16(gamma)


def round_to_bfloat16(x):
    """x with 8 significant bits, in float32; the gradient is that of x.

    Not by casts there and back, which XLA may leave out. The sum that is
    taken away again is too large for the other 16 bits (Veltkamp, 1968).
    """
    wide = x * 65537.0
    return wide - (wide - x)
