"""The oracle: the paper's equations in NumPy and float64, term by term."""

import numpy as np


def laurel(layer, inputs):
    """`alpha f(x) + beta (x + sum_j gamma_j B_j A_j x_j)`, equation (6)."""
    w = {v.name: np.asarray(a, "float64") for v, a in _weights(layer)}
    x, fx, *previous = [
        np.moveaxis(np.asarray(x, "float64"), layer.axis, -1) for x in inputs
    ]
    alpha, beta = _residual_weights(layer, w)
    out = alpha * fx + beta * (x + _augmentation(layer, w, [x, *previous]))
    return np.moveaxis(out, -1, layer.axis)


def rms_norm(x):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def _weights(layer):
    return zip(layer.weights, layer.get_weights())


def _residual_weights(layer, w):
    if layer.residual_weights is None:
        return layer.scale, layer.scale
    logits = w["laurel_residual_weights"]
    if layer.residual_weights == "softmax":
        alpha, beta = np.exp(logits) / np.exp(logits).sum(axis=0)
    elif layer.residual_weights == "free":
        return logits[0], logits[1]
    elif layer.residual_weights == "free_branch":
        return logits[0], layer.scale
    elif layer.residual_weights == "sigmoid":
        alpha, beta = 1 / (1 + np.exp(-logits))
    else:
        (alpha,) = 1 / (1 + np.exp(-logits))
        beta = 1 - alpha
    return 2 * layer.scale * alpha, 2 * layer.scale * beta


def _augmentation(layer, w, activations):
    if not (layer.rank or layer.num_activations):
        return 0.0
    total = sum(_term(layer, w, j, x_j) for j, x_j in enumerate(activations))
    if layer.normalize:
        total = w["laurel_norm_scale"] * rms_norm(total)
    return total


def _term(layer, w, j, x_j):
    gamma = w["laurel_gamma"][j] if layer.num_activations else 1.0
    if not layer.rank:
        return gamma * x_j
    pair = 0 if layer.share_low_rank else j
    rows = slice(pair * layer.rank, (pair + 1) * layer.rank)
    return gamma * (x_j @ w["laurel_a"][pair] @ w["laurel_b"][rows])
