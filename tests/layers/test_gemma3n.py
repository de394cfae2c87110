"""The LAuReL addition of Gemma 3n, against KerasHub's own."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.layers.cases import to_numpy
from tests.test_equation import vector_jacobian_product

D, R = 64, 16


def pair(dtype):
    """Ours and KerasHub's, as functions of the same arguments: `x_norm`,
    `x + attention`, and the weights A, B and of the norm."""
    from keras_hub.src.models.gemma3n import gemma3n_text_layers

    ours = keras_laurel.LaurelLR(
        rank=R, normalize="rms", scale=2**-0.5, dtype=dtype
    )
    ours.build([(None, D)] * 2)
    theirs = gemma3n_text_layers.Gemma3nTextLaurelBlock(D, R, 1e-6, dtype=dtype)
    theirs.build((None, D))

    def run_ours(x, attended, a, b, scale):
        weights = [a[None], b, scale]
        return ours.stateless_call(weights, [], [x, attended])[0]

    def run_theirs(x, attended, *weights):
        """As its decoder block does."""
        augmented = theirs.stateless_call(list(weights), [], x)[0]
        return (attended + augmented) / ops.sqrt(ops.cast(2.0, augmented.dtype))

    return run_ours, run_theirs


@pytest.mark.parametrize(
    "dtype, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 0.03)]
)
def test_equals_gemma3n(dtype, tolerance):
    run_ours, run_theirs = pair(dtype)
    narrow = keras.DTypePolicy(dtype).compute_dtype
    rng = np.random.default_rng(0)
    shapes = [(2, 5, D), (2, 5, D), (D, R), (R, D), (D,)]
    dtypes = [narrow, narrow, "float32", "float32", "float32"]
    arguments = [
        ops.cast(rng.normal(size=shape), dtype)
        for shape, dtype in zip(shapes, dtypes)
    ]
    g = ops.cast(rng.normal(size=shapes[0]), narrow)
    found = run_ours(*arguments)
    expected = run_theirs(*arguments)
    assert found.dtype == expected.dtype
    assert distance(found, expected) < tolerance
    for ours, theirs in zip(
        vector_jacobian_product(run_ours, arguments, g),
        vector_jacobian_product(run_theirs, arguments, g),
        strict=True,
    ):
        assert distance(ours, theirs) < tolerance


def distance(x, y):
    x, y = to_numpy(x), to_numpy(y)
    return np.linalg.norm(x - y) / np.linalg.norm(y)
