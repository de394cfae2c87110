"""Run the graph of a `call`, with connections instead of additions."""

import keras

from keras_laurel.conversion.inside.unknown_sizes import Expression
from keras_laurel.conversion.inside.values import flatten
from keras_laurel.conversion.inside.values import flatten_as


class Program:
    """The calls of a trace, ready to run.

    Args:
        trace: The `Trace`.
        connections: Dict of `(Connection, Addition)` by the call that the
            connection replaces.
    """

    def __init__(self, trace, connections):
        skips = {
            call: addition.skip_tensor
            for call, (_, addition) in connections.items()
        }
        needed = trace.needed_calls(skips)
        self._slots = {}
        for tensor in trace.inputs:
            self._slot(tensor)
        self._steps = [
            self._step(call, connections.get(call))
            for call in needed
            if not isinstance(call.operation, keras.layers.InputLayer)
        ]
        self._outputs = self._filler(trace.outputs)

    def run(self, tensors):
        """Return the outputs of the `call` for these inputs of the trace."""
        values = [*tensors, *[None] * (len(self._slots) - len(tensors))]
        for function, arguments, call, slots in self._steps:
            args, kwargs = arguments(values)
            result = function(*args, **kwargs)
            if isinstance(slots, int):
                values[slots] = result
                continue
            leaves = flatten_as(result, call.structure)
            for slot, position in zip(slots, call.positions):
                values[slot] = leaves[position]
        return self._outputs(values)

    def _step(self, call, replacement):
        arguments = call.arguments
        fill = self._arguments_filler(arguments.args, arguments.kwargs)
        operation = call.operation
        is_layer = isinstance(operation, keras.layers.Layer)
        function = operation if is_layer else operation.call
        if replacement is not None:
            connection, addition = replacement
            if addition.is_sum:
                function = connection.of_sum(function, operation)
                skip = self._filler(addition.skip_tensor)
                fill = _with_first(skip, fill)
            else:
                function = connection.of_operands(operation)
        if call.varying:
            function, fill = self._varying(call, fill)
        slots = [self._slot(x) for x in call.outputs]
        if call.returns_one_tensor:
            (slots,) = slots
        return function, fill, call, slots

    def _varying(self, call, fill):
        """Return a call whose operation is made again for the actual sizes."""
        fillers = {k: self._filler(v) for k, v in call.varying.items()}

        def fill_all(values):
            attributes = {k: f(values) for k, f in fillers.items()}
            return (attributes, *fill(values)), {}

        def run(attributes, args, kwargs):
            # `copy.copy` would make Keras save and load the operation.
            operation = object.__new__(type(call.operation))
            vars(operation).update({**vars(call.operation), **attributes})
            return operation.call(*args, **kwargs)

        return run, fill_all

    def _slot(self, tensor):
        return self._slots.setdefault(id(tensor), len(self._slots))

    def _arguments_filler(self, args, kwargs):
        one = [self._filler(x) for x in args]
        named = [(k, self._filler(x)) for k, x in kwargs.items()]
        if len(one) == 1 and not named:
            (first,) = one
            return lambda values: ((first(values),), {})
        return lambda values: (
            [f(values) for f in one],
            {k: f(values) for k, f in named},
        )

    def _filler(self, structure):
        """Return a function that fills values into a structure."""
        if isinstance(structure, keras.KerasTensor):
            slot = self._slot(structure)
            return lambda values: values[slot]
        if isinstance(structure, Expression):
            # It reads the inputs, which are the first of the values.
            return structure.value
        if isinstance(structure, (list, tuple, dict)):
            if any(_varies(x) for x in flatten(structure)):
                return self._structure_filler(structure)
        return lambda values: structure

    def _structure_filler(self, structure):
        kind = type(structure)
        if isinstance(structure, dict):
            named = [(k, self._filler(x)) for k, x in structure.items()]
            if kind is dict:
                return lambda values: {k: f(values) for k, f in named}
            return lambda values: kind((k, f(values)) for k, f in named)
        parts = [self._filler(x) for x in structure]
        if hasattr(structure, "_fields"):
            return lambda values: kind(*[f(values) for f in parts])
        if isinstance(structure, tuple):
            return lambda values: tuple([f(values) for f in parts])
        return lambda values: [f(values) for f in parts]


def _varies(x):
    return isinstance(x, (keras.KerasTensor, Expression))


def _with_first(first, fill):
    def fill_with_first(values):
        args, kwargs = fill(values)
        return (first(values), *args), kwargs

    return fill_with_first
