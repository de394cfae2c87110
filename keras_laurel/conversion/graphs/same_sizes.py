"""Compare tensors of a graph whose shapes have unknown sizes.

`None` is not equal to `None`: of two images of shape `(None, None, 8)` one
may be twice as large as the other. So input sizes are made up, and the layers
compute the shapes of their outputs for them; no layer runs.
"""

import itertools
import math

import keras

from keras_laurel.conversion import keras_internals

# Sizes divisible by common strides, and smaller ones for short tables of
# positions. None is large, since PyTorch infers some shapes by computing.
_SIZES = (32, 224, 96, 16, 8, 4, 2)
_BATCH = 3
_MOST_NUMBERS = 2**23


class SameSizes:
    """Compares shapes, with unknown sizes computed when first needed.

    Args:
        model: A functional model.
    """

    def __init__(self, model):
        self._model = model
        self._shapes = None

    def shape(self, tensor):
        """Return the shape of a tensor of the model as a tuple of integers.

        It is `None` if the layer could not compute its shape.
        """
        if None not in tensor.shape:
            return tuple(tensor.shape)
        if self._shapes is None:
            self._shapes = _best_shapes(self._model)
        return self._shapes.get(id(tensor))

    def are_equal(self, a, b):
        """Return whether two tensors have equal shapes for any input sizes.

        If that is not known, it is false, except for a tensor and itself.
        """
        if a is b:
            return True
        return tuple(a.shape) == tuple(b.shape) and (
            self.shape(a) is not None and self.shape(a) == self.shape(b)
        )

    def may_be_equal(self, a, b):
        """Return whether the known sizes of two tensors are equal."""
        if a is b or _are_known(a, b):
            return tuple(a.shape) == tuple(b.shape)
        first, second = self.shape(a), self.shape(b)
        if None in (first, second):
            first, second = tuple(a.shape), tuple(b.shape)
        return len(first) == len(second) and all(
            None in (i, j) or i == j for i, j in zip(first, second)
        )


def _are_known(*tensors):
    """Return whether all sizes except the batch size are known."""
    return not any(None in t.shape[1:] for t in tensors)


def _best_shapes(model):
    """Return the shapes for input sizes that all, or most, layers accept."""
    best = {}
    # Different sizes come first: with equal ones, inputs that have nothing to
    # do with each other would look alike.
    for is_own, size in itertools.product((True, False), _SIZES):
        found, complete = _shapes(model, size, is_own)
        if complete:
            return found
        if len(found) > len(best):
            best = found
    return best


def _shapes(model, size, is_own):
    """Return the shapes by tensor `id`, and whether all are known.

    Args:
        model: A functional model.
        size: Integer. Unknown sizes become multiples of it.
        is_own: Boolean. Unknown sizes become different from one another.
            Inputs that belong together, as tokens and their mask, may need
            equal sizes.
    """
    number = itertools.count(1)
    specs = {}
    for tensor in model.inputs:
        shape = [
            size * next(number) if d is None and is_own else d or size
            for d in tensor.shape
        ]
        if tensor.shape and tensor.shape[0] is None:
            shape[0] = _BATCH
        specs[id(tensor)] = _spec(shape, tensor)
        if math.prod(shape) > _MOST_NUMBERS:
            return {}, False
    for node in keras_internals.nodes(model):
        if node.is_input:
            continue
        if any(id(t) not in specs for t in keras_internals.node_inputs(node)):
            continue
        try:
            outputs = keras_internals.output_spec(node, specs)
        except Exception:  # noqa: S112 (any layer may refuse any size)
            continue
        for old, new in zip(node.outputs, keras.tree.flatten(outputs)):
            specs[id(old)] = _spec(new.shape, old)
    shapes = {
        key: tuple(spec.shape)
        for key, spec in specs.items()
        if None not in spec.shape
    }
    outputs = [t for n in keras_internals.nodes(model) for t in n.outputs]
    return shapes, all(id(t) in shapes for t in outputs)


def _spec(shape, tensor):
    return keras.KerasTensor(shape, dtype=tensor.dtype, sparse=tensor.sparse)
