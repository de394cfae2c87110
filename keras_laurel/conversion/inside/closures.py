"""Operations that run functions, such as `ops.cond` and `ops.scan`.

In `ops.cond(p, lambda: self.dense(x), lambda: y)` the functions hold tensors of
the code around them, `x` and `y`. In the graph, the operation reads these like
its other arguments, and each run makes the functions again, with the tensors of
that run. The operation learns if its functions use layers with weights.
"""

import types

import keras

from keras_laurel.conversion.function_code import closed_over
from keras_laurel.conversion.function_code import has_addition
from keras_laurel.conversion.function_code import names_in
from keras_laurel.conversion.inside.values import flatten
from keras_laurel.conversion.inside.values import map_leaves


class Closed(keras.Operation):
    """An operation that runs functions.

    The tensors that these hold are its first argument.

    Args:
        operation: The operation, such as `Cond` or `Scan`, with a `_Place` in
            its functions for each tensor.
        places: List of the `_Place`s.
        weights: List of the variables that the functions use.
    """

    def __init__(self, operation, places, weights):
        super().__init__()
        self.operation = operation
        self.places = places
        self.weights = weights

    def call(self, tensors, *args, **kwargs):
        if not self.places:
            return self.operation.call(*args, **kwargs)
        made = _Made({id(x): t for x, t in zip(self.places, tensors)})
        operation = made.operation(self.operation)
        args, kwargs = made.structure(args), made.structure(kwargs)
        return operation.call(*args, **kwargs)


class _Place:
    """It stands for a tensor in a function.

    The code may assign another value to its variable after the call.
    """


def closed(operation, args, kwargs):
    """Return a call as one of `Closed`, `(operation, args, kwargs)`.

    It is `None` if the operation runs no functions.
    """
    functions = _all_functions(operation, (args, kwargs))
    others = [x for x in _values(operation, (args, kwargs)) if _has_weights(x)]
    if not functions and not others:
        return None
    leaves = [x for f in functions for x in flatten(_cells(f))]
    tensors = [x for x in leaves if isinstance(x, keras.KerasTensor)]
    held = list({id(x): x for x in tensors}.values())
    places = [_Place() for _ in held]
    made = _Made({id(x): place for x, place in zip(held, places)})
    weights = [w for f in (*functions, *others) for w in _weights(f)]
    operation = Closed(made.operation(operation), places, weights)
    return operation, (held, *made.structure(args)), made.structure(kwargs)


def _all_functions(operation, arguments):
    """Return the functions of an operation, and those that they hold."""
    found = {}
    waiting = functions_of(operation, arguments)
    while waiting:
        function = waiting.pop()
        if id(function) not in found:
            found[id(function)] = function
            held = flatten(_cells(function))
            waiting += [x for x in held if isinstance(x, types.FunctionType)]
    return list(found.values())


def _has_weights(x):
    return isinstance(x, (keras.layers.Layer, types.MethodType))


def _weights(function):
    """Return the variables that a function, a method or a layer uses.

    Of a layer that a function holds it may use parts, as in `self.dense(x)`.
    """
    if isinstance(function, keras.layers.Layer):
        return function.weights
    values = _cells(function)
    if isinstance(function, types.MethodType):
        values = [*values, function.__self__]
    found, names = [], names_in(function)
    for x in flatten(values):
        parts = [getattr(x, name) for name in names if hasattr(x, name)]
        if isinstance(x, keras.layers.Layer) and parts:
            x = parts
        for part in flatten(x):
            if isinstance(part, keras.layers.Layer):
                found += part.weights
            elif isinstance(part, keras.Variable):
                found.append(part)
    return found


def functions_of(operation, arguments):
    """Return the functions that an operation such as `fori_loop` runs.

    Args:
        operation: The operation.
        arguments: Structure of its arguments.
    """
    values = _values(operation, arguments)
    return [x for x in values if isinstance(x, types.FunctionType)]


def _values(operation, arguments):
    if isinstance(operation, Closed):
        operation = operation.operation
    return flatten([list(vars(operation).values()), arguments])


def adds(function):
    """Return whether a function adds, or one that it closes over does."""
    return has_addition(function) or any(map(adds, closed_over(function)))


def _cells(function):
    """Return all values that a function holds."""
    values = list(function.__defaults__ or ())
    values += (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # It is empty.
            continue
    return values


class _Made:
    """Makes functions that hold other values.

    Args:
        values: Dict of the values by `id` of those that they replace.
    """

    def __init__(self, values):
        self._values = values
        self._functions = {}

    def operation(self, operation):
        """Return an operation with the same attributes, made again."""
        # `copy.copy` would make Keras save and load the operation.
        copy = object.__new__(type(operation))
        own = {k: self.structure(x) for k, x in vars(operation).items()}
        vars(copy).update(own)
        return copy

    def structure(self, x):
        """Return a structure in which values are replaced, in functions too.

        One without such values is returned as it is: the code may change it.
        """
        changed = [y for y in flatten(x) if self._leaf(y) is not y]
        return map_leaves(self._leaf, x) if changed else x

    def _leaf(self, x):
        if isinstance(x, types.FunctionType):
            return self._function(x)
        return self._values.get(id(x), x)

    def _function(self, function):
        if id(function) in self._functions:
            return self._functions[id(function)]
        # Itself, until it is known to change: it may be recursive.
        self._functions[id(function)] = function
        held = _cells(function)
        if all(self.structure(x) is x for x in held):
            return function
        cells = [types.CellType() for _ in function.__closure__ or ()]
        made = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            self.structure(function.__defaults__),
            tuple(cells),
        )
        made.__kwdefaults__ = self.structure(function.__kwdefaults__)
        self._functions[id(function)] = made
        for cell, old in zip(cells, function.__closure__ or ()):
            try:
                cell.cell_contents = self.structure(old.cell_contents)
            except ValueError:  # The old one is empty.
                continue
        return made
