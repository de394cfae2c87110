"""Put LAuReL layers around, or inside, the blocks of a transformer.

A block returns `y = x + f(x)` and hides `f`. Its class is swapped for a
subclass that calls it and applies the connection to what it returned. The
variables of the block keep their paths, which layout maps, LoRA targets and
quantization go by; a layer wrapped around the block would rename them.
"""

import functools
import inspect
import threading
import types

import keras
from keras import ops

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.stream import ResidualStream


def attach(block, connection):
    """Let `block` run `connection` whenever it is called."""
    block._laurel_connection = connection
    for name, layer in connection.layers.items():
        keras_internals.add_sublayer(block, name, layer)
    block.__class__ = _block_class(type(block), connection.entry_points)
    if connection.middle_norm is not None:
        norm = connection.middle_norm
        norm.__class__ = _norm_class(type(norm))


def is_attached(layer):
    return isinstance(layer, (LaurelBlock, _MiddleNorm))


def detach(block):
    """Undo `attach`, also one that was interrupted."""
    connection = block.__dict__.get("_laurel_connection")
    if connection is None:
        return
    for layer in (block, connection.middle_norm):
        if is_attached(layer):
            layer.__class__ = type(layer).__bases__[1]
    del block._laurel_connection
    for name in connection.layers:
        if getattr(block, name, None) is not None:
            keras_internals.remove_sublayer(block, name)


class BlockConnection:
    """One LAuReL layer around a block.

    Args:
        family: The `Family` of the backbone.
        block: The block.
        stream: The `ResidualStream` of all connections of the backbone.
        first: Index in the stream of the block's first connection.
    """

    attributes = ("laurel_residual",)
    middle_norm = None

    def __init__(self, family, block, stream, first):
        self.family = family
        self.stream = stream
        self.first = first
        self.entry_points = family.entry_points
        self._input_norm = getattr(block, family.input_norm or "", None)

    @property
    def layers(self):
        """The block's LAuReL layers by attribute."""
        layers = self.stream.layers[self.first :]
        return dict(zip(self.attributes, layers))

    def get_config(self):
        layers = list(self.layers.values())
        (width,) = layers[0].input_spec[0].axes.values()
        return {
            "class_name": type(self).__name__,
            "entry_points": list(self.entry_points),
            "input_norm": self.family.input_norm,
            "middle_norm": self.family.middle_norm,
            "first": self.first,
            "stream": {"id": self.stream.id, "size": len(self.stream.layers)},
            "width": width,
            "num_inputs": [layer.num_inputs for layer in layers],
            "layers": [keras.layers.serialize(layer) for layer in layers],
        }

    def skip(self, x):
        """What the block adds to: its input, where no norm stands first."""
        return x if self._input_norm is None else self._input_norm(x)

    def run(self, call, x):
        """Call the block on its arguments and apply the connection.

        Args:
            call: `call(around, tensors)` returns `around(run_block, *tensors)`,
                rematerialised where the user asks for it. What `around` needs
                of the outside must be among `tensors`: TensorFlow's
                rematerialisation takes no gradient to anything else.
            x: Tensor, the input of the block.
        """
        (layer,) = self.layers.values()
        x = self.skip(x)
        carried = self.stream.enter(self.first, x)
        output = call(lambda run_block: run_block(), [])
        return _with_first(
            output, lambda y: layer.combine_sum(y, x, x, carried)
        )


class SublayerConnection(BlockConnection):
    """A LAuReL layer at each of the two additions of a block.

    The norm in the middle is called on `s1 = s0 + attention(s0)`. It gets the
    augmented `s1'` in its place. The block then adds to `s1` what it computes
    from `s1'`, and the second connection knows both.
    """

    attributes = ("laurel_attention_residual", "laurel_feedforward_residual")

    def __init__(self, family, block, stream, first):
        super().__init__(family, block, stream, first)
        self.middle_norm = getattr(block, family.middle_norm)

    def run(self, call, x):
        attention, feedforward = self.layers.values()
        x = self.skip(x)
        carried = self.stream.enter(self.first, x)

        def augment(s1, x, *carried):
            return attention.combine_sum(s1, x, x, carried)

        output, s1, augmented = call(
            functools.partial(_intercept, augment), [x, *(carried or ())]
        )
        carried = self.stream.enter(self.first + 1, augmented)
        return _with_first(
            output,
            lambda y: feedforward.combine_sum(y, s1, augmented, carried),
        )


class LaurelBlock:
    """What a converted block adds to its class."""

    def rematerialized_call(self, layer_call, *args, **kwargs):
        """The block's own call is rematerialised, not the connection: what
        it hands on to later blocks must live outside."""
        return layer_call

    def compute_output_spec(self, *args, **kwargs):
        with self._laurel_connection.stream.suspended():
            return super().compute_output_spec(*args, **kwargs)

    def get_config(self):
        """Of a block that is saved outside its backbone, as in
        `keras.Model(backbone.input, head(backbone.output))`."""
        base = type(self).__bases__[1]
        block = {
            "module": base.__module__,
            "class_name": base.__name__,
            "config": super().get_config(),
            "registered_name": keras.saving.get_registered_name(base),
            "build_config": self.get_build_config(),
        }
        connection = self._laurel_connection.get_config()
        return {"block": block, "connection": connection}

    @classmethod
    def from_config(cls, config):
        block = keras.saving.deserialize_keras_object(config["block"])
        attach(block, _connection(block, config["connection"]))
        return block

    def _run_rematerialized(self, run, tensors, args, kwargs):
        """Only tensors may go through: a flag such as `training` would come
        out as a tensor, on which a layer cannot branch."""
        structure = (list(tensors), args, kwargs)
        leaves = keras.tree.flatten(structure)
        positions = [i for i, x in enumerate(leaves) if ops.is_tensor(x)]

        def run_on(*tensors):
            filled = list(leaves)
            for i, tensor in zip(positions, tensors):
                filled[i] = tensor
            return run(*keras.tree.pack_sequence_as(structure, filled))

        run_on = super().rematerialized_call(run_on, *args, **kwargs)
        return run_on(*[leaves[i] for i in positions])


def _connection(block, config):
    """The connection of a block that is loaded, its layers built."""
    stream = _loaded_stream(config)
    for i, layer_config in enumerate(config["layers"]):
        # Built below, where its variables have the paths of the block.
        layer_config = {**layer_config, "build_config": None}
        layer = keras.layers.deserialize(layer_config)
        shape = (None, None, config["width"])
        shapes = [shape] * config["num_inputs"][i]
        keras_internals.build_inside(block, layer, shapes)
        stream.layers[config["first"] + i] = layer
    if None not in stream.layers:
        del _LOADING[stream.id]
    family = types.SimpleNamespace(
        entry_points=tuple(config["entry_points"]),
        input_norm=config["input_norm"],
        middle_norm=config["middle_norm"],
    )
    kinds = {x.__name__: x for x in (BlockConnection, SublayerConnection)}
    return kinds[config["class_name"]](family, block, stream, config["first"])


_LOADING = {}
"""Streams of which some blocks are loaded and others are not yet, by id."""


def _loaded_stream(config):
    """The stream that the blocks of one model are loaded into.

    A block that is there already is of another copy of the model.
    """
    stream_id = config["stream"]["id"]
    stream = _LOADING.get(stream_id)
    if stream is None or stream.layers[config["first"]] is not None:
        stream = ResidualStream([None] * config["stream"]["size"], stream_id)
        _LOADING[stream_id] = stream
    return stream


_register = keras.saving.register_keras_serializable(
    package="keras_laurel", name="LaurelBlock"
)
_register(LaurelBlock)


@functools.cache
def _block_class(base, entry_points):
    """All go by one registered name, under which `LaurelBlock` stays."""
    methods = {name: _connected(base, name) for name in entry_points}
    cls = _register(_subclass(base, LaurelBlock, methods))
    _register(LaurelBlock)
    return cls


def _connected(base, name):
    method = getattr(base, name)
    (x_name, *_) = list(inspect.signature(method).parameters)[1:]

    @functools.wraps(method)
    def connected(self, *args, **kwargs):
        connection = self._laurel_connection
        if connection.stream.is_suspended:
            return method(self, *args, **kwargs)

        def call(around, tensors):
            def run(tensors, args, kwargs):
                return around(lambda: method(self, *args, **kwargs), *tensors)

            if name == "call":
                return self._run_rematerialized(run, tensors, args, kwargs)
            return run(tensors, args, kwargs)

        x = args[0] if args else kwargs[x_name]
        return connection.run(call, keras.tree.flatten(x)[0])

    return connected


class _MiddleNorm:
    """What the norm between the two additions of a block adds to its class."""

    def __call__(self, x, *args, **kwargs):
        intercepted = getattr(_passing, "interceptions", None)
        if intercepted is not None:
            x = intercepted(x)
        return super().__call__(x, *args, **kwargs)


@functools.cache
def _norm_class(base):
    return _subclass(base, _MiddleNorm, {})


_passing = threading.local()


def _intercept(augment, run_block, *tensors):
    """Run a block with `augment` applied to what its middle norm is given.

    Args:
        augment: Function of the norm's input and of `tensors`.
        run_block: Function without arguments.

    Returns:
        What the block returns, the norm's input, and that augmented.
    """
    seen = []

    def interception(s1):
        seen.append((s1, augment(s1, *tensors)))
        return seen[-1][1]

    _passing.interceptions = interception
    try:
        output = run_block()
    finally:
        _passing.interceptions = None
    if len(seen) != 1:
        raise ValueError(
            f"A block called the norm between its two additions {len(seen)} "
            "times instead of once: this version of KerasHub computes the "
            "block in another way. Convert with `granularity='block'`."
        )
    return output, *seen[0]


def _with_first(output, function):
    """`output` with its first tensor replaced: blocks return y and caches."""
    if isinstance(output, (tuple, list)):
        return type(output)([function(output[0]), *output[1:]])
    return function(output)


def _subclass(base, mixin, methods):
    """A subclass by the same name: Keras' weight files go by class names."""
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__}
    return type(base.__name__, (mixin, base), {**methods, **names})
