"""Run the `call` of a layer on symbolic tensors, to see what it computes."""

import itertools

import keras

from keras_laurel.conversion import keras_internals

# Tried in turn for unknown sizes: some are too long for a table of positions,
# others too small for a patch.
_SIZES = (None, 8, 1, 32)
_BATCHES = (None, 2)


def trace(layer, node):
    """Trace `layer.call` with the arguments of `node`.

    No data is computed and the layer is not changed. An unknown size may
    become a number.

    Returns:
        `(inputs, nodes, outputs)`: the tensors that replace the inputs of
        `node`, in its order, the calls that `layer.call` makes, in order, and
        the flat list of its outputs. `None` if the `call` does not work on
        symbolic tensors.
    """
    tensors = keras_internals.node_inputs(node)
    unknown = any(None in t.shape[1:] for t in tensors)
    sizes = _SIZES if unknown else _SIZES[:1]
    for batch, size in itertools.product(_BATCHES, sizes):
        inputs = [_stand_in(t, batch, size, layer) for t in tensors]
        try:
            return inputs, *call(layer, node, inputs)
        except Exception:  # noqa: S112 (a user's `call` may raise anything)
            continue
    return None


def _stand_in(tensor, batch, size, layer):
    shape = [
        (size if axis else batch) if d is None else d
        for axis, d in enumerate(tensor.shape)
    ]
    # `Layer.__call__` casts its inputs to this dtype, `call` does not.
    is_float = keras.backend.is_float_dtype(tensor.dtype)
    casts = layer.autocast and layer.compute_dtype and is_float
    return keras.KerasTensor(
        shape, layer.compute_dtype if casts else tensor.dtype
    )


def call(layer, node, inputs):
    """Return `(nodes, outputs)` of `layer.call` on other inputs.

    The other arguments are those of `node`. A layer with LAuReL connections
    inside runs as without them: they would take this run for one of the model.
    """
    plain = getattr(type(layer), "_laurel_plain_class", type(layer))
    tensors = keras_internals.node_inputs(node)
    replaced = {id(t): x for t, x in zip(tensors, inputs)}
    args, kwargs = node.arguments.fill_in(replaced)
    # What `call` assigns to variables in this scope does not reach them.
    with (
        keras_internals.forgotten_calls(layer),
        keras.StatelessScope(),
        keras_internals.autocast(layer),
    ):
        outputs = keras.tree.flatten(plain.call(layer, *args, **kwargs))
        return keras_internals.nodes_behind(outputs), outputs
