"""`remove_laurel`, which undoes the conversion of a model."""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks import connection
from keras_laurel.conversion.blocks import owner
from keras_laurel.conversion.blocks.owner import LaurelOwner
from keras_laurel.conversion.graphs.plan import Removal
from keras_laurel.conversion.graphs.rebuild import rebuild
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.hub import adopt
from keras_laurel.conversion.inside import saving
from keras_laurel.conversion.laurelize import laurel_layers
from keras_laurel.layers import Laurel


def remove_laurel(model: keras.Model) -> keras.Model:
    """Replace the LAuReL layers of a model by plain additions.

    The result computes `x + f(x)` with the current weights of the other
    layers. The LAuReL weights are dropped, and so is a `scale` other than 1,
    so the output of a trained model changes. Save them first with
    `save_laurel_weights` if you may need them again.

    As with `laurelize`, layers and variables are shared with `model`. A model
    with connections around its blocks or inside its layers is changed in
    place and stays compiled, with a fresh optimizer. The result has the class
    that `model` had before conversion, and is saved as such.

    Args:
        model: A model that `laurelize` returned, or a functional or sequential
            one that was built with LAuReL layers.

    Returns:
        A model without LAuReL layers.

    Raises:
        ValueError: if `model` has no LAuReL layers, or has some in the `call`
            of your own layers; the message names them. Nothing has changed
            then.

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
            "Argument `model` must have LAuReL layers. Received: "
            f"{model.name!r}, which has no LAuReL layers. Pass a model that "
            "`laurelize` returned."
        )
    graphs = functional_models(model)
    removals = _removals(graphs)
    known = {id(graph) for graph in graphs}
    # A layer may hold a model as an attribute and run it in its `call`, so
    # that no graph shows it.
    hidden = [
        (graph, _removals([graph]))
        for graph in keras_internals.flatten_layers(model)
        if keras_internals.is_functional(graph) and id(graph) not in known
    ]
    everywhere = [*removals, *(x for _, some in hidden for x in some)]
    _check_all_are_reached(model, layers, everywhere)
    # This and the rebuilding may fail, so they come before the first change
    # in place.
    optimizers = owner.fresh_optimizers([model]) if not removals else []
    result = rebuild(model, removals)
    rebuilt = [(graph, rebuild(graph, some)) for graph, some in hidden if some]
    for part in [result, *keras_internals.flatten_layers(result)]:
        if isinstance(part, LaurelOwner):
            adopt.restore(part)
        connection.detach(part)
        saving.detach(part)
    for graph, plain in rebuilt:
        # The layer that holds the model keeps calling the same object.
        keras_internals.become(graph, plain)
    owner.set_optimizers(optimizers)
    return result


def _removals(graphs):
    return [
        Removal(node)
        for graph in graphs
        for node in keras_internals.nodes(graph)
        if isinstance(node.operation, Laurel)
    ]


def _check_all_are_reached(model, layers, removals):
    reached = {id(removal.layer) for removal in removals}
    for layer in (model, *keras_internals.flatten_layers(model)):
        held = getattr(layer, "_laurel_connection", None)
        if held:
            reached |= {id(x) for x in held.layers.values()}
        opened = getattr(layer, "_laurel_opened", None)
        if opened:
            reached |= {id(x) for x in opened.all_layers}
    left = [layer.name for layer in layers if id(layer) not in reached]
    if left:
        raise ValueError(
            "Argument `model` must have LAuReL layers in graphs only, or "
            f"where `laurelize` put them. Received: {model.name!r}, whose "
            f"LAuReL layers {left} are called in the `call` of a layer, which "
            "`remove_laurel` does not rewrite. Put `keras.layers.Add` there "
            "yourself."
        )
