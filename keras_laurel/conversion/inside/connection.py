"""A LAuReL layer that replaces one addition in a `call`."""

import dataclasses

import keras
from keras import ops

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.stream import ResidualStream
from keras_laurel.conversion.inside.values import tensors_of
from keras_laurel.layers import Laurel


@dataclasses.dataclass(frozen=True)
class Connection:
    """The LAuReL layer of one addition, with its place in a stream.

    Attributes:
        layer: The `Laurel` layer, built.
        skip: Index of the operand that is the skip, 0 or 1; `None` for a sum
            of several branches, where the skip is passed separately.
        stream: The `ResidualStream` of the connections that share history.
        number: The index of the connection in the stream.
        shape: Shape of the skip, with `None` for the batch.
    """

    layer: Laurel
    skip: int
    stream: ResidualStream
    number: int
    shape: tuple

    def of_operands(self, operation):
        """Return a function that replaces an addition of two operands."""

        def add(*args, **kwargs):
            operands = _in_one_dtype(_operands(args, kwargs))
            x, fx = operands[self.skip], operands[1 - self.skip]
            out = self.layer.combine(x, fx, self._carried(x))
            keras_internals.add_activity_loss(self.layer, out)
            return _with_mask(operation, operands, out)

        return add

    def of_sum(self, function, operation):
        """Return a function that replaces a sum of several branches.

        Its arguments are the skip and those of the sum.
        """

        def add(x, *args, **kwargs):
            y = function(*args, **kwargs)
            x = ops.cast(x, y.dtype)
            out = self._combine_sum(y, x)
            return _with_mask(operation, _operands(args, kwargs), out)

        return add

    def _combine_sum(self, y, x):
        y, x = self.layer.features_last([y, x])
        carried = self.stream.enter(self.number, x)
        out = self.layer.combine_sum(y, x, x, carried)
        return self.layer.features_back(out)

    def _carried(self, x):
        (x,) = self.layer.features_last([x])
        return self.stream.enter(self.number, x)


def _operands(args, kwargs):
    return tensors_of((args, kwargs))


def _in_one_dtype(operands):
    dtypes = {keras.backend.standardize_dtype(x.dtype) for x in operands}
    if len(dtypes) == 1:
        return operands
    dtype = keras.backend.result_type(*dtypes)
    return [ops.cast(x, dtype) for x in operands]


def _with_mask(operation, operands, out):
    """Put a mask on the output if the addition would have done so."""
    if not isinstance(operation, keras.layers.Layer):
        return out
    masks = [getattr(x, "_keras_mask", None) for x in operands]
    if any(mask is not None for mask in masks):
        mask = operation.compute_mask(operands, masks)
        if mask is not None:
            keras.src.backend.set_keras_mask(out, mask)
    return out
