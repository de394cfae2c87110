"""In PyTorch a sum has the strides of its operands, and so has the layer."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel

if keras.config.backend() != "torch":
    pytest.skip("others have no strides", allow_module_level=True)

VARIANTS = {
    "rw": lambda: keras_laurel.LaurelRW(),
    "lr": lambda: keras_laurel.LaurelLR(rank=2),
    "rw+lr+pa": lambda: keras_laurel.get("rw+lr+pa", rank=2),
}
OPERANDS = {
    "convolution": lambda x: layers.Conv1D(12, 3, padding="same")(x),
    "dense": lambda x: layers.Dense(12)(x),
    "half": lambda x: ops.split(layers.Conv1D(24, 1)(x), 2, axis=-1)[0],
}
PAIRS = [(a, b) for a in OPERANDS for b in OPERANDS]
ADDITIONS = {
    "Add": lambda a, b: layers.Add()([a, b]),
    "+": lambda a, b: a + b,
}


def sums(first, second, add, dtype):
    """Two residual sums, and what depends on their layout."""
    keras.config.set_dtype_policy(dtype)
    try:
        x = inputs = keras.Input((16, 8))
        x = OPERANDS[first](x)
        x = add(x, OPERANDS[second](layers.ReLU()(x)))
        x = add(OPERANDS[second](layers.ReLU()(x)), x)
        return keras.Model(
            inputs,
            [x, layers.GlobalAveragePooling1D()(x), layers.Conv1D(4, 3)(x)],
        )
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_what_follows_is_bit_for_bit_the_same(pair, variant):
    kinds = [("Add", "float32"), ("+", "float32"), ("+", "mixed_bfloat16")]
    for add, dtype in kinds:
        model = sums(*pair, ADDITIONS[add], dtype)
        x = np.random.default_rng(0).normal(size=(3, 16, 8)).astype("float32")
        expected = model(x)
        laurel = keras_laurel.laurelize(model, VARIANTS[variant]())
        for a, b in zip(expected, laurel(x), strict=True):
            assert a.stride() == b.stride()
            a, b = (ops.cast(v, "float32") for v in (a, b))
            np.testing.assert_array_equal(*map(ops.convert_to_numpy, (a, b)))
