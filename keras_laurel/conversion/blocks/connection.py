"""Put LAuReL layers around the blocks of a model.

A block returns `y = x + f(x)` and hides `f`. Its class is replaced by a
subclass that calls it and applies the connection to its output. So the
variables of the block keep their paths, which layout maps, LoRA targets and
quantization use. A layer wrapped around the block would rename them.
"""

import contextlib
import functools
import inspect

import keras
from keras import ops

from keras_laurel.checks import shapes_agree
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.registry import BlockRow
from keras_laurel.conversion.blocks.stream import loaded_stream
from keras_laurel.layers import Laurel

_SAVED_OF_ROW = ("entry_points", "input_norm", "streams")
"""Fields of a `BlockRow` on which the run of a block depends."""


def attach(block, connection):
    """Let `block` run `connection` whenever it is called."""
    block._laurel_connection = connection
    for name, layer in connection.layers.items():
        keras_internals.add_sublayer(block, name, layer)
    row = connection.row
    block.__class__ = _block_class(type(block), row.entry_points, row.streams)


def is_attached(layer):
    return isinstance(layer, (LaurelBlock, LaurelContainer))


def detach(block):
    """Undo `attach`, even if it was interrupted, or `attach_containers`."""
    if isinstance(block, LaurelContainer):
        block.__class__ = type(block)._laurel_base
    connection = block.__dict__.get("_laurel_connection")
    if connection is None:
        return
    if is_attached(block):
        block.__class__ = type(block)._laurel_base
    del block._laurel_connection
    for name in connection.layers:
        if getattr(block, name, None) is not None:
            keras_internals.remove_sublayer(block, name)


def attach_containers(layers):
    """Let the layers that hold converted blocks save the connections too."""
    for layer in layers:
        # A functional model has the blocks in its config, and they save their
        # connections themselves.
        if keras_internals.config_has_layers(layer) or is_attached(layer):
            continue
        inside = keras_internals.flatten_layers(layer)
        if any(isinstance(x, LaurelBlock) for x in inside):
            layer.__class__ = _container_class(type(layer))


@contextlib.contextmanager
def without_classes(blocks):
    """Give blocks their plain classes in this scope, to read their configs."""
    classes = [block.__class__ for block in blocks]
    for block, cls in zip(blocks, classes):
        block.__class__ = getattr(cls, "_laurel_base", cls)
    try:
        yield
    finally:
        for block, cls in zip(blocks, classes):
            block.__class__ = cls


class BlockConnection:
    """The connection around a block: one layer, or one for each of its runs.

    Args:
        row: The `BlockRow` of the block.
        block: The block.
        streams: List with the `ResidualStream` of the stack for each tensor
            that the block adds to.
        turns: Tuple with the index of a connection in the stream for each run
            of the block in a pass.
    """

    def __init__(self, row, block, streams, turns):
        self.row = row
        self.block = block
        self.streams = streams
        self.turns = turns
        self._input_norm = getattr(block, row.input_norm or "", None)

    @property
    def stream(self):
        return self.streams[0]

    @property
    def layers(self):
        """The block's LAuReL layers by the name of their attribute."""
        layers = self.stream.layers
        shared = len({layers[turn] for turn in self.turns}) == 1
        turns = self.turns[:1] if shared else self.turns
        return {
            name: layers[turn] for turn, name in zip(turns, names(len(turns)))
        }

    def get_config(self):
        return {
            "row": {name: getattr(self.row, name) for name in _SAVED_OF_ROW},
            "streams": [stream.get_config() for stream in self.streams],
            "turns": list(self.turns),
            "layers": {
                name: keras.layers.serialize(layer)
                for name, layer in self.layers.items()
            },
        }

    def skip(self, x):
        """Return the tensor that the block adds to.

        It is the input of the block, or the output of its `input_norm`.
        """
        return x if self._input_norm is None else self._input_norm(x)

    def run(self, call, tensors):
        """Call the block on its arguments and apply the connection.

        Args:
            call: Function without arguments that runs the block, with
                rematerialization if the user asked for it.
            tensors: List with the input of the block for each stream, or
                `None`.
        """
        try:
            entered = [self._enter(*x) for x in zip(self.streams, tensors)]
            output = call()
            return _with_first(output, [self._combination(*x) for x in entered])
        except BaseException:
            # The next pass must not read the history of one that broke off.
            for stream in self.streams:
                stream.begin()
            raise

    def _enter(self, stream, tensor):
        if tensor is None:
            return None, None, None, None
        n = self._turn(stream)
        (x,) = stream.layers[n].features_last([self.skip(tensor)])
        return tensor, stream.layers[n], x, stream.enter(n, x)

    def _turn(self, stream):
        """Return the index in the stream of the connection that runs now."""
        if len(self.turns) == 1:
            return self.turns[0]
        return stream.turn(self.turns, keras_internals.outer_call(self.block))

    def _combination(self, tensor, layer, x, carried):
        """Return a function that applies the connection to an output."""

        def combine(y):
            if y is tensor:  # The block has left this stream alone.
                return y
            check_same_shape(self.block, tensor, y)
            (y,) = layer.features_last([y])
            out = layer.combine_sum(y, x, x, carried)
            # The layers in the block set their mask on y, and a new tensor has
            # none.
            return keras_internals.keep_mask(layer.features_back(out), y)

        return combine if layer is not None else None


def names(runs):
    """Return the attributes for the layers of a block, one for each run."""
    name = "laurel_residual"
    return [name] if runs == 1 else [f"{name}_{i}" for i in range(runs)]


def check_same_shape(block, x, y):
    if not shapes_agree([x.shape, getattr(y, "shape", ())]):
        raise ValueError(
            f"The block {block.name!r} must return `y = x + f(x)`, of the "
            "shape of x, for a connection around it. Received: a block that "
            f"got {tuple(x.shape)} and returned {getattr(y, 'shape', y)}. "
            "Leave the block out."
        )


class LaurelBlock:
    """Mixin for converted blocks."""

    def rematerialized_call(self, layer_call, *args, **kwargs):
        """Return the call as it is.

        `_run_rematerialized` rematerializes the block's own call, but not the
        connection, whose history must outlive it for later blocks.
        """
        return layer_call

    def compute_output_spec(self, *args, **kwargs):
        with contextlib.ExitStack() as suspended:
            for stream in self._laurel_connection.streams:
                # Otherwise a run for shapes takes a turn in the pass of the
                # model.
                suspended.enter_context(stream.suspended())
            return super().compute_output_spec(*args, **kwargs)

    def get_config(self):
        """Return the config of a block that is saved outside its backbone.

        This happens in `keras.Model(backbone.input, head(backbone.output))`.
        """
        with without_classes([self]):
            block = keras.saving.serialize_keras_object(self)
        connection = self._laurel_connection.get_config()
        return {"block": block, "connection": connection}

    @classmethod
    def from_config(cls, config):
        block = keras.saving.deserialize_keras_object(config["block"])
        attach(block, _connection(block, config["connection"]))
        return block

    def _run_rematerialized(self, run, args, kwargs):
        """Rematerialize the block's call with its tensors as arguments.

        A flag such as `training` would become a tensor, on which a layer
        cannot branch.
        """
        structure = (args, kwargs)
        leaves = keras.tree.flatten(structure)
        positions = [i for i, x in enumerate(leaves) if ops.is_tensor(x)]

        def run_on(*tensors):
            filled = list(leaves)
            for i, tensor in zip(positions, tensors):
                filled[i] = tensor
            return run(*keras.tree.pack_sequence_as(structure, filled))

        run_on = super().rematerialized_call(run_on, *args, **kwargs)
        return run_on(*[leaves[i] for i in positions])


class LaurelContainer:
    """Mixin for layers that hold converted blocks.

    It saves the connections in a model without the owner of the blocks.
    """

    def compute_output_spec(self, *args, **kwargs):
        with contextlib.ExitStack() as suspended:
            for layer in _plain_layers(self):
                if isinstance(layer, LaurelBlock):
                    for stream in layer._laurel_connection.streams:
                        suspended.enter_context(stream.suspended())
            return super().compute_output_spec(*args, **kwargs)

    def get_config(self):
        layers = _plain_layers(self)
        with without_classes([self, *filter(is_attached, layers)]):
            source = keras.saving.serialize_keras_object(self)
        connections = [
            [i, layer._laurel_connection.get_config()]
            for i, layer in enumerate(layers)
            if isinstance(layer, LaurelBlock)
        ]
        return {"source": source, "connections": connections}

    @classmethod
    def from_config(cls, config):
        container = keras.saving.deserialize_keras_object(config["source"])
        layers = _plain_layers(container)
        for i, connection in config["connections"]:
            attach(layers[i], _connection(layers[i], connection))
        attach_containers([container, *layers])
        return container


def _plain_layers(container):
    layers = keras_internals.flatten_layers(container)
    return [layer for layer in layers if not isinstance(layer, Laurel)]


def _connection(block, config):
    """Return the connection of a loaded block, with built layers."""
    row = {name: _immutable(value) for name, value in config["row"].items()}
    row = BlockRow(stacks=(), **row)
    layers = {
        name: _built(block, layer_config)
        for name, layer_config in config["layers"].items()
    }
    turns = tuple(config["turns"])
    shared = len(layers) == 1
    names_then = names(1) * len(turns) if shared else names(len(turns))
    in_stream = {turn: layers[x] for turn, x in zip(turns, names_then)}
    streams = [loaded_stream(x, in_stream) for x in config["streams"]]
    return BlockConnection(row, block, streams, turns)


def _built(block, config):
    """Return a layer whose variables have paths inside the block."""
    shapes = config["build_config"]["input_shape"]
    # Keras would build it here, with variable paths outside of the block.
    layer = keras.layers.deserialize({**config, "build_config": None})
    keras_internals.build_inside(block, layer, list(map(tuple, shapes)))
    return layer


def _immutable(value):
    return tuple(value) if isinstance(value, list) else value


_register = keras.saving.register_keras_serializable(
    package="keras_laurel", name="LaurelBlock"
)
_register(LaurelBlock)


@functools.cache
def _block_class(base, entry_points, streams):
    """Return the subclass of `base` for converted blocks.

    All these classes share one registered name, which keeps naming
    `LaurelBlock`.
    """
    methods = {name: _connected(base, name, streams) for name in entry_points}
    cls = _register(_subclass(base, LaurelBlock, methods))
    _register(LaurelBlock)
    return cls


_register_container = keras.saving.register_keras_serializable(
    package="keras_laurel", name="LaurelContainer"
)
_register_container(LaurelContainer)


@functools.cache
def _container_class(base):
    cls = _register_container(_subclass(base, LaurelContainer, {}))
    _register_container(LaurelContainer)
    return cls


def _connected(base, name, streams):
    method = getattr(base, name)
    first = tensors_of(method, streams)

    @functools.wraps(method)
    def connected(self, *args, **kwargs):
        connection = self._laurel_connection
        if connection.stream.is_suspended:
            return method(self, *args, **kwargs)

        def run(args, kwargs):
            return method(self, *args, **kwargs)

        def call():
            # Keras rematerializes `call` only, not a `generate_call`.
            if name == "call" and keras_internals.is_rematerialized(self):
                return self._run_rematerialized(run, args, kwargs)
            return run(args, kwargs)

        return connection.run(call, first(args, kwargs))

    return connected


def tensors_of(method, streams=()):
    """Return a function that finds in arguments the tensors a block adds to.

    Args:
        method: The method of the block's class that takes these arguments.
        streams: Names of its parameters; by default only the first.
    """
    names = list(inspect.signature(method).parameters)[1:]
    streams = streams or names[:1]
    positions = [names.index(name) for name in streams]

    def first(args, kwargs):
        values = [
            args[i] if i < len(args) else kwargs.get(name)
            for i, name in zip(positions, streams)
        ]
        return [_first(x) for x in values]

    return first


def _first(x):
    """Return the first leaf of a structure.

    It is usually a single tensor, for which PyTorch need not compile
    `keras.tree`.
    """
    return x if x is None or ops.is_tensor(x) else keras.tree.flatten(x)[0]


def _with_first(output, functions):
    """Apply functions to the first tensors of the output of a block.

    The others are caches and the like.

    Args:
        output: A tensor, or a structure of tensors.
        functions: List with a function or `None` for each of the first
            tensors.
    """
    # The constructor of a named tuple takes no list.
    if isinstance(output, (tuple, list)) and not hasattr(output, "_fields"):
        first = _each(functions, output)
        return type(output)([*first, *output[len(first) :]])
    if ops.is_tensor(output):
        return _each(functions, [output])[0]
    leaves = keras.tree.flatten(output)
    first = _each(functions, leaves)
    return keras.tree.pack_sequence_as(output, [*first, *leaves[len(first) :]])


def _each(functions, tensors):
    return [f(x) if f is not None else x for f, x in zip(functions, tensors)]


def _subclass(base, mixin, methods):
    """Return a subclass with the same name, which weight files use."""
    names = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "_laurel_base": base,
    }
    # The metaclass of a block need not be `type`.
    return type(base)(base.__name__, (mixin, base), {**methods, **names})
