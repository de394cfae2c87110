"""The products that are counted, against numbers and against XLA."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_laurel.costs.keras_products import product_flops

BACKEND = keras.backend.backend()

# Function, shapes, multiplications by hand.
PRODUCTS = {
    "matmul": (ops.matmul, [(2, 3, 5), (5, 6)], 2 * 3 * 5 * 6),
    "matmul, batched": (ops.matmul, [(2, 3, 5), (2, 5, 6)], 2 * 3 * 5 * 6),
    "@": (lambda x, y: x @ y, [(3, 5), (5, 6)], 3 * 5 * 6),
    "dot": (ops.dot, [(3, 5), (5, 6)], 3 * 5 * 6),
    "inner": (ops.inner, [(3, 5), (3, 5)], 3 * 3 * 5),
    "vdot": (ops.vdot, [(5,), (5,)], 5),
    "tensordot": (ops.tensordot, [(2, 3, 5), (3, 5, 6)], 2 * 3 * 5 * 6),
    "tensordot, axes": (
        lambda x, y: ops.tensordot(x, y, [[1], [0]]),
        [(2, 3, 5), (3, 6)],
        2 * 3 * 5 * 6,
    ),
    "einsum": (
        lambda x, y: ops.einsum("bqhd,bkhd->bhqk", x, y),
        [(2, 3, 4, 5), (2, 6, 4, 5)],
        2 * 4 * 3 * 6 * 5,
    ),
    "einsum, ellipsis": (
        lambda x, y: ops.einsum("...ij,...jk->...ik", x, y),
        [(1, 7, 3, 4), (5, 1, 4, 2)],
        5 * 7 * 3 * 4 * 2,
    ),
    "einsum, implicit": (
        lambda x, y: ops.einsum("ij,jk", x, y),
        [(2, 3), (3, 4)],
        2 * 3 * 4,
    ),
    "conv, valid": (
        ops.conv,
        [(2, 8, 8, 4), (3, 3, 4, 6)],
        2 * 6 * 6 * 9 * 4 * 6,
    ),
    # 8 rows meet 3 rows of the kernel 22 times inside the input.
    "conv, same": (
        lambda x, w: ops.conv(x, w, padding="same"),
        [(2, 8, 8, 4), (3, 3, 4, 6)],
        2 * 22 * 22 * 4 * 6,
    ),
    "conv, strides": (
        lambda x, w: ops.conv(x, w, 2, "same"),
        [(2, 8, 7, 4), (3, 2, 4, 6)],
        2 * (4 * 3 - 1) * (4 * 2 - 1) * 4 * 6,
    ),
    "conv, dilated": (
        lambda x, w: ops.conv(x, w, 1, "same", dilation_rate=2),
        [(2, 8, 4), (3, 4, 6)],
        2 * (8 + 2 * 6) * 4 * 6,
    ),
    "conv, groups": (
        lambda x, w: ops.conv(x, w),
        [(2, 8, 8, 4), (3, 3, 2, 6)],
        2 * 6 * 6 * 9 * 2 * 6,
    ),
    "depthwise": (
        lambda x, w: ops.depthwise_conv(x, w),
        [(2, 8, 8, 4), (3, 3, 4, 2)],
        2 * 6 * 6 * 9 * 8,
    ),
    # Made of the two above in Keras: counted once.
    "separable": (
        ops.separable_conv,
        [(2, 8, 8, 4), (3, 3, 4, 2), (1, 1, 8, 5)],
        2 * 6 * 6 * (9 * 8 + 8 * 5),
    ),
    "transposed, valid": (
        lambda x, w: ops.conv_transpose(x, w, 2),
        [(2, 5, 5, 4), (3, 3, 6, 4)],
        2 * 5 * 5 * 9 * 4 * 6,
    ),
    "transposed, same": (
        lambda x, w: ops.conv_transpose(x, w, 2, "same"),
        [(2, 5, 5, 4), (3, 3, 6, 4)],
        2 * (5 * 3 - 1) ** 2 * 4 * 6,
    ),
}
NO_PRODUCTS = {
    "outer": (lambda x, y: ops.einsum("i,j->ij", x, y), [(3,), (4,)]),
    "einsum of one": (lambda x: ops.einsum("ij->i", x), [(3, 4)]),
    "dot with a scalar": (ops.dot, [(3, 4), ()]),
    "elementwise": (lambda x: ops.tanh(x) * x + ops.sum(x), [(3, 4)]),
}


def counted(function, shapes):
    inputs = [keras.KerasTensor(shape) for shape in shapes]
    return product_flops(lambda xs: function(*xs), inputs)


@pytest.mark.parametrize("name", PRODUCTS)
def test_multiplications_and_additions(name):
    function, shapes, multiplications = PRODUCTS[name]
    assert counted(function, shapes) == 2 * multiplications


@pytest.mark.parametrize("name", NO_PRODUCTS)
def test_what_is_no_product(name):
    assert counted(*NO_PRODUCTS[name]) == 0


def attention(query, key, value):
    return ops.dot_product_attention(query, key, value, is_causal=True)


def test_attention_counts_every_pair_of_tokens():
    shapes = [(2, 7, 8, 16), (2, 9, 2, 16), (2, 9, 2, 16)]
    assert counted(attention, shapes) == 2 * 2 * 8 * 7 * 9 * (16 + 16)


@pytest.mark.skipif(BACKEND != "jax", reason="XLA is the judge")
@pytest.mark.parametrize("name", PRODUCTS)
def test_xla_counts_the_same(name):
    import jax

    function, shapes, _ = PRODUCTS[name]
    tensors = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    cost = jax.jit(function).lower(*tensors).cost_analysis()
    assert counted(function, shapes) == cost["flops"]


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_the_channels_may_come_first(data_format):
    channels = [4, 8, 9] if data_format == "channels_first" else [8, 9, 4]
    layer = keras.layers.Conv2D(6, 3, data_format=data_format)
    layer.build((None, *channels))
    kernel = np.prod(layer.kernel.shape)
    assert counted(layer, [(2, *channels)]) == 2 * 2 * 6 * 7 * kernel


def test_a_product_of_three_is_refused():
    def function(x, y, z):
        return ops.einsum("ij,jk,kl->il", x, y, z)

    with pytest.raises(ValueError, match="Received: 3 operands"):
        counted(function, [(2, 3), (3, 4), (4, 5)])
