"""Take LAuReL layers out of a model again."""

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.connection import detach
from keras_laurel.conversion.blocks.owner import LaurelOwner
from keras_laurel.conversion.graphs.plan import Removal
from keras_laurel.conversion.graphs.rebuild import rebuild
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.hub import adopt
from keras_laurel.conversion.laurelize import laurel_layers
from keras_laurel.layers import Laurel


def remove_laurel(model):
    """Put the plain additions back where LAuReL layers stand.

    The result computes `x + f(x)` with the weights that the other layers have
    now; what the LAuReL layers learned is dropped, so that a trained model
    computes something else than before. Save it first with
    `save_laurel_weights` if it may be needed again. A `scale` other than 1 is
    dropped too.

    As with `laurelize`, layers and variables are shared with `model`, and a
    model with connections around its blocks, such as a KerasHub transformer,
    is changed in place and stays compiled, with a fresh optimizer. The result
    is of the class that `model` had before conversion, and saves as such.

    Args:
        model: A model that `laurelize` returned, or a functional or sequential
            one that was built with LAuReL layers.

    Returns:
        A model without LAuReL layers.

    Raises:
        ValueError: if `model` has none, or has some in the `call` of a layer,
            which are named. Nothing has changed then.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> model = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    Converted 16 residual additions to LaurelRW; left out 0 other additions.
    >>> model = keras_laurel.remove_laurel(model)
    >>> len(keras_laurel.laurel_layers(model))
    0
    """
    layers = laurel_layers(model)
    if not layers:
        raise ValueError(
            f"`model` got {model.name!r}, which has no LAuReL layers. Pass a "
            "model that `laurelize` returned."
        )
    removals = [
        Removal(node)
        for functional in functional_models(model)
        for node in keras_internals.nodes(functional)
        if isinstance(node.operation, Laurel)
    ]
    _check_all_are_reached(model, layers, removals)
    result = rebuild(model, removals)
    for part in [result, *keras_internals.flatten_layers(result)]:
        if isinstance(part, LaurelOwner):
            adopt.restore(part)
        detach(part)
    return result


def _check_all_are_reached(model, layers, removals):
    reached = {id(removal.layer) for removal in removals}
    for layer in keras_internals.flatten_layers(model):
        connection = getattr(layer, "_laurel_connection", None)
        if connection:
            reached |= {id(x) for x in connection.layers.values()}
    left = [layer.name for layer in layers if id(layer) not in reached]
    if left:
        raise ValueError(
            f"`model` got {model.name!r}, whose LAuReL layers {left} are "
            "called in the `call` of a layer, which `remove_laurel` does not "
            "rewrite. Put `keras.layers.Add` there yourself."
        )
