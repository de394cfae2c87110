"""The terms of a folded connection besides `alpha f(x) + beta x`."""

import keras
import numpy as np
from keras import ops

from keras_laurel.conversion import keras_internals


def why_not(node):
    """Return why a LAuReL layer cannot be replaced, or `None`."""
    layer = node.operation
    tensors = [*keras_internals.node_inputs(node), *node.outputs]
    if layer.compute_dtype not in ("float32", "float64"):
        return f"it computes in {layer.compute_dtype}, which rounds factors"
    if layer.of_sum:
        return "its branches are added up before it"
    if layer.normalize:
        return "it normalises the augmentation"
    if layer.share_low_rank:
        return "one low-rank map reads a weighted sum of activations"
    if layer.axis not in (-1, len(node.outputs[0].shape) - 1):
        return "its features are not on the last axis"
    if any(map(keras_internals.has_mask, tensors)):
        return "it passes a mask on"
    return None


def skip_weight(layer):
    """Return the factor of x.

    It is beta, plus beta gamma_0 if x is also one of the activations.
    """
    beta = ops.convert_to_numpy(layer.beta)
    if layer.num_activations and not layer.rank:
        return beta * (1 + ops.convert_to_numpy(layer.laurel_gamma)[0])
    return beta


def added_terms(layer, x, previous):
    """Return the other terms, as tensors of the new graph."""
    beta = ops.convert_to_numpy(layer.beta)
    if layer.rank:
        return [_low_rank(layer, [x, *previous], beta)]
    gammas = _gammas(layer, 1 + len(previous))[1:]
    return [multiplied(t, beta * g) for t, g in zip(previous, gammas)]


def multiplied(x, weight):
    """Multiply `x` by an array of shape `()` or `(D,)`.

    The former becomes a Python float, which does not change dtypes.
    """
    return ops.multiply(x, weight if weight.ndim else float(weight))


def _gammas(layer, count):
    if not layer.num_activations:
        return np.ones(count)
    return ops.convert_to_numpy(layer.laurel_gamma)


def _low_rank(layer, activations, beta):
    """Compute `beta sum_j gamma_j B_j A_j x_j` by dense layers."""
    a = ops.convert_to_numpy(layer.laurel_a)
    activations = activations[: len(a)]
    gammas = np.repeat(_gammas(layer, len(a)), layer.rank)
    b = ops.convert_to_numpy(layer.laurel_b) * gammas[:, None] * beta
    codes = [
        _dense(f"{layer.name}_down_{j}", x, a[j])
        for j, x in enumerate(activations)
    ]
    code = codes[0] if len(codes) == 1 else keras.layers.Concatenate()(codes)
    return _dense(f"{layer.name}_up", code, b)


def _dense(name, x, kernel):
    dense = keras.layers.Dense(kernel.shape[1], use_bias=False, name=name)
    y = dense(x)
    dense.kernel.assign(kernel)
    return y
