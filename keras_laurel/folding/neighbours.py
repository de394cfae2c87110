"""The layers around a connection into which a factor can be folded."""

import collections

import keras
import numpy as np
from keras import ops

from keras_laurel.conversion import keras_internals

# Layers whose kernel has the output features on its last axis.
_BY_FEATURE = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
_LINEAR = (
    *_BY_FEATURE,
    keras.layers.EinsumDense,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)
_NORM = keras.layers.BatchNormalization


class Neighbours:
    """The layer that makes each tensor of a model, and its readers."""

    def __init__(self, model):
        nodes = keras_internals.nodes(model)
        self._calls = collections.Counter(id(n.operation) for n in nodes)
        self._readers = collections.Counter(
            id(t) for n in nodes for t in keras_internals.node_inputs(n)
        )
        # An output of the model must keep its values too.
        self._readers.update(map(id, keras.tree.flatten(model.output)))

    def maker(self, tensor, weight):
        """Return `(layer, None)`, or `(None, reason)` if there is no layer.

        Args:
            tensor: The tensor to be multiplied.
            weight: Array of shape `()` or `(D,)`.
        """
        layer = keras_internals.producer(tensor).operation
        while True:
            if self._readers[id(tensor)] > 1:
                return None, f"something else reads what {layer.name!r} makes"
            if self._calls[id(layer)] > 1:
                return None, f"{layer.name!r} is called more than once"
            if not isinstance(layer, keras.layers.Dropout):
                break
            # Dropout does nothing in inference, so look before it.
            (tensor,) = keras_internals.node_inputs(
                keras_internals.producer(tensor)
            )
            layer = keras_internals.producer(tensor).operation
        reason = _why_not(layer, weight)
        return (None, reason) if reason else (layer, None)


def _why_not(layer, weight):
    if type(layer) is _NORM:
        is_last = layer.axis in (-1, len(layer.output.shape) - 1)
        if weight.ndim and not is_last:
            return f"{layer.name!r} has its features on another axis"
        return None if layer.scale else f"{layer.name!r} has no scale"
    if type(layer) not in _LINEAR:
        return "its maker has no weights to fold into"
    if layer.activation is not keras.activations.linear:
        return f"{layer.name!r} has an activation"
    if weight.ndim and type(layer) not in _BY_FEATURE:
        return f"{layer.name!r} has no axis of features in its kernel"
    if weight.ndim and "channels_first" == getattr(layer, "data_format", None):
        return f"{layer.name!r} has its features on another axis"
    if layer.dtype_policy.quantization_mode:
        return f"{layer.name!r} is quantized"
    # A factor of the kernel alone would miss what LoRA adds to it.
    if getattr(layer, "lora_enabled", False):
        return f"{layer.name!r} has LoRA weights beside its kernel"
    return None


def multiply_weights(layer, weight):
    """Multiply the output of `layer` by `weight`, through its weights."""
    if isinstance(layer, _NORM):
        # In inference a norm is linear in these two.
        variables = [layer.gamma, layer.beta]
    else:
        variables = [layer.kernel, layer.bias]
    for variable in variables:
        if variable is not None:
            # The product is rounded only once.
            value = ops.convert_to_numpy(variable).astype("float64")
            variable.assign((value * weight).astype(np.dtype(variable.dtype)))
