"""Options of a LAuReL layer that follow from the addition it replaces."""

import re

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs import tracing
from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.prototype import plain_policy

_NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)
_MOVES_AXES = {
    *("Permute", "Reshape", "Flatten"),
    *("Transpose", "Moveaxis", "Swapaxes", "SwapAxes", "ExpandDims", "Squeeze"),
}


def is_layer(node):
    return isinstance(node.operation, keras.layers.Layer)


def how_it_stood(node, skip, is_sum):
    """Return the options of `Laurel` that describe the addition.

    Args:
        node: The call of the addition.
        skip: Tensor.
        is_sum: Whether the layer is called on `[skip, sum]`.
    """
    # The plain additions still make the sum, with their mask, memory layout
    # and regularizer.
    if is_sum:
        return {"of_sum": True}
    options = {}
    if keras_internals.node_inputs(node)[0] is not skip:
        options["branch_first"] = True
    if not is_layer(node):
        options["drops_mask"] = True
    elif node.operation.activity_regularizer is not None:
        options["activity_regularizer"] = keras.regularizers.serialize(
            node.operation.activity_regularizer
        )
    return options


def dtype_policy(node, branch_nodes, dtypes):
    """Return the dtype policy for the layer that replaces an addition.

    It is that of the `Add` layer or, for an operation, of the last layer in
    the branch that computes in the dtype of the sum.

    Args:
        node: The call of the addition.
        branch_nodes: The calls of its branch.
        dtypes: `real_dtypes` of the graph.
    """
    if is_layer(node):
        layer = node.operation
        return plain_policy(layer.variable_dtype, layer.compute_dtype)
    compute_dtype = dtypes[id(node.outputs[0])]
    for other in reversed(branch_nodes):
        if getattr(other.operation, "compute_dtype", None) == compute_dtype:
            # The policy of an int8 layer itself would quantize LAuReL.
            return plain_policy(other.operation.variable_dtype, compute_dtype)
    return plain_policy(compute_dtype, compute_dtype)


def real_dtypes(nodes):
    """Return the dtype of each tensor of a graph, by `id`.

    Keras follows the type promotion of JAX and records float32 even where an
    operation on float64 returns float64. On PyTorch it also records float32
    for a layer of one's own with weights that computes in bfloat16.
    """
    dtypes = {}
    for node in nodes:
        inputs = keras_internals.node_inputs(node)
        wide = any(dtypes[id(t)] == "float64" for t in inputs)
        # A layer, or a cast, chooses its dtype whatever its inputs are.
        chosen = is_layer(node) or getattr(node.operation, "dtype", None)
        for tensor, again in zip(node.outputs, _outputs_again(node, dtypes)):
            dtype = keras_internals.dtype_of(again)
            keeps = wide and dtype == "float32" and not chosen
            dtypes[id(tensor)] = "float64" if keeps else dtype
    return dtypes


def _outputs_again(node, dtypes):
    """Return tensors like the outputs of a call, in their real dtypes.

    Args:
        node: The call.
        dtypes: Dict of the real dtypes of its inputs, by `id`.
    """
    if is_layer(node):
        return _traced_again(node) or node.outputs
    inputs = keras_internals.node_inputs(node)
    if all(dtypes[id(t)] == keras_internals.dtype_of(t) for t in inputs):
        return node.outputs
    args, kwargs = node.arguments.fill_in(
        {id(t): keras.KerasTensor(t.shape, dtypes[id(t)]) for t in inputs}
    )
    spec = node.operation.compute_output_spec(*args, **kwargs)
    return keras.tree.flatten(spec)


def _traced_again(node):
    """Return the outputs of a layer whose dtypes PyTorch may have wrong."""
    expected = node.operation.compute_dtype
    wrong = any(keras_internals.dtype_of(t) != expected for t in node.outputs)
    if keras.config.backend() == "torch" and wrong:
        if is_opaque(node.operation):
            traced = tracing.trace(node.operation, node)
            return traced and traced[2]
    return None


class FeatureAxes:
    """The feature axis of each addition of a graph.

    It is the channel axis of the nearest convolution, pooling or norm in its
    branch, otherwise before it, otherwise after it.

    Args:
        nodes: The calls of the graph.
    """

    def __init__(self, nodes):
        self._nodes = nodes
        self._are_last = all(
            _axis_of(node, ndim) in (None, -1)
            for node in nodes
            for ndim in _ranks(node)
        )

    def of(self, node, branch_nodes):
        """Return the feature axis of one addition.

        Args:
            node: The call of the addition.
            branch_nodes: The calls of its branch.
        """
        shape = node.outputs[0].shape
        if not self._are_last:
            place = self._nodes.index(node)
            for ways in (
                reversed(branch_nodes),
                branch_nodes,
                _leading(self._nodes[:place][::-1], node, forward=False),
                _leading(self._nodes[place + 1 :], node, forward=True),
            ):
                axis = _first_axis(ways, len(shape))
                if axis is not None:
                    return axis
        # An axis of unknown size is none of features: weights have its size.
        return 1 if shape[-1] is None and shape[1] is not None else -1


def _first_axis(nodes, ndim):
    for node in nodes:
        # Beyond it the axes have other places, as in a ConvNeXt block that is
        # channels_first and permutes for its dense layers.
        if type(node.operation).__name__ in _MOVES_AXES:
            return None
        axis = _axis_of(node, ndim)
        if axis is not None:
            return axis
    return None


def _leading(nodes, node, forward):
    """Yield those of `nodes` that depend on `node`, or on which it depends.

    Args:
        nodes: The calls after `node` in order, or those before it in reverse.
        node: A call.
        forward: Boolean. Yield the calls that depend on `node`.
    """
    tensors = keras_internals.node_inputs(node)
    tensors = {id(t) for t in (node.outputs if forward else tensors)}
    for other in nodes:
        near, far = other.outputs, keras_internals.node_inputs(other)
        if forward:
            near, far = far, near
        if any(id(t) in tensors for t in near):
            tensors |= {id(t) for t in far}
            yield other


def _ranks(node):
    tensors = [*keras_internals.node_inputs(node), *node.outputs]
    return {len(t.shape) for t in tensors}


def _axis_of(node, ndim):
    """Return the channel axis of a call on tensors of rank `ndim`.

    It is `None` if the call has none.
    """
    if ndim not in _ranks(node):
        return None
    if not is_layer(node):
        data_format = getattr(node.operation, "data_format", None)
        return None if data_format is None else _axis_in(data_format, ndim, 0)
    inside = keras_internals.flatten_layers(node.operation)
    # The last layers of a nested model are nearest to the addition.
    for layer in [node.operation, *inside[::-1]]:
        rank = getattr(getattr(layer, "input_spec", None), "ndim", None)
        if rank not in (None, ndim):
            continue
        data_format = getattr(layer, "data_format", None)
        if data_format is not None:
            return _axis_in(data_format, ndim, _spatial_rank(layer))
        if isinstance(layer, _NORMS):
            return _axis_of_norm(layer, ndim)
    return None


def _axis_in(data_format, ndim, spatial_rank):
    """Return the channel axis of images, of sequences of images, and so on.

    A `spatial_rank` of 0 means that all axes but two are spatial.
    """
    if data_format != "channels_first":
        return -1
    return ndim - 1 - spatial_rank if 0 < spatial_rank < ndim - 1 else 1


def _spatial_rank(layer):
    # A user's subclass of `Conv2D` may have no digit in its own name.
    names = " ".join(cls.__name__ for cls in type(layer).__mro__)
    digit = re.search(r"([123])D", names)
    return int(digit[1]) if digit else 0


def _axis_of_norm(layer, ndim):
    """Return the one axis that a norm normalizes, or `None`."""
    axis = layer.axis
    if isinstance(axis, (list, tuple)):
        if len(axis) != 1:
            return None
        (axis,) = axis
    return -1 if axis in (-1, ndim - 1) else axis
