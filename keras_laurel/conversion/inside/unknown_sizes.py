"""Traces for tensors of unknown sizes, for which TensorFlow can compile.

The code runs twice, with two different numbers for each unknown size. Numbers
that differ between the two traces depend on the sizes. They are stored as
products of sizes, and computed from the tensors whenever the graph runs.
"""

import dataclasses
import itertools
import math

import keras
import numpy as np
from keras import ops

from keras_laurel.conversion.inside.trace import CannotTrace
from keras_laurel.conversion.inside.trace import trace
from keras_laurel.conversion.inside.values import is_tensor_like
from keras_laurel.conversion.inside.values import map_leaves
from keras_laurel.conversion.inside.values import shape_of
from keras_laurel.conversion.inside.values import tensors_of

_PRIMES = (11, 13), (17, 19), (23, 29), (31, 37), (41, 43)


@dataclasses.dataclass(frozen=True)
class Size:
    """An axis of an input whose size is unknown."""

    tensor: int
    axis: int
    numbers: tuple


@dataclasses.dataclass(frozen=True)
class Expression:
    """A number times unknown sizes."""

    factor: int
    sizes: tuple

    def value(self, tensors):
        """Return the number for the inputs of a run."""
        sizes = [ops.shape(tensors[s.tensor])[s.axis] for s in self.sizes]
        return math.prod(sizes, start=self.factor)


def has_unknown_sizes(structure):
    return any(None in shape_of(x) for x in tensors_of(structure))


def trace_unknown(function, args, kwargs):
    """Return the `Trace` of a `call`, with `Expression`s for sizes.

    Raises:
        CannotTrace: if the code cannot be traced, or uses an unknown size
            for anything except numbers that are products of sizes.
    """
    sizes = _sizes((args, kwargs))
    first, second = [
        trace(function, *_with_numbers((args, kwargs), sizes, i))
        for i in (0, 1)
    ]
    kinds = [[type(c.operation) for c in t.calls] for t in (first, second)]
    if kinds[0] != kinds[1]:
        raise CannotTrace(
            "other operations run for other sizes, which are not known here"
        )
    for one, other in zip(first.calls, second.calls):
        _join(one, other, sizes)
    return first


def _sizes(structure):
    """Return the unknown `Size`s of the inputs.

    The same axis of all inputs gets the same number, since batch sizes and
    lengths agree.
    """
    numbers, found = {}, []
    primes = iter(_PRIMES)
    for i, x in enumerate(tensors_of(structure)):
        for axis, size in enumerate(shape_of(x)):
            if size is None:
                if axis not in numbers:
                    numbers[axis] = next(primes)
                    found.append(Size(i, axis, numbers[axis]))
    return found


def _with_numbers(structure, sizes, i):
    numbers = {size.axis: size.numbers[i] for size in sizes}

    def known(x):
        if not is_tensor_like(x):
            return x
        shape = [
            numbers[axis] if size is None else size
            for axis, size in enumerate(shape_of(x))
        ]
        dtype = keras.backend.standardize_dtype(x.dtype)
        return keras.KerasTensor(shape, dtype)

    return map_leaves(known, structure)


def _join(one, other, sizes):
    """Put `Expression`s for numbers that differ into the first call."""
    pairs = [(x.arguments.args, x.arguments.kwargs) for x in (one, other)]
    args, kwargs = _joined(*pairs, sizes, one)
    one.arguments.args, one.arguments.kwargs = args, kwargs
    if isinstance(one.operation, keras.layers.Layer):
        return
    for name, value in vars(one.operation).items():
        if not name.startswith("_") and name not in ("name", "variable"):
            joined = _joined(value, getattr(other.operation, name), sizes, one)
            if joined is not value:
                one.varying[name] = joined


def _joined(one, other, sizes, call):
    leaves = keras.tree.flatten(one)
    others = keras.tree.flatten(other)
    joined = [_leaf(x, y, sizes, call) for x, y in zip(leaves, others)]
    if all(x is y for x, y in zip(joined, leaves)):
        return one
    return keras.tree.pack_sequence_as(one, joined)


def _leaf(x, y, sizes, call):
    if isinstance(x, (keras.KerasTensor, keras.Variable)):
        return x
    if isinstance(x, (int, float)) and x != y:
        return _expression(x, y, sizes, call)
    if is_tensor_like(x) and not _equal(x, y):
        raise CannotTrace(
            f"{call.where}: a tensor is made whose size is not known here"
        )
    return x


def _expression(x, y, sizes, call):
    for count in (1, 2):
        for chosen in itertools.combinations_with_replacement(sizes, count):
            a, b = (math.prod(s.numbers[i] for s in chosen) for i in (0, 1))
            if x % a == 0 and y % b == 0 and x // a == y // b:
                return Expression(x // a, chosen)
    raise CannotTrace(
        f"{call.where}: {x} and {y} are computed from sizes that are not "
        "known here"
    )


def _equal(x, y):
    if tuple(x.shape) != tuple(y.shape):
        return False
    x, y = (np.asarray(ops.convert_to_numpy(t)) for t in (x, y))
    return np.array_equal(x, y)
