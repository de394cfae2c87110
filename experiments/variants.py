"""The variants that the paper compares, and the sizes of LAuReL in them."""

import dataclasses

from keras_laurel.layers import get

# Without LAuReL: the model itself, and with more layers.
PLAIN_VARIANTS = ("baseline", "deeper")


@dataclasses.dataclass(frozen=True)
class LaurelSizes:
    """The sizes of LAuReL, where a variant has them.

    Args:
        rank: r of the variants with a low-rank part.
        num_activations: k of the variants with previous activations.
        keep_branch: As `keras_laurel.Laurel` takes it.
    """

    rank: int = 32
    num_activations: int = 3
    keep_branch: bool = True

    def layer(self, variant, a_initializer="glorot_uniform"):
        """`keras_laurel.get(variant)` with the sizes that belong to it."""
        parts = variant.split("+")
        options = {}
        if "lr" in parts:
            options["rank"] = self.rank
            options["a_initializer"] = a_initializer
        if "pa" in parts:
            options["num_activations"] = self.num_activations
        if "rw" in parts and not self.keep_branch:
            options["keep_branch"] = False
        return get(variant, **options)


def with_options(layer, options):
    """The same layer with other arguments of `Laurel`, as a dict."""
    return layer.from_config({**layer.get_config(), **options})


def copy_shared_weights(source, target):
    """Give `target` the weights of the layers of the same name.

    A deeper model then starts like the baseline of its seed.
    """
    shared = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if layer.name in shared:
            layer.set_weights(shared[layer.name].get_weights())
