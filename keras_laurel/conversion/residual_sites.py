"""Find the residual connections of models. Nothing is changed."""

import dataclasses
import re

import keras

from keras_laurel.conversion import decoder
from keras_laurel.conversion import keras_graph
from keras_laurel.conversion.residual_site import ResidualSite
from keras_laurel.conversion.tensor_graph import TensorGraph


def residual_sites(model):
    """The residual connections of a model, in the order they run.

    Finds `keras.layers.Add` layers and `+` operations that add a branch to
    the tensor it starts from, in the model and in the functional and
    sequential models nested in it. Additions that are no residual connection
    are left out: sums of parallel branches, of a constant, of position
    embeddings, of three and more operands, and sums across resolutions as in
    feature pyramids and U-nets.

    Of a KerasHub transformer, or a task over one, these are its blocks, each
    with its additions inside.

    Args:
        model: A functional or sequential `keras.Model`.

    Returns:
        List of `ResidualSite`, to look at or to filter. It is empty where
        there are none.

    Raises:
        ValueError: if `model` has no graph to search, or is a KerasHub
            transformer that `laurelize` does not support.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> sites = keras_laurel.residual_sites(model)
    >>> len(sites), sites[0].kind
    (16, 'projection')
    """
    found, _ = search(model)
    return found


def search(model):
    """`(sites, rejected)`; `rejected` tells of each other addition why not."""
    check_has_graph(model)
    if decoder.is_decoder(model):
        return decoder.block_sites(model), []
    found, rejected = [], []
    for functional in functional_models(model):
        sites, reasons = _search_one(functional)
        found += sites
        rejected += reasons
    return _unique_by_name(found), rejected


def check_has_graph(model):
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` got {type(model).__name__}; it needs a `keras.Model`."
        )
    if not keras_graph.has_graph(model):
        raise ValueError(
            f"`model` got {model.name!r} of class {type(model).__name__}, "
            "which has no graph of layers to search. Build it as "
            "`keras.Model(inputs, outputs)`, or put a LAuReL layer where its "
            "`call` adds."
        )


def functional_models(model):
    """`model` and the models nested in it that have a graph, each once."""
    found = {}
    _collect(model, found)
    return list(found.values())


def _collect(model, found):
    if keras_graph.is_sequential(model):
        inner = model.layers
    elif keras_graph.is_functional(model):
        if id(model) in found:
            return
        found[id(model)] = model
        inner = [node.operation for node in keras_graph.nodes(model)]
    else:
        return
    for layer in inner:
        _collect(layer, found)


def _search_one(model):
    graph = TensorGraph(model)
    sites, rejected, residual_nodes = [], [], set()
    additions = [n for n in graph.nodes if _is_addition(n)]
    for node in additions:
        if len(graph.inputs(node)) != 2:
            count = len(graph.inputs(node))
            rejected.append((node.operation.name, f"{count} tensor operands"))
            continue
        verdict = _judge(graph, node, residual_nodes)
        if isinstance(verdict, str):
            rejected.append((node.operation.name, verdict))
            continue
        residual_nodes.add(node)
        sites.append(_site(graph, node, verdict, model, len(sites) + 1))
    return sites, rejected


def _is_addition(node):
    operation = node.operation
    if isinstance(operation, keras.layers.Layer):
        return type(operation) is keras.layers.Add
    return type(operation).__name__ == "Add"


def _judge(graph, node, residual_nodes):
    """`(skip index, kind, start tensor)`, or why it is no residual."""
    operands = graph.inputs(node)
    reason = _why_operands_do_not_fit(operands)
    if reason:
        return reason
    for skip in (0, 1):
        if graph.is_ancestor(operands[skip], operands[1 - skip]):
            reason = graph.why_not_identity(operands[skip], operands[1 - skip])
            return reason or (skip, "identity", operands[skip])
    for skip in (0, 1):
        shortcut = graph.shortcut(
            operands[skip], operands[1 - skip], residual_nodes
        )
        if shortcut:
            start, kind = shortcut
            return skip, kind, start
    return "no operand leads to the other by itself or by a linear shortcut"


def _why_operands_do_not_fit(operands):
    x, y = operands
    if x is y:
        return "a tensor added to itself"
    if len(x.shape) != len(y.shape) or len(x.shape) < 2:
        return f"shapes {x.shape} and {y.shape}"
    if any(a != b for a, b in zip(x.shape, y.shape) if None not in (a, b)):
        return f"shapes {x.shape} and {y.shape}"
    dtypes = {keras.backend.standardize_dtype(t.dtype) for t in operands}
    if not all(keras.backend.is_float_dtype(dtype) for dtype in dtypes):
        return f"dtypes {sorted(dtypes)}"
    return None


def _site(graph, node, verdict, model, number):
    skip, kind, start = verdict
    branch = graph.inputs(node)[1 - skip]
    name = node.operation.name
    is_layer = isinstance(node.operation, keras.layers.Layer)
    shared = is_layer and len(graph.calls(node.operation)) > 1
    if shared or not is_layer or re.fullmatch(r"add(_\d+)?", name):
        name = f"residual_{number}"
    return ResidualSite(
        name=name,
        kind=kind,
        skip=skip,
        input_shape=tuple(start.shape),
        output_shape=tuple(node.outputs[0].shape),
        model=model.name,
        node=node,
        branch_nodes=tuple(graph.between(start, branch)),
    )


def _unique_by_name(sites):
    """Put the model's name before a name that several models use."""
    names = [site.name for site in sites]
    return [
        dataclasses.replace(site, name=f"{site.model}_{site.name}")
        if names.count(site.name) > 1
        else site
        for site in sites
    ]
