"""Record what the `call` of a layer computes, as a graph of its calls.

The user's code runs once on symbolic tensors. Reads of variables, random
draws, assignments and `add_loss` become calls of the graph too, so that
running the graph has the same effects as the code.
"""

import collections
import dataclasses
import functools
import itertools
import linecache
import re
import sys
import traceback

import keras
from keras.src import backend
from keras.src.ops.symbolic_arguments import SymbolicArguments

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.steps import WEIGHING_OPS
from keras_laurel.conversion.inside import keras_recording
from keras_laurel.conversion.inside.closures import adds
from keras_laurel.conversion.inside.closures import closed
from keras_laurel.conversion.inside.closures import functions_of
from keras_laurel.conversion.inside.kept_tensors import keeping_tensors
from keras_laurel.conversion.inside.known_outputs import KnownOutputs
from keras_laurel.conversion.inside.values import flatten
from keras_laurel.conversion.inside.values import is_tensor_like
from keras_laurel.conversion.inside.values import map_leaves
from keras_laurel.conversion.inside.values import shape_of
from keras_laurel.conversion.inside.values import spec_of

_NOT_THE_USERS = (
    "keras",
    "keras_laurel",
    "tree",
    "optree",
    "jax",
    "torch",
    "tensorflow",
    "contextlib",
    "functools",
)


class CannotTrace(Exception):
    """Raised if the code of a layer cannot be recorded as a graph."""


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a recorded graph, like `keras.src.ops.node.Node`.

    Attributes:
        operation: The layer or operation.
        arguments: Its arguments, with `KerasTensor`s for tensors.
        outputs: List of the `KerasTensor`s it returned.
        structure: The structure of all its outputs.
        positions: Tuple of the indices of `outputs` in it, flattened.
        returns_one_tensor: True if it returned a single tensor.
        place: Tuple of `(file, line, function, span)` of the user's code that
            made it, the innermost function first. `span` has the lines and
            columns of the expression.
        varying: Dict of the attributes of the operation that depend on
            unknown sizes.
        weights: Tuple of the tensors it reads that are computed from
            variables alone, if it multiplies others with them.
        occurrence: The number of earlier calls from the same place.
    """

    operation: object
    arguments: SymbolicArguments
    outputs: list
    structure: object = None
    positions: tuple | None = None
    returns_one_tensor: bool = False
    place: tuple | None = None
    occurrence: int = 0
    varying: dict = dataclasses.field(default_factory=dict)
    weights: tuple = ()

    @property
    def is_input(self):
        return not self.arguments.keras_tensors

    @property
    def key(self):
        """A tuple that identifies this call in every trace of the code."""
        return self.place, self.occurrence

    @property
    def where(self):
        return where(self.place)

    def with_tensors(self, tensors):
        """Return the same call on other tensors.

        Args:
            tensors: Dict of tensors by `id` of those that they replace.
        """
        read = self.arguments.keras_tensors
        args, kwargs = self.arguments.fill_in(
            {id(t): tensors.get(id(t), t) for t in read}
        )
        return dataclasses.replace(
            self,
            arguments=SymbolicArguments(*args, **kwargs),
            outputs=[tensors.get(id(t), t) for t in self.outputs],
            weights=tuple(tensors.get(id(t), t) for t in self.weights),
        )


@dataclasses.dataclass(frozen=True)
class Trace:
    """A graph of the calls that a `call` makes, in the order they run.

    Attributes:
        calls: List of `Call`s, the inputs first.
        inputs: List of `KerasTensor`s.
        outputs: The structure that the code returned, with `KerasTensor`s.
    """

    calls: list
    inputs: list
    outputs: object

    @property
    def output_tensors(self):
        leaves = flatten(self.outputs)
        return [x for x in leaves if isinstance(x, keras.KerasTensor)]

    def hidden_additions(self):
        """Return the calls of operations that run a function that adds."""
        return [call for call in self.calls if _hides_addition(call)]

    def needed_calls(self, reads=()):
        """Return the calls on which the outputs depend, or with effects.

        Args:
            reads: Dict of further calls to return, each with an additional
                tensor that it reads.
        """
        wanted = {id(x) for x in self.output_tensors}
        needed = []
        for call in reversed(self.calls):
            if (
                has_effect(call.operation)
                or call in reads
                or any(id(x) in wanted for x in call.outputs)
            ):
                needed.append(call)
                wanted.update(id(x) for x in call.arguments.keras_tensors)
                if call in reads:
                    wanted.add(id(reads[call]))
        return needed[::-1]


def trace(function, args, kwargs, known=None):
    """Return the `Trace` of `function(*args, **kwargs)`.

    Args:
        function: The bound `call` of a layer, as defined in its class.
        args: Positional arguments. Only the shape and dtype of tensors, real
            or symbolic, are used; other arguments are used by value.
        kwargs: Keyword arguments.
        known: `KnownOutputs` of the layers that are called inside.

    Raises:
        CannotTrace: if the code cannot be recorded as a graph. The message
            names the reason and the line.
    """
    recorder = _Recorder(known or KnownOutputs())
    (args, kwargs), inputs = recorder.symbolic_inputs((args, kwargs))
    layer = _layer_of(function)
    try:
        with (
            keeping_tensors(layer) as kept,
            keras_recording.recording(recorder),
        ):
            outputs = function(*args, **kwargs)
            outputs = recorder.symbolic_variables(outputs)
            recorder.check_outputs(outputs)
            recorder.keep(layer, kept(layer) if layer else {})
    except CannotTrace as error:
        raise CannotTrace(_message(error)) from error
    except Exception as error:
        reason = why(error)
        if isinstance(layer, keras.layers.RNN):
            reason = (
                "Keras runs a recurrent layer by functions of the backend "
                f"({reason})"
            )
        raise CannotTrace(reason) from error
    finally:
        recorder.forget_nodes()
    return Trace(recorder.calls, inputs, outputs)


def call_of(layer):
    """Return the `call` of the layer's class, bound to the layer.

    An attribute of the layer may replace it during the observation.
    """
    return functools.partial(type(layer).call, layer)


def _layer_of(function):
    """Return the layer of a bound method or partial function, or `None`."""
    if isinstance(function, functools.partial):
        return function.args[0]
    return getattr(function, "__self__", None)


class _Recorder:
    """Records the calls of the user's code."""

    def __init__(self, known):
        self.calls = []
        self._known = known
        self._values = {}
        self._of_variables = set()
        self._computed = set()
        self._depth = 0
        self._seen = collections.Counter()
        self._nodes = {}

    def symbolic_inputs(self, structure):
        inputs = []

        def symbolic(x):
            if not is_tensor_like(x):
                return x
            inputs.append(self._input(x))
            return inputs[-1]

        return map_leaves(symbolic, structure), inputs

    def _input(self, x):
        dtype = keras.backend.standardize_dtype(x.dtype)
        layer = keras.layers.InputLayer(batch_shape=shape_of(x), dtype=dtype)
        return self._append(layer, (), {}, layer.output)

    def symbolic_variables(self, structure):
        """Replace the variables in a structure by their symbolic values."""
        return keras.tree.map_structure(
            lambda x: self.read(x) if isinstance(x, keras.Variable) else x,
            structure,
        )

    def read(self, variable):
        # The key has the dtype, which changes in an autocast scope.
        key = id(variable), variable.dtype
        written = self._values.get(id(variable))
        if written is not None:
            return keras.ops.cast(written, variable.dtype)
        if key not in self._values:
            value = keras.KerasTensor(variable.shape, variable.dtype)
            self._append(_Read(variable), (), {}, value)
            self._values[key] = value
        return self._values[key]

    def write(self, variable, value):
        self._append(_Write(variable), (value,), {}, [])
        self._values[id(variable)] = value

    def keep(self, layer, kept):
        """Record the tensors that the code keeps in attributes of the layer.

        Args:
            layer: The layer.
            kept: Dict of the tensors by name.
        """
        for name, value in kept.items():
            self._append(_Keep(layer, name), (value,), {}, [])

    def check_outputs(self, outputs):
        """Raise if the run of a graph could not return these outputs."""
        self._check_computed(outputs)
        for leaf in flatten(outputs):
            if is_tensor_like(leaf):
                continue
            if any(map(is_tensor_like, getattr(leaf, "__dict__", {}).values())):
                raise CannotTrace(
                    f"it returns a `{type(leaf).__name__}`, in which Keras "
                    "finds no tensors: return a dict or a named tuple"
                )

    def _check_computed(self, structure):
        for x in flatten(structure):
            if isinstance(x, keras.KerasTensor) and id(x) not in self._computed:
                raise CannotTrace(
                    "it uses a tensor that it has not computed, such as one "
                    f"that a layer keeps in an attribute ({_here()})"
                )

    def add_loss(self, original, layer, loss):
        self._append(_AddLoss(layer), (loss,), {}, [])

    def layer_call(self, original, layer, *args, **kwargs):
        self._remember_nodes(layer)
        if self._depth:
            return original(layer, *args, **kwargs)
        args, kwargs = keras.tree.map_structure(self._constant, (args, kwargs))
        outputs = self._known.again(layer, args, kwargs, spec_of)
        if outputs is not None:
            return self._append(layer, args, kwargs, outputs)
        try:
            outputs = self._inside(original, layer, *args, **dict(kwargs))
        except Exception:
            outputs = self._opaque(original, layer, args, kwargs)
        else:
            outputs = self._checked(outputs, original, layer, args, kwargs)
        return self._append(layer, args, kwargs, outputs)

    def _checked(self, outputs, original, layer, args, kwargs):
        """Return the outputs that match what the layer's `call` returns.

        The outputs that a layer states may lack something that its `call`
        returns, for example a cache beside the output.
        """
        cls = type(layer)
        if cls.compute_output_shape is keras.layers.Layer.compute_output_shape:
            return outputs
        if keras_internals.is_of_keras(layer):
            return outputs
        try:
            returned = self._opaque(original, layer, args, kwargs)
        except Exception:
            return outputs
        return outputs if _kinds(returned) == _kinds(outputs) else returned

    def operation_call(self, original, operation, *args, **kwargs):
        if self._depth:
            return original(operation, *args, **kwargs)
        call = closed(operation, args, kwargs)
        if call is not None:
            operation, args, kwargs = call
            run = functools.partial(symbolic_spec, operation.call)
            return self._append(*call, self._inside(run, args, kwargs))
        if not _has_symbolic((args, kwargs)):
            # If variables are the only tensors, they must be replaced by
            # their values: not every operation accepts variables.
            args, kwargs = self.symbolic_variables((args, kwargs))
        spec = operation.compute_output_spec
        try:
            outputs = self._inside(spec, *args, **kwargs)
        except Exception:
            # The operation may still run on the backend if Keras cannot
            # compute its shapes.
            outputs = symbolic_spec(operation.call, args, kwargs)
        return self._append(operation, args, kwargs, outputs)

    def run_last_as(self, function):
        """Let the last call run this function in place of its operation's."""
        if not self._depth:
            self.calls[-1].operation.call = function

    def random_call(self, function, *args, **kwargs):
        """Record a random draw, so that each run of the graph draws anew."""
        if self._depth:
            return function(*args, **kwargs)
        outputs = symbolic_spec(function, args, kwargs)
        return self._append(_Random(function), args, kwargs, outputs)

    def _constant(self, x):
        """Make a tensor argument of a layer symbolic.

        Keras calls a layer symbolically only on symbolic tensors.
        """
        if isinstance(x, keras.Variable):
            return self.read(x)
        if isinstance(x, keras.KerasTensor) or not is_tensor_like(x):
            return x
        return self._append(_Constant(x), (), {}, spec_of(x))

    def _opaque(self, original, layer, args, kwargs):
        """Return the outputs of a layer that rejects symbolic tensors.

        It is run for its shapes only, and may return values that are not
        tensors.
        """
        run = functools.partial(original, layer)
        try:
            return symbolic_spec(run, args, kwargs)
        except Exception as error:
            # PyTorch runs it on ones, which may be no valid index, such as
            # that of a cache.
            try:
                with keras_internals.autocast(layer):
                    found = trace(call_of(layer), args, kwargs, self._known)
                    return found.outputs
            except CannotTrace:
                raise error from None

    def _inside(self, function, *args, **kwargs):
        self._depth += 1
        try:
            return function(*args, **kwargs)
        finally:
            self._depth -= 1

    def _append(self, operation, args, kwargs, outputs):
        self._check_computed((args, kwargs))
        arguments = SymbolicArguments(*args, **kwargs)
        read = {id(x) for x in arguments.keras_tensors}

        def own(x):
            # An output that is also an input needs an identity of its own.
            # Keras marks the product with a number as sparse by mistake.
            again = id(x) in read or getattr(x, "sparse", False)
            return keras.KerasTensor(x.shape, x.dtype) if again else x

        outputs = map_leaves(own, outputs)
        leaves = flatten(outputs)
        positions = tuple(
            i for i, x in enumerate(leaves) if isinstance(x, keras.KerasTensor)
        )
        self._computed.update(id(leaves[i]) for i in positions)
        place = _users_place()
        weights = [
            x for x in arguments.keras_tensors if id(x) in self._of_variables
        ]
        if len(weights) == len(arguments.keras_tensors):
            if weights or isinstance(operation, _Read):
                if not isinstance(operation, (keras.layers.Layer, _Random)):
                    self._of_variables.update(id(leaves[i]) for i in positions)
            weights = []
        weighs = type(operation).__name__ in WEIGHING_OPS
        self.calls.append(
            Call(
                operation,
                arguments,
                [leaves[i] for i in positions],
                outputs,
                positions,
                isinstance(outputs, keras.KerasTensor),
                place,
                self._seen[place],
                weights=tuple(weights) if weighs else (),
            )
        )
        self._seen[place] += 1
        return outputs

    def _remember_nodes(self, layer):
        lists = layer._inbound_nodes, layer._outbound_nodes
        self._nodes.setdefault(id(layer), (lists, [len(x) for x in lists]))

    def forget_nodes(self):
        """Remove the calls that Keras has recorded on the layers."""
        for lists, lengths in self._nodes.values():
            for nodes, length in zip(lists, lengths):
                del nodes[length:]


def _kinds(structure):
    return map_leaves(
        lambda x: (tuple(x.shape), x.dtype) if is_tensor_like(x) else type(x),
        structure,
    )


def symbolic_spec(function, args, kwargs):
    """Return the outputs of `function` for symbolic tensors.

    Arguments that are not symbolic tensors are passed as they are.
    """
    structure = args, kwargs
    leaves = keras.tree.flatten(structure)
    symbolic = [
        i for i, x in enumerate(leaves) if isinstance(x, keras.KerasTensor)
    ]

    def run(*tensors):
        filled = list(leaves)
        for i, tensor in zip(symbolic, tensors):
            filled[i] = tensor
        args, kwargs = keras.tree.pack_sequence_as(structure, filled)
        return function(*args, **kwargs)

    return backend.compute_output_spec(run, *[leaves[i] for i in symbolic])


class _Read(keras.Operation):
    """The value of a variable."""

    def __init__(self, variable):
        super().__init__()
        self.variable = variable

    def call(self):
        return self.variable.value


class _Write(keras.Operation):
    def __init__(self, variable):
        super().__init__()
        self.variable = variable

    def call(self, value):
        self.variable.assign(value)
        return []


class _Keep(keras.Operation):
    """An attribute of a layer that is set to tensors of this run."""

    def __init__(self, layer, name):
        super().__init__()
        self.layer = layer
        self.attribute = name

    def call(self, value):
        setattr(self.layer, self.attribute, value)
        return []


class _AddLoss(keras.Operation):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, loss):
        self.layer.add_loss(loss)
        return []


class _Constant(keras.Operation):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def call(self):
        return self.value


class _Random(keras.Operation):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def _hides_addition(call):
    if isinstance(call.operation, (keras.layers.Layer, _Random)):
        return False
    arguments = [call.arguments.args, call.arguments.kwargs]
    return any(map(adds, functions_of(call.operation, arguments)))


def has_effect(operation):
    """Return whether a call is needed even if its outputs are not read."""
    effects = keras.layers.Layer, _Write, _AddLoss, _Keep
    return isinstance(operation, effects)


def _has_symbolic(structure):
    leaves = keras.tree.flatten(structure)
    return any(isinstance(x, keras.KerasTensor) for x in leaves)


def _users_place():
    """Return the expressions of the user's code that are running.

    For a layer of a library, it is the one of its `call`.
    """
    frame, inner, place = sys._getframe(1), None, []
    while frame is not None:
        if frame.f_code is trace.__code__:
            break
        inner = frame
        if not _is_library(frame):
            place.append(_expression(frame))
        frame = frame.f_back
    if not place and inner is not None:
        place.append(_expression(inner))
    return tuple(place) or ((None, 0, None, None),)


def _expression(frame):
    code = frame.f_code
    span = _span(code, frame.f_lasti // 2)
    return code.co_filename, frame.f_lineno, code.co_name, span


@functools.lru_cache(10_000)
def _span(code, instruction):
    """Return the lines and columns of an expression.

    They tell two expressions in a line from each other. The number of the
    instruction does not identify one: Python compiles some code twice.
    """
    spans = itertools.islice(code.co_positions(), instruction, None)
    return next(spans, None)


def where(place):
    """Return a text with the line of a `Call.place`."""
    file, line, function, _ = place[0]
    return f"{file}:{line}, in {function}"


def innermost(key):
    """Return `(file, line, function, span)` of a `Call.key`."""
    place, _ = key
    return place[0]


def _here():
    return where(_users_place())


def why(error):
    """Return a message with the line of the user's code that failed."""
    message = (_message(error).splitlines() or [""])[0].rstrip(".")
    reason = f"{type(error).__name__}: {message}"
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [(f, line) for f, line in frames if not _is_library(f)]
    if not own:
        return reason
    frame, line = own[-1]
    code = frame.f_code
    text = linecache.getline(code.co_filename, line).strip()
    return f"{code.co_filename}:{line}, in {code.co_name}: `{text}`: {reason}"


def _message(error):
    """Return an error's message without the frame that Keras puts around it.

    In it, Keras shows the message itself in bold type.
    """
    message = str(error).strip()
    bold = re.search("\x1b\\[1m(.*?)\x1b\\[0m", message, re.DOTALL)
    return bold[1].strip() if bold else message


def _is_library(frame):
    name = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in _NOT_THE_USERS
