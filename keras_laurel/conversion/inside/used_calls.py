"""Which calls of a model have a result that anything uses.

A block may return its sum and its branch, as those of keras-tcn do, and the
last block's sum may be dropped. A connection there would learn nothing.
"""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.inside.trace import has_effect


def used_calls(root):
    """Return the set of the calls whose results are used, in all graphs.

    Args:
        root: The `Observed` call of the model. All that it returns is used.
    """
    used = set()
    _visit(root, None, used)
    return used


def _visit(observed, is_used, used):
    """Add the calls in one graph and in those inside it.

    Args:
        observed: The `Observed` call.
        is_used: List of booleans, for each output; `None` if all are used.
        used: The set.
    """
    _, steps, outputs = observed.graph() or ((), (), ())
    if is_used is None or len(is_used) != len(outputs):
        is_used = [True] * len(outputs)
    read = {id(x) for x, one in zip(outputs, is_used) if one}
    calls, others = observed.inner_calls(steps)
    for step in reversed(steps):
        if _has_effect(step, calls) or not read.isdisjoint(
            map(id, step.outputs)
        ):
            used.add(step)
            read.update(id(x) for x in step.arguments.keras_tensors)
    for step, inner in calls.items():
        _visit(inner, [id(x) in read for x in step.outputs], used)
    for inner in others:
        _visit(inner, None, used)


def _has_effect(step, calls):
    """Return whether a call does something besides what it returns.

    Updates of Keras' own layers, such as moving averages, do not count.

    Args:
        step: The call.
        calls: Dict of the `Observed` calls of layers in the same graph.
    """
    operation = step.operation
    if not isinstance(operation, keras.layers.Layer):
        return has_effect(operation)
    if operation.activity_regularizer is not None:
        return True
    observed = calls.get(step)
    graph = observed and observed.graph()
    if graph:
        inner, _ = observed.inner_calls(graph[1])
        return any(_has_effect(one, inner) for one in graph[1])
    return any(
        layer.activity_regularizer is not None
        or not keras_internals.is_of_keras(layer)
        for layer in (operation, *keras_internals.flatten_layers(operation))
    )
