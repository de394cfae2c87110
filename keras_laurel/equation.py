"""The learned augmented residual connection, as functions of tensors.

    out = alpha * f(x) + beta * (x + augmentation)
    augmentation = sum_j gamma_j * B_j A_j x_{i-j}

Equations (1) to (6) of Menghani, Kumar, Kumar, "LAuReL: Learned Augmented
Residual Layer" (arXiv 2411.07501) are special cases of it, which differ in
what is learned. The functions are pure: they know no layers and no weights.

In this module, a *code* is a low-rank projection `A_j x_{i-j}`: r numbers per
token.
"""

import functools
import operator

import keras
from keras import ops

NUM_RESIDUAL_WEIGHTS = {
    "softmax": 2,
    "sigmoid": 2,
    "complement": 1,
    "free": 2,
    "free_branch": 1,
}
"""The number of weights behind each form of alpha and beta."""


def residual_weights(w, form, scale):
    """Compute `(alpha, beta)` from the weight `w`.

    Args:
        w: Tensor of shape `(NUM_RESIDUAL_WEIGHTS[form], ...)`.
        form: `"softmax"`, `"sigmoid"` and `"complement"` give values in
            `(0, 2 * scale)`, and `scale` where `w` is 0. `"free"` gives `w`
            itself, and `"free_branch"` gives `(w, scale)`.
        scale: Float.
    """
    if form == "free":
        return tuple(ops.unstack(w))
    if form == "free_branch":
        return w[0], scale
    if form == "complement":
        alpha = ops.sigmoid(w[0])
        return 2.0 * scale * alpha, 2.0 * scale * (1.0 - alpha)
    bounded = _softmax(w) if form == "softmax" else ops.sigmoid(w)
    # One product and one operation for both: eager code pays for each.
    return tuple(ops.unstack(2.0 * scale * bounded))


def _softmax(w):
    """Softmax over two values, exactly 0.5 each where they are equal.

    TensorFlow's softmax of many pairs gives 0.49999997 there.
    """
    if len(w.shape) == 1:
        return ops.softmax(w, axis=0)
    return ops.sigmoid(ops.subtract(w, ops.flip(w, axis=0)))


def down_project(activations, a, gamma=None):
    """Project the activations down to `A_j x_j`, r numbers per token.

    Args:
        activations: List of `n` tensors of shape `(..., D)`.
        a: Tensor of shape `(n, D, r)`, or `(1, D, r)` for a shared pair
            `(A, B)`. A shared pair gives a single code, that of the weighted
            sum of all activations.
        gamma: Tensor of shape `(n,)`, or `None` for weights of 1. It is
            required for a shared pair.

    Returns:
        `(codes, gamma)`, the arguments of `up_projection`. The returned
        `gamma` is `None` if it has been applied already.
    """
    if a.shape[0] < len(activations):
        total = weighted_history(activations, gamma)
        # The map is linear, so one product of the sum serves all of them.
        activations, gamma = [_in_dtype(total, activations[0])], None
    pairs = zip(activations, ops.unstack(a))
    return [ops.matmul(x, a_j) for x, a_j in pairs], gamma


def up_projection(codes, b, gamma=None, weight=1.0):
    """Return two factors whose product is `weight * sum_j gamma_j B_j code_j`.

    All up-projections become a single matrix product.

    Args:
        codes: List of `n` tensors of shape `(..., r)`.
        b: Tensor of shape `(n * r, D)`, or `(r, D)` for a shared pair. It is
            in float32 even where the codes are narrower.
        gamma: Tensor of shape `(n,)`, or `None`.
        weight: Float, or tensor of shape `()` or `(D,)`.

    Returns:
        `(codes, b)` of shapes `(..., n * r)` and `(n * r, D)`.
    """
    if b.shape[0] < len(codes) * codes[0].shape[-1]:
        total = weighted_history(codes, gamma)
        codes, gamma = [_in_dtype(total, codes[0])], None
    # The weights multiply B and not the codes: in the narrow dtype of the
    # codes a weight of 1.002 would round to 1.
    if gamma is not None:
        pairs = ops.reshape(_widen(b), (gamma.shape[0], -1, b.shape[1]))
        b = ops.reshape(pairs * (gamma[:, None, None] * weight), b.shape)
    elif _is_learned(weight) or weight != 1.0:
        b = _widen(b) * weight
    # Codes in a narrow dtype may overflow to infinity. Infinity times 0 is
    # NaN, so a connection with B = 0 would change the output.
    codes = _finite(ops.concatenate(codes, axis=-1))
    return codes, _in_dtype(b, codes)


def weighted_history(activations, gamma):
    """Compute `sum_j gamma_j * x_j` in at least float32.

    This is the sum of equation (4) with the identity as h.
    """
    return _total(
        [
            _widen(x) * weight
            for x, weight in zip(activations, ops.unstack(gamma))
        ]
    )


def history_weights(gamma, weight):
    """Return `gamma_j * weight` for each j, as a list.

    Args:
        gamma: Tensor of shape `(n,)`.
        weight: Float, or tensor of shape `()` or `(D,)`.
    """
    # With `per_channel` the weight has the axis of features too.
    is_wide = _is_learned(weight) and len(weight.shape)
    return ops.unstack((gamma[:, None] if is_wide else gamma) * weight)


def rms_norm(x, scale, epsilon=1e-6):
    """Apply RMS normalisation over the last axis, in at least float32."""
    x = _widen(x)
    # `ops.mean` computes float64 in float32 on JAX and PyTorch.
    mean_square = ops.sum(ops.square(x), axis=-1, keepdims=True) / x.shape[-1]
    return x * ops.rsqrt(mean_square + epsilon) * scale


def root_mean_square(x):
    return ops.sqrt(ops.mean(ops.square(_widen(x))))


def low_rank_norms(a, b, gamma=None):
    """Compute `||B_j A_j|| |gamma_j| / sqrt(D)` in at least float32.

    There is one norm for each pair. `||B A||` is computed as
    `sqrt(sum((A^T A) * (B B^T)))`, so that no product is larger than r x r,
    and with `keras.ops`, since the weights may be divided among devices.

    Args:
        a: Tensor of shape `(n, D, r)`.
        b: Tensor of shape `(n * r, D)`.
        gamma: Tensor of shape `(k,)`, or `None` for 1.
    """
    width = a.shape[1]
    a, b = _widen(a), _widen(b)
    b = ops.reshape(b, (a.shape[0], a.shape[2], width))
    of_a = ops.matmul(ops.swapaxes(a, 1, 2), a)
    of_b = ops.matmul(b, ops.swapaxes(b, 1, 2))
    total = ops.sum(of_a * of_b, axis=(1, 2))
    # Rounding may bring a sum that is 0 below it.
    norms = ops.sqrt(ops.maximum(total, 0.0)) / width**0.5
    return norms if gamma is None else norms * ops.abs(_widen(gamma))


def weighted_sum(
    terms,
    weights,
    codes=None,
    b=None,
    addends=2,
    skip_first=True,
    keep_first=True,
):
    """Compute `sum_m weights[m] * terms[m] + codes @ b`.

    The result has the dtype of the terms. The sum is taken in float32 where
    the terms are narrower, since a weight of 1.002 rounds to 1 in bfloat16.
    It is rounded once, and the first term is added last. So with weights of 1
    and b = 0 the result equals `terms[0] + terms[1]` bit for bit, and equals
    `terms[0]` where the other terms cancel.

    Args:
        terms: List of tensors of shape `(..., D)`.
        weights: List with a float, a scalar tensor or a tensor of shape
            `(D,)` for each term.
        codes: Tensor of shape `(..., r)`, or `None`.
        b: Tensor of shape `(r, D)` in the dtype of the codes.
        addends: Number of leading terms that form the plain addition: two for
            `f(x)` and `x`, or one for `x + f(x)`. If b and the weights of the
            later terms are 0, those terms do not affect the result at all,
            neither by the sign of a zero nor by an infinity.
        skip_first: Boolean. The result has the memory layout of
            `terms[1] + terms[0]`, which in PyTorch may differ from that of
            `terms[0] + terms[1]`.
        keep_first: Boolean. If False, JAX and TensorFlow do not keep the
            first term for the backward pass. With g the gradient of `out`,
            the gradient of the first weight is then computed as

                sum g * terms[0]
                    = (sum g * out - all other terms of that) / weights[0]

            The layers that read `out` and the other terms keep them anyway.
            This gradient contains the rounding of `out`, and supports neither
            second derivatives nor forward mode. In PyTorch this option has no
            effect, since Keras' custom gradients keep their arguments there.
    """
    # A constant weight of 0 drops its term, such as (beta - alpha) x around a
    # block where both are `scale`.
    terms, weights = zip(
        *((x, w) for x, w in zip(terms, weights) if _is_learned(w) or w)
    )
    tensors = [*terms, *([] if codes is None else [codes, b])]
    is_kept = keep_first or keras.config.backend() == "torch"
    if is_kept or not _is_learned(weights[0]):
        return _sum(weights, tensors, addends, skip_first)
    return _sum_that_keeps_its_output(len(terms), addends)(*weights, *tensors)


def _sum(weights, tensors, addends, skip_first):
    terms, product = tensors[: len(weights)], tensors[len(weights) :]
    pairs = list(zip(terms, weights))
    out, *others = [_weigh(_widen(x), w) for x, w in pairs[:addends]]
    corrections = [_weigh(_widen(x), w) for x, w in pairs[addends:]]
    if corrections:
        # A gamma of 0 times an infinite activation would be NaN.
        corrections = [_finite(_total(corrections))]
    if product:
        corrections.append(_widen(ops.matmul(*product)))
    if not others:
        out = _corrected(out, corrections)
    else:
        # The first term is added last: see `weighted_sum`.
        other = _corrected(*others, corrections)
        out = other + out if skip_first else out + other
    return _in_dtype(out, terms[0])


def _total(terms):
    return functools.reduce(operator.add, terms)


def _weigh(x, weight):
    return x * weight if _is_learned(weight) or weight != 1.0 else x


def _differentiated_as_sum(function):
    """Let the derivatives of a function be those of its arguments' sum.

    Nothing is kept or computed for them. TensorFlow's custom gradients have no
    forward mode, so there the function is differentiated as it is written.
    """
    forms = {"jax": _in_jax, "torch": _in_torch}
    return forms.get(keras.config.backend(), lambda x: x)(function)


def _in_jax(function):
    import jax

    made = jax.custom_jvp(function)

    @made.defjvp
    def derivative(primals, tangents):
        return made(*primals), _total(tangents)

    return made


def _in_torch(function):
    import torch

    class DifferentiatedAsSum(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*terms):
            return function(*terms)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.count = len(inputs)

        @staticmethod
        def backward(ctx, gradient):
            return (gradient,) * ctx.count

        @staticmethod
        def jvp(ctx, *tangents):
            return _total([x for x in tangents if x is not None])

    @functools.wraps(function)
    def run(*terms):
        # PyTorch's compilers break graphs at functions with a `jvp`, and do
        # not need them: they merge what is differentiated.
        is_eager = _is_eager_in_torch()
        return (DifferentiatedAsSum.apply if is_eager else function)(*terms)

    return run


def _is_eager_in_torch():
    import torch

    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())


@_differentiated_as_sum
def _plus(x, correction):
    """Add a correction to `x`; where it is 0, return `x` bit for bit.

    Subtraction keeps the sign of a zero: `-0.0 + 0.0` is `0.0`, but
    `-0.0 - 0.0` is `-0.0`. `0.0 - c` is `0.0` for zeros of both signs.
    """
    return x - (0.0 - correction)


def _corrected(x, corrections):
    return _plus(x, _total(corrections)) if corrections else x


@_differentiated_as_sum
def _finite(x):
    """Replace infinities and NaN by 0, so that 0 times infinity is 0."""
    if keras.config.backend() == "torch" and _is_eager_in_torch():
        # In one operation, which OpenVINO does not know.
        return ops.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    return ops.where(ops.isfinite(x), x, ops.zeros_like(x))


def _sum_that_keeps_its_output(count, addends):
    """Return a function that sums `count` terms and keeps only the sum.

    All weights must be tensors.
    """

    @ops.custom_gradient
    def run(*arguments):
        weights, tensors = arguments[:count], arguments[count:]
        out = _sum(weights, tensors, addends, skip_first=False)
        dtypes = [x.dtype for x in tensors[:count]]
        others, product = tensors[1:count], tensors[count:]

        def gradients(g):
            return _gradients(g, out, weights, dtypes, others, product)

        return out, gradients

    return run


def _gradients(g, out, weights, dtypes, others, product):
    """Return the gradients of the weights, the terms, the codes and b."""
    wide = _widen(g)
    of_terms = [ops.cast(wide * w, d) for w, d in zip(weights, dtypes)]
    rest = [_sum_like(wide * _widen(x), w) for x, w in zip(others, weights[1:])]
    total = _sum_like(wide * _widen(out), weights[0])
    for of_weight, weight in zip(rest, weights[1:]):
        total = total - _sum_like(of_weight * weight, weights[0])
    of_product = ()
    if product:
        codes, b = product
        of_b = ops.matmul(_as_matrix(codes, transpose=True), _as_matrix(g))
        of_product = ops.matmul(g, ops.transpose(b)), of_b
        # The sum of g * (codes @ b), without that product.
        total = total - _sum_like(_widen(of_b) * _widen(b), weights[0])
    # A bounded weight may come close to 0. The gradient stays small all the
    # same: it is multiplied by the derivative of the bound, which goes to 0
    # too.
    first = total / ops.maximum(weights[0], 1e-30)
    return (first, *rest, *of_terms, *of_product)


def _sum_like(x, weight):
    """Sum x over the axes that the weight does not have."""
    return ops.sum(x, axis=tuple(range(len(x.shape) - len(weight.shape))))


def _as_matrix(x, transpose=False):
    matrix = ops.reshape(x, (-1, x.shape[-1]))
    return ops.transpose(matrix) if transpose else matrix


def _is_learned(weight):
    return not isinstance(weight, (int, float))


def _widen(x):
    narrow = keras.backend.standardize_dtype(x.dtype) in _NARROW
    return ops.cast(x, "float32") if narrow else x


def _in_dtype(x, like):
    return ops.cast(x, like.dtype)


_NARROW = ("float16", "bfloat16")
