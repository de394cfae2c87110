"""Find the residual additions of functional models. Nothing is changed."""

import re

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.sites import ResidualSite


def functional_models(model):
    """`model` and the models nested in it that have a graph, each once."""
    found = {}
    _collect(model, found)
    return list(found.values())


def _collect(model, found):
    if keras_internals.is_sequential(model):
        inner = model.layers
    elif keras_internals.is_functional(model):
        if id(model) in found:
            return
        found[id(model)] = model
        inner = [node.operation for node in keras_internals.nodes(model)]
    else:
        return
    for layer in inner:
        _collect(layer, found)


def search_one(model):
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
