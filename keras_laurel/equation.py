"""The learned augmented residual connection, as functions of tensors.

    out = alpha * f(x) + beta * (x + augmentation)
    augmentation = sum_j gamma_j * B_j A_j x_{i-j}

Equations (1) to (6) of Menghani, Kumar, Kumar, "LAuReL: Learned Augmented
Residual Layer" (arXiv 2411.07501) are choices of what is learned in it.
Nothing here knows about layers or weights.
"""

import keras
from keras import ops


def residual_weights(w, form, scale):
    """`(alpha, beta)` from the weight `w`, equal to `scale` where `w` is 0.

    Args:
        w: Tensor of shape `(2, ...)`, or `(1, ...)` for `"complement"`.
        form: `"softmax"`, `"sigmoid"` or `"complement"`.
        scale: Float. Both weights lie in `(0, 2 * scale)`.
    """
    if form == "complement":
        alpha = ops.sigmoid(w[0])
        return 2.0 * scale * alpha, 2.0 * scale * (1.0 - alpha)
    bounded = ops.softmax(w, axis=0) if form == "softmax" else ops.sigmoid(w)
    return 2.0 * scale * bounded[0], 2.0 * scale * bounded[1]


def low_rank(activations, a, b, gamma=None):
    """`sum_j gamma_j * B_j A_j x_j`: all up-projections are one product.

    Args:
        activations: List of `n` tensors of shape `(..., D)`.
        a: Tensor of shape `(n, D, r)`, or `(1, D, r)` for a shared pair.
        b: Tensor of shape `(n * r, D)`, or `(r, D)` for a shared pair; in
            float32 even where the activations are narrower.
        gamma: Tensor of shape `(n,)`. `None` for weights of 1, where each
            activation has its pair.
    """
    if a.shape[0] < len(activations):
        total = weighted_history(activations, gamma)
        activations, gamma = [_in_dtype(total, activations[0])], None
    if gamma is not None:
        b = _weigh_rows(b, gamma)
    codes = [ops.matmul(x, a[j]) for j, x in enumerate(activations)]
    return _up_project(codes, b)


def from_codes(codes, b, gamma=None):
    """`low_rank` where the codes `A_j x_j` are at hand already.

    Args:
        codes: List of `n` tensors of shape `(..., r)`.
        b: Tensor of shape `(n * r, D)`, or `(r, D)` for a shared pair.
        gamma: Tensor of shape `(n,)`, or `None`.
    """
    if b.shape[0] < len(codes) * codes[0].shape[-1]:
        total = weighted_history(codes, gamma)
        codes, gamma = [_in_dtype(total, codes[0])], None
    if gamma is not None:
        b = _weigh_rows(b, gamma)
    return _up_project(codes, b)


def weighted_history(activations, gamma):
    """`sum_j gamma_j * x_j` in at least float32 (equation (4), h identity)."""
    return sum(_widen(x) * gamma[j] for j, x in enumerate(activations))


def rms_norm(x, scale, epsilon=1e-6):
    """RMS normalisation over the last axis, in at least float32."""
    x = _widen(x)
    # Not `ops.mean`, which takes float64 through float32 on JAX and torch.
    mean_square = ops.sum(ops.square(x), axis=-1, keepdims=True) / x.shape[-1]
    return x * ops.rsqrt(mean_square + epsilon) * scale


def combine(x, fx, augmentation=None, alpha=1.0, beta=1.0):
    """`alpha * fx + beta * (x + augmentation)`, in the dtype of `x`.

    The sum is taken in float32 where the inputs are narrower: in bfloat16
    a weight of 1.002 is 1. It is rounded once, so that with weights of 1 and
    no augmentation the result equals `x + fx` bit for bit.
    """
    skip = _widen(x)
    if augmentation is not None:
        skip = skip + _widen(augmentation)
    return _in_dtype(_widen(fx) * alpha + skip * beta, x)


def combine_sum(y, x, skip, augmentation=None, alpha=1.0, beta=1.0):
    """`alpha * f + beta * (skip + augmentation)` for `f` hidden in `y = x + f`.

    A block that adds by itself returns `y` and keeps `f`. With weights of 1,
    no augmentation and `skip` equal to `x` the result equals `y` bit for bit;
    `y - x` would have lost digits.

    Args:
        y: Tensor, what the block returned.
        x: Tensor, what the block added `f` to.
        skip: Tensor, what it should be added to: `x` itself, or `x` as an
            earlier connection has augmented it.
    """
    sum_ = _widen(y) * alpha + (_widen(skip) * beta - _widen(x) * alpha)
    if augmentation is not None:
        sum_ = sum_ + _widen(augmentation) * beta
    return _in_dtype(sum_, y)


def _up_project(codes, b):
    codes = ops.concatenate(codes, axis=-1)
    return ops.matmul(codes, _in_dtype(b, codes))


def _weigh_rows(b, gamma):
    """Not times the codes: they are narrow, and 1.002 would be lost."""
    rank = b.shape[0] // gamma.shape[0]
    return _widen(b) * ops.repeat(gamma, rank)[:, None]


def _widen(x):
    narrow = keras.backend.standardize_dtype(x.dtype) in _NARROW
    return ops.cast(x, "float32") if narrow else x


def _in_dtype(x, like):
    return ops.cast(x, like.dtype)


_NARROW = ("float16", "bfloat16")
