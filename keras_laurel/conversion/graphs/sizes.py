"""The sizes of a graph's tensors once the unknown sizes are some number.

`None` is not equal to `None`: where a model takes images of any size, what is
pooled, sliced or repeated has an unknown size too. The shapes are computed
again, each by its own call, for one number in place of every unknown size of
the inputs.
"""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs import tracing
from keras_laurel.conversion.graphs.insides import unwrapped

# Divides by the strides and windows that people use, and is no size of theirs.
STAND_IN = 2**5 * 3 * 7


class Sizes:
    """Shapes without `None`, except of the batch, as far as they are found.

    Args:
        graph: A `TensorGraph`.
        shapes: Shapes of tensors of the graph that are known, by `id`.
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
        """Whether two tensors are added with no broadcast.

        A size that is known on one side only is taken to be the same on the
        other, as after a reshape.
        """
        recorded = tuple(tensor.shape), tuple(other.shape)
        if len(set(map(len, recorded))) > 1 or len(recorded[0]) < 2:
            return False
        batches, *pairs = zip(*recorded)
        _, *computed = zip(self.of(tensor), self.of(other))
        return (None in batches or batches[0] == batches[1]) and all(
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
        """Unknown sizes that a call takes from its first input, most likely."""
        sources = keras_internals.values(node)[:1]
        if not sources or len(sources[0].shape) != len(tensor.shape):
            return _filled(tensor)
        shape = self._shapes.get(id(sources[0])) or _filled(sources[0])
        return [b if a is None else a for a, b in zip(tensor.shape, shape)]

    def _asks_for_more(self, node):
        """Sizes that are recorded need no computation at the top level."""
        return self._given or any(None in t.shape[1:] for t in node.outputs)

    def _evaluate(self, node):
        tensors = keras_internals.node_inputs(node)
        inputs = [
            keras.KerasTensor(self._shapes.get(id(t)) or _filled(t), t.dtype)
            for t in tensors
        ]
        inside = self._graph.insides.of_model(node)
        if inside and unwrapped(node.operation) is node.operation:
            shapes = {id(x): t.shape for x, t in zip(inside[0], inputs)}
            sizes = Sizes(inside[1], shapes)
            return [sizes.of(t) for t in node.operation.outputs]
        if _has_no_shape_of_its_own(node.operation):
            outputs = tracing.call(node.operation, node, inputs)[1]
        else:
            replaced = {id(t): x for t, x in zip(tensors, inputs)}
            args, kwargs = node.arguments.fill_in(replaced)
            outputs = node.operation.compute_output_spec(*args, **kwargs)
        return [t.shape for t in keras.tree.flatten(outputs)]


def _has_no_shape_of_its_own(operation):
    """Whether Keras would run a `call` on data to see its shape."""
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
