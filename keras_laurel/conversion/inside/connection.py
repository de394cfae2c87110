"""A LAuReL layer in the place of one addition of a `call`."""

import dataclasses

import keras
from keras import ops

from keras_laurel.conversion.blocks.stream import ResidualStream
from keras_laurel.conversion.inside.values import tensors_of
from keras_laurel.layers import Laurel


@dataclasses.dataclass(frozen=True)
class Connection:
    """What runs in the place of an addition.

    Attributes:
        layer: The `Laurel` layer, built.
        skip: Which of the two operands is the skip; of more operands, which
            is left to the sum itself, `None`.
        stream: The `ResidualStream` of the connections that share history.
        number: Its number in the stream.
        shape: Shape of the skip, `None` for the batch.
    """

    layer: Laurel
    skip: int
    stream: ResidualStream
    number: int
    shape: tuple

    def of_operands(self, operation):
        """A function that stands for the call of an addition of two."""

        def add(*args, **kwargs):
            operands = _in_one_dtype(_operands(args, kwargs))
            x, fx = operands[self.skip], operands[1 - self.skip]
            carried = self._carried(x)
            return _with_mask(
                operation, operands, self.layer.combine(x, fx, carried)
            )

        return add

    def of_sum(self, function, operation):
        """A function of the skip and of the sum's own arguments."""

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
    """The mask goes on exactly where the addition hands one on."""
    if not isinstance(operation, keras.layers.Layer):
        return out
    masks = [getattr(x, "_keras_mask", None) for x in operands]
    if any(mask is not None for mask in masks):
        mask = operation.compute_mask(operands, masks)
        if mask is not None:
            keras.src.backend.set_keras_mask(out, mask)
    return out
