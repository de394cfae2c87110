"""Which calls of a model have a result that anything uses.

A block may return its sum and its branch, as those of keras-tcn do, and the
last block's sum may be dropped. A connection there would learn nothing.
"""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.insides import runs_graph
from keras_laurel.conversion.inside.observe import Observed
from keras_laurel.conversion.inside.trace import has_effect


def used_calls(root):
    """Return the set of the calls whose results are used, in all graphs.

    Args:
        root: The `Observed` call of the model. All that it returns is used.
    """
    search = _Search()
    search.visit(root, None)
    return search.used


def used_nodes(model):
    """Return the set of the calls whose results are used.

    Args:
        model: A functional or sequential model without layers of the user's.
    """
    return used_calls(Observed(keras_internals.functional(model), (), {}))


class _Search:
    def __init__(self):
        self.used = set()
        self._effects = {}

    def visit(self, observed, read, made_by=None):
        """Add the calls in one graph and in those inside it.

        Args:
            observed: The `Observed` call.
            read: Set of the `id`s of the outputs of its call that are used;
                `None` if all are.
            made_by: The call in the surrounding graph, if it is known.
        """
        _, steps, outputs = observed.graph(made_by) or ((), (), ())
        if read is None or len(outputs) != len(made_by.outputs):
            wanted = {id(x) for x in outputs}
        else:
            pairs = zip(outputs, made_by.outputs)
            wanted = {id(x) for x, y in pairs if id(y) in read}
        calls, others = _inner_calls(observed, steps)
        for step in reversed(steps):
            if self._has_effect(step, calls) or not wanted.isdisjoint(
                map(id, step.outputs)
            ):
                self.used.add(step)
                wanted.update(id(x) for x in step.arguments.keras_tensors)
        for step, inner in calls.items():
            self.visit(inner, wanted, step)
        for inner in others:
            self.visit(inner, None)

    def _has_effect(self, step, calls):
        """Return whether a call does something besides what it returns.

        Updates of Keras' own layers, such as moving averages, do not count.

        Args:
            step: The call.
            calls: Dict of the `Observed` calls of layers in the same graph.
        """
        operation = step.operation
        if not isinstance(operation, keras.layers.Layer):
            return has_effect(operation)
        if step not in self._effects:
            self._effects[step] = self._layer_has_effect(
                operation, calls.get(step)
            )
        return self._effects[step]

    def _layer_has_effect(self, layer, observed):
        if layer.activity_regularizer is not None:
            return True
        graph = observed and observed.graph()
        if graph:
            calls, _ = _inner_calls(observed, graph[1])
            return any(self._has_effect(step, calls) for step in graph[1])
        return any(
            x.activity_regularizer is not None
            or not keras_internals.is_of_keras(x)
            for x in (layer, *keras_internals.flatten_layers(layer))
        )


def _inner_calls(observed, steps):
    """Return the calls of layers in a graph; see `Observed.inner_calls`.

    Models of Keras' layers alone are not always observed. Their graphs are
    known without.
    """
    calls, others = observed.inner_calls(steps)
    for step in steps:
        if step not in calls and runs_graph(step.operation):
            model = keras_internals.functional(step.operation)
            if model is not None:
                calls[step] = Observed(model, (), {})
    return calls, others
