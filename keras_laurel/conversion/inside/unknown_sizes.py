"""Traces for tensors of unknown sizes, as TensorFlow compiles programs for.

The code runs twice, with two different numbers in the place of each unknown
size. What differs between the two traces depends on the sizes; it is written
as a product of them and taken from the tensors whenever the graph runs.
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
    """An axis of an input, of a size that is not known."""

    tensor: int
    axis: int
    numbers: tuple


@dataclasses.dataclass(frozen=True)
class Expression:
    """A number times unknown sizes."""

    factor: int
    sizes: tuple

    def value(self, tensors):
        """The number, for the inputs of a run."""
        sizes = [ops.shape(tensors[s.tensor])[s.axis] for s in self.sizes]
        return math.prod(sizes, start=self.factor)


def has_unknown_sizes(structure):
    return any(None in shape_of(x) for x in tensors_of(structure))


def trace_unknown(function, args, kwargs):
    """The `Trace` of a `call`, with `Expression`s where sizes stand.

    Raises:
        CannotTrace: if the code cannot be traced, or makes something else
            than numbers of an unknown size.
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
    """Axes of one place have one number: batches and lengths agree."""
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
    """Write into the call of the first trace what depends on sizes."""
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
