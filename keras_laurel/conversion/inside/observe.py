"""Observe the layers that a model calls, their arguments and their graphs.

The model runs once for its shapes, as Keras does when it builds a model: no
value is computed and nothing is changed. During this run, each layer that is
not a graph itself is traced with the arguments of its call.
"""

import contextlib
import dataclasses

import keras
from keras.src import backend

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.function_code import function_of
from keras_laurel.conversion.function_code import names_in
from keras_laurel.conversion.graphs.insides import runs_graph
from keras_laurel.conversion.inside import keras_recording
from keras_laurel.conversion.inside.kept_tensors import keeping_tensors
from keras_laurel.conversion.inside.known_outputs import is_pure
from keras_laurel.conversion.inside.trace import Call
from keras_laurel.conversion.inside.trace import CannotTrace
from keras_laurel.conversion.inside.trace import Trace
from keras_laurel.conversion.inside.trace import call_of
from keras_laurel.conversion.inside.trace import symbolic_spec
from keras_laurel.conversion.inside.trace import trace
from keras_laurel.conversion.inside.values import flatten
from keras_laurel.conversion.inside.values import flatten_as
from keras_laurel.conversion.inside.values import signature
from keras_laurel.conversion.inside.values import spec_of


@dataclasses.dataclass(eq=False)
class Observed:
    """One call of a layer, and the calls of layers inside it.

    Attributes:
        layer: The layer.
        args: Positional arguments of its `call`, `KerasTensor`s for tensors.
        kwargs: Keyword arguments.
        trace: The `Trace` of the call; `None` if it was not traced.
        failure: String, the reason why it could not be traced, or `None`.
        inside: List of `Observed`, in the order they ran.
    """

    layer: keras.layers.Layer
    args: tuple
    kwargs: dict
    trace: Trace | None = None
    failure: str | None = None
    inside: list = dataclasses.field(default_factory=list)

    def all(self):
        """Yield this call and those inside it, in the order they began."""
        yield self
        for one in self.inside:
            yield from one.all()

    def graph(self, made_by=None):
        """Return `(inputs, steps, outputs)`, the graph of this call.

        It is `None` if the graph is not known.

        Args:
            made_by: The step of a surrounding graph that is this call, if it
                is known. `outputs` have the order of its outputs.
        """
        trace, model = self.trace, self.layer
        if trace is not None:
            outputs = _tensors(trace.outputs, made_by)
            return trace.inputs, trace.calls, outputs
        if keras_internals.is_functional(model) and runs_graph(model):
            outputs = _tensors(model.output, made_by)
            return model.inputs, keras_internals.nodes(model), outputs
        return None

    def inner_calls(self, steps):
        """Return `(calls, others)` of the calls of layers inside.

        `calls` is a dict by the step that made the call, `others` a list of
        those that none of `steps` made.
        """
        calls, others = {}, list(self.inside)
        for step in steps:
            if others and others[0].layer is step.operation:
                calls[step] = others.pop(0)
        return calls, others


def _tensors(structure, made_by):
    """Return the tensors of outputs in the order that a call has them in."""
    if isinstance(made_by, Call):
        leaves = flatten_as(structure, made_by.structure)
    elif made_by is None:
        leaves = flatten(structure)
    else:
        # Keras' nodes sort the keys of dicts.
        leaves = keras.tree.flatten(structure)
    return [x for x in leaves if isinstance(x, keras.KerasTensor)]


def observe(model, args, kwargs, is_opaque, known):
    """Return the `Observed` call of `model` on these arguments.

    Args:
        model: A layer or model.
        args: Positional arguments, with `KerasTensor`s of known sizes.
        kwargs: Keyword arguments.
        is_opaque: Function of a layer that returns true if the layer is to be
            traced.
        known: `KnownOutputs`, to which this pass adds.
    """
    with keeping_tensors(model) as kept:
        observer = _Observer(is_opaque, known, kept)
        with keras_recording.observing(observer):
            symbolic_spec(model, args, kwargs)
    return observer.root


class _Observer:
    def __init__(self, is_opaque, known, kept):
        self.root = None
        self._kept = kept
        self._stack = []
        self._is_opaque = is_opaque
        self._known = known
        self._is_tracing = False
        self._traces = {}

    def layer_call(self, original, layer, *args, **kwargs):
        if self._is_tracing or not isinstance(layer, keras.layers.Layer):
            return original(layer, *args, **kwargs)
        call = Observed(layer, *_as_symbolic((args, kwargs)))
        if self._stack:
            self._stack[-1].inside.append(call)
        else:
            # A second outermost call replaces the first: on PyTorch, Keras
            # runs the model again on another device if the first run fails,
            # where layers may return other dtypes.
            if self.root is not None:
                self._known.forget()
                self._traces.clear()
            self.root = call
        if is_pure(layer):
            outputs = self._known.again(layer, args, kwargs, _zeros)
            if outputs is not None:
                return outputs
        self._stack.append(call)
        try:
            with (
                self._seeing_direct_calls(layer),
                keras_internals.not_rematerialized(layer),
            ):
                outputs = original(layer, *args, **kwargs)
        finally:
            self._stack.pop()
        self._known.note(layer, args, kwargs, outputs)
        if self._is_opaque(layer):
            self._trace(call, args, kwargs)
        return outputs

    @contextlib.contextmanager
    def _seeing_direct_calls(self, wrapper):
        """Observe the layer in a wrapper that runs `layer.call` directly.

        Some of Keras' wrappers do so, instead of calling the layer.
        """
        inner = getattr(wrapper, "layer", None)
        if not isinstance(wrapper, keras.layers.Wrapper) or inner is None:
            yield
            return
        plain = inner.call

        def call(*args, **kwargs):
            if self._stack[-1].layer is inner:
                return plain(*args, **kwargs)
            original = _plain_call(plain)
            return self.layer_call(original, inner, *args, **kwargs)

        inner.__dict__["call"] = call
        try:
            yield
        finally:
            del inner.__dict__["call"]

    def _trace(self, call, args, kwargs):
        key = id(call.layer), signature((args, kwargs))
        if key not in self._traces:
            self._traces[key] = self._traced(call.layer, args, kwargs)
        call.trace, call.failure = self._traces[key]

    def _traced(self, layer, args, kwargs):
        self._is_tracing = True
        try:
            known = self._known
            _check_reads_no_kept(layer, self._kept)
            return trace(call_of(layer), args, kwargs, known), None
        except CannotTrace as error:
            return None, str(error)
        finally:
            self._is_tracing = False


def _check_reads_no_kept(layer, kept):
    """Raise if `call` reads a tensor that a layer inside keeps.

    Layers inside are not run again where their outputs are known.
    """
    function = function_of(type(layer).call)
    if function is None:
        return
    own = vars(layer).keys() | vars(type(layer)).keys()
    names = names_in(function) - own
    for inside in keras_internals.flatten_layers(layer):
        read = names & kept(inside).keys()
        if read:
            raise CannotTrace(
                f"it reads `{min(read)}`, a tensor that {inside.name!r} of "
                f"class {type(inside).__name__} keeps in an attribute: return "
                "it from the `call` there"
            )


def _zeros(x):
    return keras.ops.zeros(x.shape, x.dtype)


def _plain_call(call):
    return lambda layer, *args, **kwargs: call(*args, **kwargs)


def _as_symbolic(structure):
    return keras.tree.map_structure(
        lambda x: spec_of(x) if backend.is_tensor(x) else x,
        structure,
    )
