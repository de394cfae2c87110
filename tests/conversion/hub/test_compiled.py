"""Properties of converted transformers that only compiled programs show."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.conversion.hub import oracle
from tests.conversion.hub.checks import ALL
from tests.conversion.hub.checks import FOUR
from tests.conversion.hub.checks import converted_task
from tests.conversion.hub.checks import laurel_weights
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import plain_task
from tests.conversion.hub.checks import prototype
from tests.conversion.hub.checks import train
from tests.conversion.hub.checks import values


@pytest.mark.parametrize("name", FOUR)
def test_it_agrees_to_rounding(name):
    family = ALL[name]
    x = family.inputs()
    task = plain_task(family)
    expected = task.predict(x, verbose=0)
    keras_laurel.laurelize(task, prototype("rw+lr+pa"), granularity="sublayer")
    actual = task.predict(x, verbose=0)
    assert oracle.difference(actual, expected) < 1e-5


def test_both_additions_learn():
    family = ALL["Llama"]
    task = converted_task(family, "rw+lr+pa", "sublayer")
    before = values(laurel_weights(task))
    losses = train(task, family.inputs(), 3)
    assert losses[2] < losses[1] < losses[0]
    for old, new in zip(before, values(laurel_weights(task))):
        assert (old != new).any()


def test_fit_convert_and_fit_again():
    family = ALL["Llama"]
    x = family.inputs()
    task = plain_task(family)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1)
    train(task, x, optimizer=optimizer)
    before = logits(task, x)
    keras_laurel.laurelize(task, prototype("rw+lr"))
    np.testing.assert_array_equal(logits(task, x), before)
    assert task.optimizer is not optimizer
    assert task.optimizer.get_config() == optimizer.get_config()
    assert not task.optimizer.built
    history = task.fit(x, x["token_ids"], epochs=3, shuffle=False, verbose=0)
    losses = history.history["loss"]
    assert losses[2] < losses[1] < losses[0]
    decayed = {
        w.name: task.optimizer._use_weight_decay(w)
        for w in laurel_weights(task)
    }
    assert decayed == {
        "laurel_residual_weights": False,
        "laurel_a": True,
        "laurel_b": True,
    }
    for w in laurel_weights(task):
        assert np.abs(ops.convert_to_numpy(w)).max() > 0


def literal(x, fx, previous, layer):
    """Equation (6) term by term, each of the earlier activations whole."""
    w = {v.name: ops.convert_to_tensor(v) for v in layer.weights}
    alpha, beta = 2 * ops.softmax(w["laurel_residual_weights"])
    total = x
    for j, x_j in enumerate([x, *previous][: layer.num_activations]):
        b = w["laurel_b"][j * layer.rank : (j + 1) * layer.rank]
        code = ops.matmul(x_j, w["laurel_a"][j])
        total = total + w["laurel_gamma"][j] * ops.matmul(code, b)
    return alpha * fx + beta * total


@pytest.mark.skipif(
    keras.config.backend() != "jax", reason="JAX says what a program reads"
)
def test_codes_move_fewer_bytes_than_activations():
    """A training step of six wide blocks that do next to nothing."""
    import jax

    from keras_laurel.conversion.blocks.stream import ResidualStream

    blocks, width, shape = 6, 256, (8, 64, 256)
    layers = []
    for n in range(blocks):
        layer = prototype("rw+lr+pa", rank=8)
        layer.build([(None, None, width)] * (2 + min(n, 2)))
        layers.append(layer)

    def carried(x):
        stream = ResidualStream(layers)
        for n, layer in enumerate(layers):
            known = stream.enter(n, x)
            x = layer.combine_sum(x + ops.tanh(x), x, x, known)
        return x

    def whole(x):
        previous = []
        for layer in layers:
            skip, fx = x, ops.tanh(x)
            x = literal(skip, fx, previous, layer)
            previous.insert(0, skip)
        return x

    variables = [w for layer in layers for w in layer.trainable_weights]

    def cost(function):
        def loss(weights, x):
            with keras.StatelessScope(zip(variables, weights)):
                return ops.sum(ops.square(function(x)))

        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        step = jax.jit(jax.grad(loss))
        weights = [v.value for v in variables]
        compiled = step.lower(weights, x).compile()
        return compiled.cost_analysis()["bytes accessed"], compiled(weights, x)

    (few, gradients), (many, expected) = cost(carried), cost(whole)
    for actual, e in zip(gradients, expected):
        np.testing.assert_allclose(actual, e, rtol=1e-3, atol=1e-3)
    assert few < 0.95 * many
