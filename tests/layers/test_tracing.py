"""Layers run, and refuse, under each backend's ways of tracing."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel

VARIANTS = {
    "rw": {},
    "rw+lr": {"rank": 2},
    "rw+lr+pa": {"rank": 2, "num_activations": 2},
}
SHAPE = (3, 5, 8)


def traced_by_jax(function):
    """Exported with symbols for the sizes of the batch and of the sequence."""
    import jax
    from jax import export

    scope = export.SymbolicScope()
    shape = export.symbolic_shape("b, s, 8", scope=scope)
    spec = jax.ShapeDtypeStruct(shape, "float32")
    return [export.export(jax.jit(function))(spec, spec, spec).call]


def traced_by_tensorflow(function):
    import tensorflow as tf

    spec = tf.TensorSpec((None, None, 8), "float32")
    return [tf.function(function, input_signature=[spec] * 3)]


def traced_by_torch(function):
    """Exported with unknown sizes, and traced by the older tracer."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, x, fx, previous):
            return function(x, fx, previous)

    example = tuple(torch.randn(2, 4, 8) for _ in range(3))
    sizes = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    exported = torch.export.export(
        Module(), example, dynamic_shapes=(sizes,) * 3, strict=False
    )
    with torch.no_grad():
        jit = torch.jit.trace(Module(), example, check_trace=False)
    return [exported.module(), jit]


TRACERS = {
    "jax": traced_by_jax,
    "tensorflow": traced_by_tensorflow,
    "torch": traced_by_torch,
}


@pytest.fixture
def trace():
    return TRACERS[keras.config.backend()]


def activations():
    rng = np.random.default_rng(0)
    return [rng.normal(size=SHAPE).astype("float32") for _ in range(3)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python")
@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_that_are_traced_fit_one_another(name, trace):
    layer = keras_laurel.get(name, **VARIANTS[name])
    count = 3 if "pa" in name else 2
    tensors = [ops.convert_to_tensor(x) for x in activations()]
    layer.build([SHAPE] * count)
    for weight in layer.trainable_weights:
        weight.assign(weight + 0.1)
    # The older tracer takes no constants that have gradients.
    layer.trainable = False
    expected = ops.convert_to_numpy(layer(tensors[:count]))
    for traced in trace(lambda *x: layer(list(x[:count]))):
        actual = ops.convert_to_numpy(traced(*tensors))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_known_sizes_that_differ_are_refused_while_tracing(trace):
    layer = keras_laurel.LaurelRW()
    layer.build([SHAPE] * 2)
    with pytest.raises(Exception, match="must have equal shapes"):
        for traced in trace(lambda x, fx, _: layer([x, fx[..., :4]])):
            traced(*map(ops.convert_to_tensor, activations()))
