"""Properties of the equation that hold for all weights."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_laurel import equation

FORMS = ("softmax", "sigmoid", "complement")


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(*tensors):
    return [ops.convert_to_numpy(ops.cast(x, "float32")) for x in tensors]


@pytest.mark.parametrize("scale", [0.5, 1.0, 2**-0.5])
@pytest.mark.parametrize("form", FORMS)
def test_residual_weights_start_at_the_scale(form, scale):
    count = 1 if form == "complement" else 2
    w = ops.zeros((count, 5))
    for weight in numpy(*equation.residual_weights(w, form, scale)):
        np.testing.assert_array_equal(weight, np.float32(scale) * np.ones(5))


@pytest.mark.parametrize("form", FORMS)
def test_residual_weights_are_bounded(form):
    w = np.array([[-50.0, 0.0, 50.0], [50.0, 1.0, -50.0]], "float32")
    w = w[:1] if form == "complement" else w
    for weight in numpy(*equation.residual_weights(w, form, 0.5)):
        assert (weight >= 0).all() and (weight <= 1).all()


@pytest.mark.parametrize("form", ["softmax", "complement"])
def test_residual_weights_share_their_sum(form):
    w = random(1 if form == "complement" else 2, 6)
    alpha, beta = numpy(*equation.residual_weights(w, form, 0.7))
    np.testing.assert_allclose(alpha + beta, np.full(6, 1.4), rtol=1e-6)


def test_softmax_sees_only_differences():
    w = random(2, 6)
    np.testing.assert_allclose(
        numpy(*equation.residual_weights(w + 3.0, "softmax", 1.0)),
        numpy(*equation.residual_weights(w, "softmax", 1.0)),
        rtol=1e-5,
    )


@pytest.mark.parametrize("weight", [1.0, 0.7, random(8, seed=4)])
@pytest.mark.parametrize("gamma", [None, random(3, seed=3)])
def test_the_product_is_a_sum_over_activations(gamma, weight):
    x, a, b = random(3, 4, 8), random(3, 8, 2), random(3, 2, 8)
    gammas = np.ones(3) if gamma is None else gamma
    expected = weight * np.einsum(
        "j,jnd,jdr,jre->ne", gammas, *map(np.float64, (x, a, b))
    )
    gamma = None if gamma is None else ops.convert_to_tensor(gamma)
    if not isinstance(weight, float):
        weight = ops.convert_to_tensor(weight)
    x, a, b = map(ops.convert_to_tensor, (x, a, b.reshape(6, 8)))
    codes, left = equation.down_project([x[j] for j in range(3)], a, gamma)
    product = ops.matmul(*equation.up_projection(codes, b, left, weight))
    np.testing.assert_allclose(*numpy(product), expected, rtol=1e-4, atol=1e-5)


def test_a_shared_pair_takes_the_sum_before_or_after_its_codes():
    x, a, b = (ops.convert_to_tensor(random(*s)) for s in SHARED)
    gamma = ops.convert_to_tensor(random(3, seed=3))
    x = [x[j] for j in range(3)]
    (code,), left = equation.down_project(x, a, gamma)
    assert left is None
    codes = [ops.matmul(x_j, a[0]) for x_j in x]
    np.testing.assert_allclose(
        *numpy(
            ops.matmul(*equation.up_projection([code], b)),
            ops.matmul(*equation.up_projection(codes, b, gamma)),
        ),
        rtol=1e-4,
        atol=1e-5,
    )


SHARED = (3, 4, 8), (1, 8, 2), (2, 8)


def test_rms_norm_has_a_root_mean_square_of_one():
    x = ops.convert_to_tensor(100 * random(4, 64))
    (out,) = numpy(equation.rms_norm(x, 1.0))
    np.testing.assert_allclose(np.mean(out**2, -1), np.ones(4), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_sum_keeps_the_dtype_and_rounds_once(dtype):
    x, fx = [ops.cast(random(64, seed=s), dtype) for s in (1, 2)]
    weights = [ops.convert_to_tensor(np.float32(w)) for w in (1.25, 0.3)]
    wide = [ops.cast(v, "float32") for v in (x, fx)]
    expected = ops.cast(1.25 * wide[1] + np.float32(0.3) * wide[0], dtype)
    for out in (
        equation.weighted_sum([fx, x], weights),
        equation.weighted_sum([fx, x], [1.25, 0.3]),
    ):
        assert out.dtype == x.dtype
        np.testing.assert_array_equal(*numpy(out, expected))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_sum_is_its_first_term_where_the_others_cancel(dtype):
    y, x = (ops.cast(random(64, 8, seed=i), dtype) for i in range(2))
    codes = ops.cast(random(64, 2, seed=3), dtype)
    product = codes, ops.zeros((2, 8), dtype)
    for one in (1.0, ops.ones(()), ops.ones((8,))):
        for terms, weights in (([y, x], [one, one - one]), ([y], [one])):
            out = equation.weighted_sum(terms, weights, *product)
            assert out.dtype == y.dtype
            np.testing.assert_array_equal(*numpy(out, y))
        out = equation.weighted_sum([y, x, x], [one, one, -one])
        np.testing.assert_array_equal(*numpy(out, y))
        out = equation.weighted_sum([y, x], [one, one], *product)
        np.testing.assert_array_equal(*numpy(out, y + x))


class TestGradients:
    """Those of all weights and tensors; as a rule with f in none of what they
    use."""

    @pytest.mark.parametrize("keep_first", [False, True])
    @pytest.mark.parametrize("shape", [(), (8,)])
    def test_equal_those_of_the_terms(self, shape, keep_first):
        weights, tensors, g = self.arguments(shape, "float32")
        found = gradients(weights, tensors, g, keep_first)
        expected = self.reference(weights, tensors, g)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)

    def test_in_bfloat16_the_weight_of_f_is_off_by_rounding(self):
        """By that of out, as random as it: 2**-9 of a term for each."""
        weights, tensors, g = self.arguments((), "bfloat16", positions=4096)
        found = gradients(weights, tensors, g)[0]
        expected = self.reference(weights, tensors, g)[0]
        out, g = numpy(forward(weights, tensors), g)
        deviation = 2**-9 * np.sqrt(np.sum((out * g) ** 2)) / weights[0]
        assert abs(found - expected) < 3 * deviation

    def test_a_weight_of_zero_has_no_infinite_gradient(self):
        weights, tensors, g = self.arguments((), "float32")
        weights[0] = np.float32(0)
        assert np.isfinite(gradients(weights, tensors, g)[0])

    def arguments(self, shape, dtype, positions=12):
        weights = [np.exp(0.3 * random(*shape, seed=i)) for i in range(3)]
        shapes = [(positions, 8)] * 3 + [(positions, 2), (2, 8)]
        tensors = [random(*s, seed=5 + i) for i, s in enumerate(shapes)]
        tensors.append(random(positions, 8, seed=11))
        *tensors, g = [ops.cast(x, dtype) for x in tensors]
        return [np.float32(w) for w in weights], tensors, g

    def reference(self, weights, tensors, g):
        """In NumPy and float64, from the definition."""
        *tensors, g = [np.float64(x) for x in numpy(*tensors, g)]
        *terms, codes, b = tensors
        axes = (0,) if weights[0].shape else (0, 1)
        of_weights = [np.sum(g * x, axis=axes) for x in terms]
        of_terms = [g * w for w in weights]
        return [*of_weights, *of_terms, g @ b.T, codes.T @ g]


def forward(weights, tensors, keep_first=False):
    *terms, codes, b = tensors
    weights = [ops.convert_to_tensor(w) for w in weights]
    return equation.weighted_sum(
        terms, weights, codes, b, keep_first=keep_first
    )


def gradients(weights, tensors, g, keep_first=False):
    arguments = [*(ops.convert_to_tensor(w) for w in weights), *tensors]
    count = len(weights)

    def run(*arguments):
        return forward(arguments[:count], arguments[count:], keep_first)

    return numpy(*vector_jacobian_product(run, arguments, g))


def vector_jacobian_product(run, arguments, g):
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        return jax.vjp(run, *arguments)[1](g)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(arguments)
            out = run(*arguments)
        return tape.gradient(out, arguments, output_gradients=g)
    arguments = [x.clone().requires_grad_() for x in arguments]
    run(*arguments).backward(g)
    return [x.grad for x in arguments]
