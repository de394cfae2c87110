"""A layer whose `call` runs as a graph with connections in it."""

import contextlib
import functools

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.additions import find_additions
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.inside import keras_recording
from keras_laurel.conversion.inside.program import Program
from keras_laurel.conversion.inside.trace import CannotTrace
from keras_laurel.conversion.inside.trace import trace
from keras_laurel.conversion.inside.trace import where
from keras_laurel.conversion.inside.unknown_sizes import has_unknown_sizes
from keras_laurel.conversion.inside.unknown_sizes import trace_unknown
from keras_laurel.conversion.inside.values import is_tensor_like
from keras_laurel.conversion.inside.values import map_leaves
from keras_laurel.conversion.inside.values import signature
from keras_laurel.conversion.inside.values import tensors_of
from keras_laurel.layers.laurel import is_observed

# Programs that are kept per layer. Texts may have any number of lengths.
MOST_PROGRAMS = 64


def _not_compiled(function):
    """Exclude a function from PyTorch's compiler.

    It can compile the run of a graph, but not its construction.
    """
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.disable(function)


class Opened:
    """The graphs and connections that an opened layer runs for its `call`.

    Args:
        connections: Dict of `Connection`s by the key of their addition.
        known: List of the keys of all additions that were judged.
        always: Set of the keys of those additions that run in every call.
        all_layers: List of the LAuReL layers of the whole conversion, in the
            order they run.
    """

    def __init__(self, connections, known, always, all_layers):
        self.connections = connections
        self.all_layers = all_layers
        self._known = known
        self._expected = [key for key in connections if key in always]
        self._programs = {}

    @property
    def streams(self):
        """The streams of its connections, each once."""
        found = {id(x.stream): x.stream for x in self.connections.values()}
        return list(found.values())

    def hidden(self, layer):
        """Hide the LAuReL layers from a `call` that runs `self.layers`."""
        layers = _layers_of(self.connections)
        return keras_internals.without_sublayers(layer, layers)

    def index(self, key):
        """Return the index of an addition among all those of the layer."""
        return self._known.index(key)

    def program(self, layer, call, args, kwargs):
        """Return the `Program` for arguments with this signature."""
        key = signature((args, kwargs))
        program = self._programs.get(key)
        if program is None:
            program = self._program(layer, call, args, kwargs)
            if len(self._programs) >= MOST_PROGRAMS:
                self._programs.pop(next(iter(self._programs)))
            self._programs[key] = program
        return program

    @_not_compiled
    @keras_internals.unseen_by_outer_call()
    def _program(self, layer, call, args, kwargs):
        try:
            unknown = has_unknown_sizes((args, kwargs))
            run = trace_unknown if unknown else trace
            with self.hidden(layer):
                traced = run(call, args, kwargs)
        except CannotTrace as error:
            raise ValueError(
                f"{layer.name!r} of class {type(layer).__name__} has LAuReL "
                "connections inside, and cannot be run on these arguments: "
                f"its `call` does not run as a graph. {error}"
            ) from error
        return Program(traced, self._in_place(layer, traced))

    def _in_place(self, layer, traced):
        """Return the connections by the calls that they replace."""
        graph = TensorGraph(traced.calls, traced.output_tensors)
        additions = {a.node.key: a for a in find_additions(graph)}
        missing = [k for k in self._expected if k not in additions]
        new = [
            a
            for key, a in additions.items()
            if a.why_not is None and key not in self._known
        ]
        if missing or new:
            raise ValueError(_other_additions(layer, missing, new))
        return {
            additions[key].node: (connection, additions[key])
            for key, connection in self.connections.items()
            if key in additions
        }


def _other_additions(layer, missing, new):
    lines = [
        f"{layer.name!r} of class {type(layer).__name__} was called with "
        "arguments for which it runs other additions than those that were "
        "converted."
    ]
    lines += [f"Not reached: {place_of(key)}." for key in missing]
    lines += [f"Not seen at conversion: {a.node.where}." for a in new]
    lines.append(
        "Convert with an example of such arguments, `inputs=...`, or leave "
        "these additions out with `sites=[...]`."
    )
    return "\n".join(lines)


def place_of(key):
    place, occurrence = key
    time = f", time {occurrence + 1}" if occurrence else ""
    return where(place) + time


class LaurelOpened:
    """Mixin for opened layers."""

    def rematerialized_call(self, layer_call, *args, **kwargs):
        """Return the call as it is: `_laurel_run` rematerializes itself."""
        return layer_call

    def _laurel_run(self, call, args, kwargs):
        if keras_recording.is_inferring_shapes() and not is_observed():
            with self._laurel_opened.hidden(self):
                return call(*args, **kwargs)
        program = self._laurel_opened.program(self, call, args, kwargs)
        if keras_internals.is_rematerialized(self):
            return self._laurel_run_rematerialized(program, args, kwargs)
        return program.run(tensors_of((args, kwargs)))

    def _laurel_run_rematerialized(self, program, args, kwargs):
        """Run the program so that the backward pass computes it again.

        The history is passed in and out as tensors, since a function that is
        computed twice may have no other effects.
        """
        streams, returned = self._laurel_opened.streams, []
        tensors = tensors_of((args, kwargs))
        states = [stream.state for stream in streams]

        def run(*tensors_and_states):
            given = iter(tensors_and_states)
            inputs = [next(given) for _ in tensors]
            with contextlib.ExitStack() as resumed:
                for stream, state in zip(streams, _filled(states, given)):
                    resumed.enter_context(stream.resumed(state))
                outputs = program.run(inputs)
                returned[:] = outputs, [stream.state for stream in streams]
            return tensors_of(returned)

        run = super().rematerialized_call(run, *args, **kwargs)
        given = run(*tensors, *tensors_of(states))
        outputs, after = _filled(returned, iter(given))
        for stream, state in zip(streams, after):
            stream.state = state
        return outputs


def _filled(structure, tensors):
    """Return a structure in which the next of `tensors` replaces each one."""
    return map_leaves(
        lambda x: next(tensors) if is_tensor_like(x) else x, structure
    )


@functools.cache
def opened_class(base):
    """Return the subclass of `base` for opened layers.

    It has the same name, since Keras' weight files use the names of classes.
    """

    @functools.wraps(base.call)
    def call(self, *args, **kwargs):
        plain = functools.partial(base.call, self)
        return self._laurel_run(plain, args, kwargs)

    names = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "_laurel_plain_class": base,
        "call": call,
    }
    return type(base.__name__, (LaurelOpened, base), names)


def attach(layer, connections, *knowledge):
    """Let `layer` run with the connections from now on.

    Args:
        layer: The layer.
        connections: The first argument of `Opened`.
        *knowledge: The other arguments of `Opened`.
    """
    layer.__dict__["_laurel_opened"] = Opened(connections, *knowledge)
    for connected in _layers_of(connections):
        keras_internals.add_sublayer(layer, connected.name, connected)
    layer.__class__ = opened_class(type(layer))


def detach(layer, plain_class=None):
    """Undo `attach`, even if it was interrupted."""
    cls = type(layer)
    layer.__class__ = plain_class or getattr(cls, "_laurel_plain_class", cls)
    layer.__dict__.pop("_laurel_called", None)
    opened = layer.__dict__.pop("_laurel_opened", None)
    for connected in _layers_of(opened.connections) if opened else ():
        if getattr(layer, connected.name, None) is not None:
            keras_internals.remove_sublayer(layer, connected.name)


def _layers_of(connections):
    return {id(x.layer): x.layer for x in connections.values()}.values()
