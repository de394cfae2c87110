"""The sizes of a graph's tensors if unknown input sizes are a given number.

`None` is not equal to `None`: in a model for images of any size, a pooled,
sliced or repeated image has an unknown size too. So one number replaces every
unknown size of the inputs, and each call computes its output shapes again.
"""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs import tracing
from keras_laurel.conversion.graphs.insides import unwrapped

# Divisible by common strides and window sizes, and unlikely as a real size.
STAND_IN = 2**5 * 3 * 7


# Layers whose output has the sizes of their first input, except the channels.
_KEEPING = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.LayerNormalization,
    keras.layers.MultiHeadAttention,
    keras.layers.ReLU,
)


class Sizes:
    """Shapes without unknown sizes, except the batch size.

    Args:
        graph: A `TensorGraph`.
        shapes: Dict of known shapes of tensors of the graph, by `id`.
    """

    def __init__(self, graph, shapes=None):
        self._graph = graph
        self._given = shapes or {}
        self._shapes = None

    def of(self, tensor):
        if None not in tensor.shape[1:] and not self._given:
            return tuple(tensor.shape)
        if self._shapes is None:
            self._shapes = dict(self._given)
            for node in self._graph.nodes:
                self._add(node)
        return self._shapes.get(id(tensor)) or _filled(tensor)

    def fit(self, tensor, other):
        """Return whether two tensors are added without broadcasting.

        A size that is known for one of them only, as after a reshape, is
        assumed to be the same for the other.
        """
        recorded = tuple(tensor.shape), tuple(other.shape)
        if len(set(map(len, recorded))) > 1 or len(recorded[0]) < 2:
            return False
        batches, *pairs = zip(*recorded)
        _, *computed = zip(self.of(tensor), self.of(other))
        # A size of 1 is broadcast, which a connection would not do.
        one_batch = batches[0] == batches[1] or (
            None in batches and 1 not in batches
        )
        return one_batch and all(
            a == b or (m != n and None in (m, n) and 1 not in (m, n))
            for (m, n), (a, b) in zip(pairs, computed)
        )

    def _add(self, node):
        outputs = [self._assumed(t, node) for t in node.outputs]
        if not node.is_input and self._asks_for_more(node):
            try:
                outputs = self._evaluate(node)
            except Exception:  # noqa: S110 (any layer may refuse any size)
                pass
        for tensor, shape in zip(node.outputs, outputs):
            self._shapes.setdefault(id(tensor), tuple(shape))

    def _assumed(self, tensor, node):
        """Return a shape with unknown sizes taken from the first input."""
        sources = keras_internals.values(node)[:1]
        if not sources or len(sources[0].shape) != len(tensor.shape):
            return _filled(tensor)
        shape = self._shapes.get(id(sources[0])) or _filled(sources[0])
        return [b if a is None else a for a, b in zip(tensor.shape, shape)]

    def _asks_for_more(self, node):
        """Return whether a call must compute its output shapes again."""
        if isinstance(node.operation, _KEEPING):
            return False
        return self._given or any(None in t.shape[1:] for t in node.outputs)

    def after(self, node, batch):
        """Return the output shapes of a call for another batch size.

        The result is `None` if they cannot be found. The `call` of the layer
        is traced first, since its `compute_output_shape` is often wrong in
        the batch size.
        """
        tensors = keras_internals.node_inputs(node)
        shapes = [(batch, *self.of(t)[1:]) for t in tensors]
        for evaluate in (_traced, _stated):
            try:
                return evaluate(node, _stand_ins(tensors, shapes))
            except Exception:  # noqa: S112 (any layer may refuse any size)
                continue
        return None

    def _evaluate(self, node):
        tensors = keras_internals.node_inputs(node)
        shapes = [self._shapes.get(id(t)) or _filled(t) for t in tensors]
        inputs = _stand_ins(tensors, shapes)
        inside = self._graph.insides.of_model(node)
        # A wrapper such as `TimeDistributed` gives the model tensors of
        # another rank.
        if inside and unwrapped(node.operation) is node.operation:
            shapes = {id(x): t.shape for x, t in zip(inside[0], inputs)}
            sizes = Sizes(inside[1], shapes)
            return [sizes.of(t) for t in node.operation.outputs]
        own = _has_no_shape_of_its_own(node.operation)
        return (_traced if own else _stated)(node, inputs)


def _stand_ins(tensors, shapes):
    return [keras.KerasTensor(s, t.dtype) for t, s in zip(tensors, shapes)]


def _traced(node, inputs):
    _, outputs = tracing.call(node.operation, node, inputs)
    return [t.shape for t in outputs]


def _stated(node, inputs):
    if _has_no_shape_of_its_own(node.operation):
        raise NotImplementedError
    tensors = keras_internals.node_inputs(node)
    replaced = {id(t): x for t, x in zip(tensors, inputs)}
    args, kwargs = node.arguments.fill_in(replaced)
    outputs = node.operation.compute_output_spec(*args, **kwargs)
    return [t.shape for t in keras.tree.flatten(outputs)]


def _has_no_shape_of_its_own(operation):
    """Return whether an operation is a layer that cannot compute its shape.

    Keras would have to run its `call`.
    """
    if isinstance(operation, keras.layers.Lambda):
        # It seems to have one, and runs its function. On PyTorch it does so on
        # real tensors if one of its operations has no symbolic form.
        return True
    if not isinstance(operation, keras.layers.Layer):
        return False
    cls, base = type(operation), keras.layers.Layer
    return (
        cls.compute_output_shape is base.compute_output_shape
        and cls.compute_output_spec is base.compute_output_spec
    )


def _filled(tensor):
    shape = tuple(tensor.shape)
    return shape[:1] + tuple(STAND_IN if d is None else d for d in shape[1:])
