"""What the callers of a graph say about the additions in it.

A block may return its sum and its branch, as those of keras-tcn do, and the
last block's sum may be dropped. A connection there would learn nothing. And a
functional model may be called on inputs of which one has a batch size of 1, as
the latents of a Perceiver: an addition of equal shapes then broadcasts.
"""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.insides import runs_graph
from keras_laurel.conversion.inside.observe import Observed
from keras_laurel.conversion.inside.trace import has_effect

NOT_USED = "its sum is not used"
_BROADCASTS = "it broadcasts, where its model is called on a batch of size 1"


class Callers:
    """The calls of all graphs of a model, as their callers use them."""

    def __init__(self):
        self._used, self._broadcast = set(), set()
        self._effects = {}

    @classmethod
    def of_graph(cls, model):
        """Return those of a model with a graph, without what is no graph."""
        callers = cls()
        callers.add(Observed(keras_internals.functional(model), (), {}))
        return callers

    def add(self, root):
        """Add a pass of the model.

        Args:
            root: The `Observed` call of the model. All that it returns is
                used.
        """
        self._visit(root, None)

    def why_not(self, addition):
        """Return why a residual addition gets no connection, or `None`.

        Args:
            addition: The call that adds.
        """
        if addition in self._broadcast:
            return _BROADCASTS
        return None if addition in self._used else NOT_USED

    def _visit(self, observed, read, made_by=None, outer_singles=()):
        """Visit one graph and those inside it.

        Args:
            observed: The `Observed` call.
            read: Set of the `id`s of the outputs of its call that are used;
                `None` if all are.
            made_by: The call in the surrounding graph, if it is known.
            outer_singles: Set of the `id`s of the tensors of the surrounding
                graph with a batch size of 1 where others have more.
        """
        inputs, steps, outputs = observed.graph(made_by) or ((), (), ())
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
                self._used.add(step)
                wanted.update(map(id, keras_internals.node_inputs(step)))
        given = _given(observed, made_by)
        singles = _single_inputs(inputs, given, outer_singles)
        if singles:
            self._follow_singles(steps, singles)
        for step, inner in calls.items():
            self._visit(inner, wanted, step, singles)
        for inner in others:
            self._visit(inner, None)

    def _follow_singles(self, steps, singles):
        """Add what is computed from `singles` alone to them."""
        for step in steps:
            tensors = keras_internals.node_inputs(step)
            single = [id(x) in singles for x in tensors]
            if tensors and all(single):
                singles.update(map(id, step.outputs))
            elif any(single) and keras_internals.is_addition(step):
                self._broadcast.add(step)

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


def _given(observed, made_by):
    """Return the tensors on which a graph is called, if they are known."""
    if made_by is not None and not observed.args:
        return keras_internals.node_inputs(made_by)
    leaves = keras.tree.flatten(observed.args)
    return [x for x in leaves if isinstance(x, keras.KerasTensor)]


def _single_inputs(inputs, given, outer_singles):
    """Return the set of the `id`s of inputs with a batch size of 1.

    It is empty if all have, or if it is not known which of them.
    """
    if len(given) != len(inputs):
        return set()
    single = [x.shape[:1] == (1,) or id(x) in outer_singles for x in given]
    if all(single):
        return set()
    return {id(x) for x, is_single in zip(inputs, single) if is_single}
