"""Turn a plain model into that of an arm: LAuReL, LoRA, frozen weights."""

import keras

import keras_laurel
from experiments.language.models import build_language_model
from experiments.variants import PLAIN_VARIANTS
from experiments.variants import LaurelSizes
from experiments.variants import with_options
from keras_laurel.initializers import ColumnOrthogonal


def build_model(settings, sizes, seed, start=None):
    """The model of some settings; equal seeds give shared weights alike.

    Args:
        settings: `LanguageSettings`.
        sizes: The `Architecture`.
        seed: Integer, of the weights.
        start: A trained model to begin with in place of a new one.
    """
    plain = "deeper" if settings.variant == "deeper" else "baseline"
    model = start or build_language_model(
        plain, sizes, seed=seed, remat=settings.remat
    )
    # A model that has LAuReL keeps what it has.
    if settings.variant not in PLAIN_VARIANTS and not laurel_layers(model):
        model = add_laurel(model, settings, sizes.paper_rank)
    if settings.lora_rank:
        model.backbone.enable_lora(settings.lora_rank)
    freeze(model, settings.trained)
    return model


def laurel_layers(model):
    return keras_laurel.laurel_layers(model)


def add_laurel(model, settings, rank):
    layer = LaurelSizes(rank, settings.num_activations).layer(
        settings.variant,
        a_initializer=ColumnOrthogonal(),
    )
    layer = with_options(layer, settings.layer_options)
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
    for layer in laurel_layers(model):
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
