"""Make Keras record what a `call` does, instead of doing it.

During a recording, every call of a layer or operation in the user's code, on
this thread, is passed to a recorder. Keras itself records calls on symbolic
tensors only: it treats the values of variables, random numbers and updates of
state as constants. So these parts of Keras are replaced during the recording;
`tests/conversion/inside/test_trace.py` fails if one of them changes:

- `Layer.__call__`, `Operation.symbolic_call`, `Layer.add_loss`;
- `any_symbolic_tensors` in each module that has it, so that a variable counts
  as symbolic;
- the operators of `Variable`, its `value`, and its conversion and casting;
- the operators of `KerasTensor`, of which Keras records the operation only;
- `ops.ndim` and `ops.is_tensor`, which answer code that branches on them as
  they do for a tensor;
- `SeedGenerator.next` and the functions of `backend.random`;
- `StatelessScope`, through which variables are read and assigned.

To find shapes, Keras runs code in a stateless scope of its own. Nothing is
recorded there.
"""

import contextlib
import functools
import operator
import sys
import threading

import keras
from keras.src import backend
from keras.src import ops
from keras.src.backend.common import global_state
from keras.src.backend.common import keras_tensor
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.backend.common.stateless_scope import get_stateless_scope
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import Variable
from keras.src.ops.operation import Operation
from keras.src.random.seed_generator import SeedGenerator

RANDOM = (
    "beta",
    "binomial",
    "categorical",
    "dropout",
    "gamma",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
)
_SIDES = ("", "r")
_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
_COMPARING = ("lt", "le", "gt", "ge")
OPERATORS = {
    **{
        f"__{side}{name}__": getattr(operator, name)
        for name in _BINARY
        for side in _SIDES
    },
    **{f"__{name}__": getattr(operator, name) for name in _COMPARING},
}
_LOCK = threading.RLock()


@contextlib.contextmanager
def recording(recorder):
    """Pass the calls in this scope, on this thread, to `recorder`."""
    scope = _RecordingScope(recorder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_LOCK)
        stack.enter_context(_outside_of_graphs())
        stack.enter_context(_keeping_names())
        for owner, name, value in _replacements(recorder):
            _set_for_the_time_of(stack, owner, name, value)
        # With these, `array + symbolic` calls the operator of the symbolic
        # tensor, and not that of the array.
        _set_for_the_time_of(stack, keras.KerasTensor, "__jax_array__")
        _set_for_the_time_of(stack, keras.KerasTensor, "__array_ufunc__", None)
        stack.enter_context(scope)
        yield


_ABSENT = object()


def _set_for_the_time_of(stack, owner, name, value=_ABSENT):
    """Set or remove an attribute until the stack closes."""
    before = vars(owner).get(name, _ABSENT)

    def put(value):
        if value is not _ABSENT:
            setattr(owner, name, value)
        elif name in vars(owner):
            delattr(owner, name)

    stack.callback(put, before)
    put(value)


def is_recording(recorder):
    """Return whether user code is running, not Keras' shape inference."""
    scope = get_stateless_scope()
    return isinstance(scope, _RecordingScope) and scope.recorder is recorder


class _RecordingScope(StatelessScope):
    def __init__(self, recorder):
        super().__init__(initialize_variables=False)
        self.recorder = recorder

    def get_current_value(self, variable):
        return self.recorder.read(variable)

    def add_update(self, update):
        self.recorder.write(*update)


@contextlib.contextmanager
def _outside_of_graphs():
    """Leave the program that is being compiled, if any.

    A recording must not hold its tensors.
    """
    if keras.config.backend() == "jax":
        import jax

        with jax.ensure_compile_time_eval():
            yield
    elif keras.config.backend() == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            yield
    else:
        yield


@contextlib.contextmanager
def _keeping_names():
    """Restore Keras' name counters, so the next `Add()` is not `add_57`."""
    name = "object_name_uids"
    before = dict(global_state.get_global_attribute(name) or {})
    try:
        yield
    finally:
        uids = global_state.get_global_attribute(name)
        if uids is not None:
            uids.clear()
            uids.update(before)


def _replacements(recorder):
    yield (
        keras.layers.Layer,
        "__call__",
        _replaced(recorder, keras.layers.Layer.__call__, recorder.layer_call),
    )
    yield (
        keras.layers.Layer,
        "add_loss",
        _replaced(recorder, keras.layers.Layer.add_loss, recorder.add_loss),
    )
    yield (
        Operation,
        "symbolic_call",
        _replaced(recorder, Operation.symbolic_call, recorder.operation_call),
    )
    yield (
        SeedGenerator,
        "next",
        _replaced(recorder, SeedGenerator.next, recorder.random_call),
    )
    yield ops.numpy.Ndim, "symbolic_call", lambda self, x: len(x.shape)
    yield keras.ops, "is_tensor", _is_tensor
    for name in RANDOM:
        yield (
            backend.random,
            name,
            _replaced(
                recorder, getattr(backend.random, name), recorder.random_call
            ),
        )
    for module in _modules_with_any_symbolic_tensors():
        yield module, "any_symbolic_tensors", _any_symbolic_or_variable
    for cls in keras.Variable.__mro__:
        if "value" in vars(cls):
            yield cls, "value", _symbolic_value(vars(cls)["value"])
    yield (
        Variable,
        "_maybe_autocast",
        _passing_symbolic(Variable._maybe_autocast),
    )
    for cls in keras.Variable.__mro__:
        if "_convert_to_tensor" in vars(cls):
            yield (
                cls,
                "_convert_to_tensor",
                _passing_symbolic(cls._convert_to_tensor),
            )
    for name, function in OPERATORS.items():
        symbolic = getattr(keras.KerasTensor, name)
        yield Variable, name, _on_value(getattr(Variable, name), symbolic)
        yield (
            keras.KerasTensor,
            name,
            _run_as_written(recorder, symbolic, function),
        )


def _is_tensor(x):
    return isinstance(x, keras.KerasTensor) or backend.is_tensor(x)


def _replaced(recorder, original, handler):
    @functools.wraps(original)
    def replacement(*args, **kwargs):
        if is_recording(recorder):
            return handler(original, *args, **kwargs)
        return original(*args, **kwargs)

    return replacement


def _modules_with_any_symbolic_tensors():
    return _modules_with_it(len(sys.modules))


@functools.lru_cache(1)
def _modules_with_it(count):
    """Of the `count` modules there are; while they are so many, the same."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("keras")
        and getattr(module, "any_symbolic_tensors", None)
        is keras_tensor.any_symbolic_tensors
    ]


_any_symbolic = keras_tensor.any_symbolic_tensors


def _any_symbolic_or_variable(args=None, kwargs=None):
    if _any_symbolic(args, kwargs):
        return True
    if not isinstance(get_stateless_scope(), _RecordingScope):
        return False
    leaves = keras.tree.flatten((args or (), kwargs or {}))
    return any(isinstance(x, Variable) for x in leaves)


def _passing_symbolic(original):
    @functools.wraps(original)
    def replacement(self, value, *args, **kwargs):
        if isinstance(value, keras.KerasTensor):
            return value
        return original(self, value, *args, **kwargs)

    return replacement


def _symbolic_value(original):
    """Return a `value` property for variables during a recording.

    Keras' trainer for JAX removes the values of variables while the compiled
    program holds them. To find shapes, zeros are used instead.
    """

    def value(self):
        scope = get_stateless_scope()
        if isinstance(scope, _RecordingScope):
            return scope.get_current_value(self)
        if self._value is not None or self._initializer is not None:
            return original.fget(self)
        self._initializer = keras.initializers.Zeros()
        try:
            return original.fget(self)
        finally:
            self._initializer = None

    return property(value)


def _run_as_written(recorder, symbolic, function):
    """Return an operator of symbolic tensors that runs as in the user's code.

    Keras records `0.1 * x` as a call of `ops.multiply`, which makes a tensor
    of the number. On PyTorch that rounds otherwise than the operator.
    """

    @functools.wraps(symbolic)
    def replacement(self, other):
        output = symbolic(self, other)
        if isinstance(other, (int, float)) and is_recording(recorder):
            recorder.run_last_as(function)
        return output

    return replacement


def _on_value(original, symbolic):
    """Return an operator of variables that uses their symbolic values."""

    @functools.wraps(original)
    def replacement(self, other):
        if not isinstance(get_stateless_scope(), _RecordingScope):
            return original(self, other)
        if isinstance(other, Variable):
            other = other.value
        return symbolic(self.value, other)

    return replacement


@contextlib.contextmanager
def observing(observer):
    """Pass each call of a layer's `call` in this scope to `observer`.

    It gets the arguments after Keras has set masks, dtypes and `training`.
    """
    original = Operation.__call__
    thread = threading.get_ident()

    @functools.wraps(original)
    def replacement(self, *args, **kwargs):
        if threading.get_ident() != thread:
            return original(self, *args, **kwargs)
        return observer.layer_call(original, self, *args, **kwargs)

    with _LOCK, contextlib.ExitStack() as stack:
        _set_for_the_time_of(stack, Operation, "__call__", replacement)
        yield


def is_inferring_shapes():
    """Return whether Keras runs layers for their shapes only."""
    return in_symbolic_scope()
