"""Find the residual additions of functional models, without changes."""

import re

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.additions import find_additions
from keras_laurel.conversion.graphs.insides import runs_graph
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.sites import ResidualSite


def functional_models(model):
    """Return the functional models in `model`, itself included, each once."""
    found = {}
    _collect(model, found)
    return list(found.values())


def _collect(model, found):
    if not runs_graph(model):
        return
    if keras_internals.is_sequential(model):
        inner = model.layers
    elif id(model) in found:
        return
    else:
        found[id(model)] = model
        inner = [node.operation for node in keras_internals.nodes(model)]
    for layer in inner:
        _collect(layer, found)


def calls_in_order(model):
    """Return the calls in a model and those nested in it, as they run."""
    found, seen = [], set()

    def add(model):
        if id(model) in seen:
            return
        seen.add(id(model))
        functional = keras_internals.functional(model)
        for node in keras_internals.nodes(functional) if functional else ():
            if runs_graph(node.operation):
                add(node.operation)
            found.append(node)

    add(model)
    return found


def search_one(model, residual=(), callers=None):
    """Return `(sites, rejected)` of a functional model.

    Those of models nested in it are left out.

    Args:
        model: The model.
        residual: Dict of `Addition`s by call, of those that are known to be
            residual by the insides of the model's layers.
        callers: `Callers` of the model, if they are known.
    """
    graph = TensorGraph.of(model)
    sites, rejected = [], []
    for addition in find_additions(graph):
        if addition.why_not is not None and addition.node in residual:
            addition = residual[addition.node]
        why_not = addition.why_not
        if why_not is None and callers is not None:
            why_not = callers.why_not(addition.node)
        if why_not is None:
            sites.append(_site(graph, addition, model, len(sites) + 1))
        else:
            rejected.append((addition.node.operation.name, why_not))
    return sites, rejected


def _site(graph, addition, model, number):
    node = addition.node
    name = node.operation.name
    is_layer = isinstance(node.operation, keras.layers.Layer)
    shared = is_layer and len(graph.calls(node.operation)) > 1
    if shared or not is_layer or re.fullmatch(r"add(_\d+)?", name):
        # A shared layer has one name for several sites, and a name made up by
        # Keras depends on what was built before.
        name = f"residual_{number}"
    return ResidualSite(
        name=name,
        kind=addition.kind,
        skip=addition.skip,
        input_shape=tuple(addition.start.shape),
        output_shape=tuple(node.outputs[0].shape),
        model=model.name,
        node=node,
        branch_nodes=addition.branch_nodes,
        skip_tensor=addition.skip_tensor,
        is_sum=addition.is_sum,
    )
