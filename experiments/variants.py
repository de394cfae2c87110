"""The variants that the paper compares."""

from keras_laurel.layers import get

# Without LAuReL: the model itself, and with more layers.
PLAIN_VARIANTS = ("baseline", "deeper")


def laurel_layer(settings, rank, a_initializer="glorot_uniform"):
    """The layer of a variant, with the sizes that belong to it.

    `layer_options` of the settings have the last word.
    """
    parts = settings.variant.split("+")
    sizes = {}
    if "lr" in parts:
        sizes |= {"rank": rank, "a_initializer": a_initializer}
    if "pa" in parts:
        sizes["num_activations"] = settings.num_activations
    layer = get(settings.variant, **sizes)
    return layer.from_config({**layer.get_config(), **settings.layer_options})


def copy_shared_weights(source, target):
    """Give `target` the weights of the layers of the same name.

    A deeper model then starts like the baseline of its seed.
    """
    shared = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if layer.name in shared:
            layer.set_weights(shared[layer.name].get_weights())
