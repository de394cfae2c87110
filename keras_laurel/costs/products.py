"""Floating point operations of products, from the shapes of their tensors.

A multiplication and an addition count as two, as in XLA's cost analysis. A
convolution counts only the positions inside its input, also as in XLA: the
zeros of `padding="same"` are not multiplied. Attention counts every pair of
tokens, masked or not.

Each function is named after the function of `keras.ops` that it counts. Its
arguments are the output of that function, then the arguments of that
function.
"""

import math
import string

import keras
import numpy as np


def matmul(output, x1, x2):
    return 2 * _size(output) * _shape(x1)[-1]


def reversed_matmul(output, x2, x1):
    return matmul(output, x1, x2)


def dot(output, x1, x2):
    if not (_shape(x1) and _shape(x2)):
        return 0
    return 2 * _size(output) * _shape(x1)[-1]


def inner(output, x1, x2):
    # TensorFlow does not know the shape of its output.
    return 2 * _size(x1) * math.prod(_shape(x2)[:-1])


def vdot(output, x1, x2):
    return 2 * _size(x1)


def tensordot(output, x1, x2, axes=2):
    shape = _shape(x1)
    if isinstance(axes, int):
        summed = shape[len(shape) - axes :]
    else:
        summed = [shape[axis] for axis in np.ravel(axes[0])]
    return 2 * _size(output) * math.prod(summed)


def einsum(output, subscripts, *operands, **kwargs):
    """Count an einsum of two operands, or 0 if it sums over nothing."""
    terms, result = _explicit(subscripts, [len(_shape(x)) for x in operands])
    sizes = {}
    for term, operand in zip(terms, operands):
        for letter, size in zip(term, _shape(operand)):
            sizes[letter] = max(size, sizes.get(letter, 1))
    if len(operands) == 1 or set(sizes) == set(result):
        return 0
    if len(operands) > 2:
        raise ValueError(
            "`ops.einsum` must have at most two operands to be counted, since "
            "the cost of more depends on the order of the products. Received: "
            f"{len(operands)} operands ({subscripts!r}). Write it as products "
            "of two."
        )
    return 2 * math.prod(sizes.values())


def conv(
    output,
    inputs,
    kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    """Count a convolution, also a grouped one.

    The kernel of a grouped convolution has the channels of one group.
    """
    pairs = _conv_pairs(
        _spatial(inputs, data_format),
        _spatial(output, data_format),
        _shape(kernel)[:-2],
        strides,
        padding,
        dilation_rate,
    )
    return 2 * _shape(inputs)[0] * pairs * math.prod(_shape(kernel)[-2:])


depthwise_conv = conv


def separable_conv(
    output,
    inputs,
    depthwise_kernel,
    pointwise_kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    depthwise = depthwise_conv(
        output,
        inputs,
        depthwise_kernel,
        strides,
        padding,
        data_format,
        dilation_rate,
    )
    return depthwise + 2 * _size(output) * _shape(pointwise_kernel)[-2]


def conv_transpose(
    output,
    inputs,
    kernel,
    strides=1,
    padding="valid",
    output_padding=None,
    data_format=None,
    dilation_rate=1,
):
    """Count the convolution of which a transposed one is the gradient."""
    return conv(
        inputs, output, kernel, strides, padding, data_format, dilation_rate
    )


def dot_product_attention(
    output,
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    flash_attention=None,
    attn_logits_soft_cap=None,
):
    batch, queries, heads, width = _shape(query)
    keys, value_width = _shape(key)[1], _shape(value)[-1]
    return 2 * batch * heads * queries * keys * (width + value_width)


def _shape(x):
    shape = tuple(np.shape(x))
    if None in shape:
        raise ValueError(
            "Products must have tensors of known shapes to be counted. "
            f"Received: a tensor of the shape {shape}, which depends on "
            "values. Use operations whose shapes do not."
        )
    return shape


def _size(x):
    return math.prod(_shape(x))


def _explicit(subscripts, ranks):
    """Return the letters of each operand and of the result of an einsum.

    An ellipsis is replaced by letters.
    """
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [c for c in string.ascii_letters if c not in subscripts]
    ellipses = [
        rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks)
    ]
    batch = "".join(free[: max(ellipses)])
    terms = [
        term.replace("...", batch[len(batch) - n :])
        for term, n in zip(terms, ellipses)
    ]
    if not arrow:
        letters = "".join(terms)
        right = "..." + "".join(
            c for c in letters if letters.count(c) == 1 and c not in batch
        )
    return terms, right.replace("...", batch)


def _spatial(x, data_format):
    shape = _shape(x)
    return shape[2:] if _channels_first(data_format) else shape[1:-1]


def _channels_first(data_format):
    data_format = data_format or keras.config.image_data_format()
    return data_format == "channels_first"


def _conv_pairs(inputs, outputs, kernel, strides, padding, dilations):
    """Count the pairs of output and kernel positions inside the input."""
    return math.prod(
        _pairs_along(*sizes, padding)
        for sizes in zip(
            inputs,
            outputs,
            kernel,
            np.broadcast_to(strides, len(kernel)).tolist(),
            np.broadcast_to(dilations, len(kernel)).tolist(),
        )
    )


def _pairs_along(size, output, kernel, stride, dilation, padding):
    reach = (output - 1) * stride + (kernel - 1) * dilation + 1
    before = max(reach - size, 0) // 2 if padding.lower() == "same" else 0
    starts = np.arange(output)[:, None] * stride - before
    positions = starts + np.arange(kernel) * dilation
    return int(((positions >= 0) & (positions < size)).sum())
