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


def _visit(observed, read, used):
    """Add the calls in one graph and in those inside it.

    Args:
        observed: The `Observed` call.
        read: Set of the `id`s of the outputs of its graph that are used;
            `None` if all are.
        used: The set of calls.
    """
    _, steps, outputs = observed.graph() or ((), (), ())
    read = {id(x) for x in outputs} if read is None else set(read)
    calls, others = observed.inner_calls(steps)
    for step in reversed(steps):
        if _has_effect(step, calls) or not read.isdisjoint(
            map(id, step.outputs)
        ):
            used.add(step)
            read.update(id(x) for x in step.arguments.keras_tensors)
    for step, inner in calls.items():
        _visit(inner, _outputs_read(step, inner, read), used)
    for inner in others:
        _visit(inner, None, used)


def _outputs_read(step, inner, read):
    """Return the `id`s of an inner graph's outputs that a call hands on.

    It is `None` if it is not known which they are.
    """
    outputs = inner.trace.outputs_of(step) if inner.trace else ()
    if len(outputs) != len(step.outputs):
        return None
    pairs = zip(outputs, step.outputs)
    return {id(x) for x, y in pairs if id(y) in read}


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
