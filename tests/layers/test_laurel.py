"""The equation, the start, the gradients and the counts of every variant."""

import keras
import numpy as np
import pytest

import keras_laurel
from tests.layers import reference
from tests.layers.cases import CASES
from tests.layers.cases import SHAPE
from tests.layers.cases import VARIANTS
from tests.layers.cases import layer_name
from tests.layers.cases import model_of_all_cases
from tests.layers.cases import precision
from tests.layers.cases import random_inputs
from tests.layers.cases import set_random_weights
from tests.layers.cases import to_numpy

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_variant = pytest.mark.parametrize("case", VARIANTS.values(), ids=VARIANTS)


def relative_error(layer, inputs):
    expected = reference.laurel(layer, inputs)
    error = np.abs(to_numpy(layer(inputs)) - expected)
    return error.max() / np.abs(expected).max()


def random_layer(case, shape=SHAPE, **kwargs):
    layer = case.make(**kwargs)
    layer.build([shape] * case.inputs)
    set_random_weights(layer)
    return layer


@every_case
def test_equals_the_equation(case):
    assert relative_error(random_layer(case), random_inputs(case)) < 1e-6


@pytest.mark.parametrize("name", [*VARIANTS, "rms_shared"])
def test_equals_the_equation_in_float64(name):
    with precision("float64"):
        layer = random_layer(CASES[name], dtype="float64")
        error = relative_error(layer, random_inputs(CASES[name]))
    # On torch `keras.ops.matmul` takes float64 through float32.
    assert error < (1e-6 if keras.config.backend() == "torch" else 1e-14)


@every_variant
@pytest.mark.parametrize("shape", [(4, 16), (2, 3, 5, 16), (2, 2, 3, 2, 16)])
def test_equals_the_equation_at_any_rank(case, shape):
    layer = random_layer(case, shape)
    assert relative_error(layer, random_inputs(case, shape)) < 1e-6


@every_case
@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "bfloat16", "mixed_bfloat16", "mixed_float16"],
)
def test_starts_as_add(case, dtype):
    inputs = random_inputs(case)
    with precision(dtype):
        layer = case.make(dtype=dtype)
        out = layer(inputs)
        added = keras.layers.Add(dtype=dtype)(inputs[:2])
        assert out.dtype == added.dtype
        np.testing.assert_array_equal(
            to_numpy(out), layer.scale * to_numpy(added)
        )


@pytest.fixture(scope="module")
def two_steps():
    """For each case, its weights before and after two steps of training."""
    model = model_of_all_cases()
    layers = {name: model.get_layer(layer_name(name)) for name in CASES}
    before = {name: layer.get_weights() for name, layer in layers.items()}
    model.compile(keras.optimizers.SGD(20.0), "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, *SHAPE[1:]))
    y = rng.normal(size=(4, *model.output_shape[1:]))
    for _ in range(2):
        model.train_on_batch(x, y)
    return {
        name: list(zip(layer.weights, before[name], layer.get_weights()))
        for name, layer in layers.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_reaches_every_weight_in_two_steps(name, two_steps):
    for weight, before, after in two_steps[name]:
        assert (before != after).all(), weight.path
        assert np.isfinite(after).all(), weight.path


@every_case
def test_parameters(case):
    layer = case.make()
    layer.build([SHAPE] * case.inputs)
    assert layer.count_params() == case.parameters
    assert all(w.trainable for w in layer.weights)


def test_parameters_of_the_papers_example():
    blocks = [keras_laurel.get("rw+lr", rank=4) for _ in range(20)]
    for block in blocks:
        block.build([(None, 1000)] * 2)
    assert sum(block.count_params() for block in blocks) == 160_040


def outputs(*layers_and_weights, shape=SHAPE, inputs=2):
    x = random_inputs(VARIANTS["pa"], shape)[:inputs]
    for layer, weights in layers_and_weights:
        layer.build([shape] * inputs)
        layer.set_weights([np.asarray(w) for w in weights])
        yield to_numpy(layer(x))


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def degenerate_pairs():
    """Return pairs of layers, with weights for which they must be equal."""
    w, a, b = random(2), random(1, 16, 3), random(3, 16)
    gamma = random(3)
    return {
        "rw+lr with B = 0 is rw": (
            (keras_laurel.get("rw+lr", rank=3), [w, a, 0 * b]),
            (keras_laurel.LaurelRW(), [w]),
        ),
        "rw+lr with equal weights is lr": (
            (keras_laurel.get("rw+lr", rank=3), [[1.5, 1.5], a, b]),
            (keras_laurel.LaurelLR(rank=3), [a, b]),
        ),
        "lr+pa of one activation with gamma = 1 is lr": (
            (keras_laurel.LaurelPA(1, rank=3), [a, b, [1.0]]),
            (keras_laurel.LaurelLR(rank=3), [a, b]),
        ),
        "pa of one activation is rw where beta = 1 + gamma": (
            (keras_laurel.LaurelPA(1), [[0.5]]),
            (keras_laurel.LaurelRW("sigmoid"), [[0.0, np.log(3.0)]]),
        ),
        "one shared pair is equal separate pairs": (
            (
                keras_laurel.LaurelPA(rank=3, share_low_rank=True),
                [a, b, gamma],
            ),
            (
                keras_laurel.LaurelPA(rank=3),
                [np.repeat(a, 3, axis=0), np.tile(b, (3, 1)), gamma],
            ),
        ),
        "gamma = 0 drops an activation": (
            (keras_laurel.get("rw+pa"), [w, [0.5, 0.0, 0.0]]),
            (keras_laurel.get("rw+pa", num_activations=3), [w, [0.5]]),
        ),
        "per channel with one value is a scalar": (
            (
                keras_laurel.LaurelRW(per_channel=True),
                [np.repeat(w[:, None], 16, axis=1)],
            ),
            (keras_laurel.LaurelRW(), [w]),
        ),
        "softmax is complement of the difference": (
            (keras_laurel.LaurelRW("softmax"), [w]),
            (keras_laurel.LaurelRW("complement"), [w[:1] - w[1:]]),
        ),
    }


def inputs_for(layer, weights):
    """As many inputs as the weights are made for."""
    return 1 + len(weights[-1]) if layer.num_activations else 2


@pytest.mark.parametrize("relation", degenerate_pairs())
def test_degenerates(relation):
    results = [
        next(outputs(side, inputs=inputs_for(*side)))
        for side in degenerate_pairs()[relation]
    ]
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)


def test_the_laurel_block_of_gemma_3n():
    """`(attention + x + RMSNorm(right(left(x)))) / sqrt(2)`."""
    x, attention = random(2, *SHAPE)
    left, right, norm = random(16, 4), random(4, 16), random(16)
    layer = keras_laurel.Laurel(rank=4, scale=2**-0.5, normalize="rms")
    layer.build([SHAPE, SHAPE])
    layer.set_weights([left[None], right, norm])
    expected = x + reference.rms_norm(x @ left @ right) * norm
    expected = (attention + expected) / np.sqrt(2)
    out = to_numpy(layer([x, attention]))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", ["softmax", "sigmoid", "complement"])
def test_alpha_and_beta_can_be_read(form, per_channel):
    case = VARIANTS["rw"]._replace(
        options={"residual_weights": form, "per_channel": per_channel}
    )
    layer = random_layer(case)
    ones, zeros = np.ones(SHAPE), np.zeros(SHAPE)
    alpha, beta = to_numpy(layer.alpha), to_numpy(layer.beta)
    assert alpha.shape == beta.shape == ((16,) if per_channel else ())
    np.testing.assert_allclose(to_numpy(layer([zeros, ones])), alpha * ones)
    np.testing.assert_allclose(to_numpy(layer([ones, zeros])), beta * ones)


def test_draws_of_a_differ():
    seeded = keras.initializers.GlorotUniform(seed=3)
    generator = keras.initializers.GlorotUniform(keras.random.SeedGenerator(3))
    for initializer in ("glorot_uniform", seeded, generator):
        layer = keras_laurel.LaurelPA(
            rank=3, normalize="rms", a_initializer=initializer
        )
        layer.build([SHAPE] * 4)
        draws = [*to_numpy(layer.laurel_a)]
        draws += [b.T for b in to_numpy(layer.laurel_b).reshape(3, 3, 16)]
        assert len({draw.tobytes() for draw in draws}) == 6
