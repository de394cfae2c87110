"""The graphs inside the layers of a graph, for the search of additions."""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.function_code import function_of
from keras_laurel.conversion.function_code import names_in
from keras_laurel.conversion.graphs import tracing
from keras_laurel.layers import Laurel

L = keras.layers

# Operations whose result depends on the shape of an operand, not its values.
_SHAPE_ONLY = frozenset({"EmptyLike", "FullLike", "OnesLike", "ZerosLike"})


class Insides:
    """The graphs inside layers, each opened once."""

    def __init__(self, graph_class):
        self._graph = graph_class
        self._models, self._traces = {}, {}

    def of_model(self, node):
        """Return `(inputs, graph)` of the nested model that a call runs.

        It is `None` if the call does not run one.
        """
        model = unwrapped(node.operation)
        if not runs_graph(model):
            return None
        if id(model) not in self._models:
            self._models[id(model)] = self._open_model(model)
        return self._models[id(model)]

    def _open_model(self, model):
        functional = keras_internals.functional(model)
        if functional is None:
            return None
        return functional.inputs, self._graph.of(functional, self)

    def of_layer(self, node):
        """Return `(inputs, graph, outputs)` of the `call` of a user's layer.

        It is `None` if the `call` does not run on symbolic tensors.
        """
        if node not in self._traces:
            traced = tracing.trace(node.operation, node)
            if traced is not None:
                inputs, nodes, outputs = traced
                traced = inputs, self._graph(nodes, outputs, self), outputs
            self._traces[node] = traced
        return self._traces[node]

    def tensors_read(self, node):
        """Return the tensors of which a call reads the values.

        Those of which it reads only the shapes are left out.
        """
        tensors = keras_internals.values(node)
        if type(node.operation).__name__ in _SHAPE_ONLY:
            return []
        if not _may_read_only_shapes(node.operation):
            return tensors
        traced = self.of_layer(node)
        if traced is None:
            # If its `call` cannot be traced, only the name of the layer tells.
            return [] if _is_position_embedding(node.operation) else tensors
        inputs, graph, outputs = traced
        read = {id(t) for n in graph.nodes for t in graph.operands(n)}
        # A layer may also return its input as it is.
        read.update(map(id, outputs))
        pairs = zip(keras_internals.node_inputs(node), inputs)
        stands_for = {id(t): id(x) for t, x in pairs}
        return [t for t in tensors if stands_for[id(t)] in read]


def unwrapped(operation):
    """Return the layer that a wrapper such as `TimeDistributed` applies."""
    while isinstance(operation, L.Wrapper):
        operation = operation.layer
    return operation


def runs_graph(model):
    """Return whether a functional or sequential model runs its graph.

    A subclass may have a `call` of its own that runs other layers instead.
    """
    if not keras_internals.has_graph(model):
        return False
    call = own_call(model)
    # A `call` that runs `super().call` extends the graph.
    return call is None or {"super", "call"} <= names_in(call)


def own_call(model):
    """Return the `call` that a user wrote for a model, or `None`."""
    call = function_of(type(model).call)
    is_keras = call is None or call.__module__.partition(".")[0] == "keras"
    return None if is_keras else call


def is_opaque(operation):
    """Return whether only the `call` of a layer shows what it computes."""
    # The class is Keras' own, but the function in it is the user's.
    if isinstance(operation, L.Lambda):
        return True
    return (
        isinstance(operation, L.Layer)
        and not isinstance(operation, Laurel)
        and not keras_internals.is_sequential(operation)
        and not runs_graph(operation)
        and not keras_internals.is_of_keras(operation)
    )


def _may_read_only_shapes(operation):
    """Return whether a layer may use its input only for its shape.

    A layer with weights of its own may, such as a table of positions. A layer
    that contains products or norms is assumed to apply them to its input.
    """
    if not is_opaque(operation) or not operation.weights:
        return False
    return all(
        isinstance(layer, (L.Embedding, L.Dropout)) or not layer.weights
        for layer in keras_internals.flatten_layers(operation)
    )


def _is_position_embedding(operation):
    return "position" in type(operation).__name__.lower()
