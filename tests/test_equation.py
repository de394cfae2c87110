"""What holds for the equation whatever its weights are."""

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


@pytest.mark.parametrize("gamma", [None, random(3, seed=3)])
def test_low_rank_is_a_sum_over_activations(gamma):
    gamma = None if gamma is None else ops.convert_to_tensor(gamma)
    x, a, b = random(3, 4, 8), random(3, 8, 2), random(3, 2, 8)
    gammas = np.ones(3) if gamma is None else numpy(gamma)[0]
    expected = np.einsum(
        "j,jnd,jdr,jre->ne", gammas, *map(np.float64, (x, a, b))
    )
    x, a, b = map(ops.convert_to_tensor, (x, a, b.reshape(6, 8)))
    out = equation.low_rank([x[j] for j in range(3)], a, b, gamma)
    np.testing.assert_allclose(*numpy(out), expected, rtol=1e-4, atol=1e-5)


def test_rms_norm_has_a_root_mean_square_of_one():
    x = ops.convert_to_tensor(100 * random(4, 64))
    (out,) = numpy(equation.rms_norm(x, 1.0))
    np.testing.assert_allclose(np.mean(out**2, -1), np.ones(4), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_combine_keeps_the_dtype_and_rounds_once(dtype):
    x, fx = [ops.cast(random(64, seed=s), dtype) for s in (1, 2)]
    out = equation.combine(x, fx, alpha=1.25, beta=0.3)
    assert out.dtype == x.dtype
    wide = [ops.cast(v, "float32") for v in (x, fx)]
    expected = ops.cast(1.25 * wide[1] + 0.3 * wide[0], dtype)
    np.testing.assert_array_equal(*numpy(out, expected))


# One pair for all activations needs weights.
@pytest.mark.parametrize(("pairs", "weighted"), [(3, False), (3, True), (1, 1)])
def test_codes_stand_for_activations(pairs, weighted):
    x, a, b = random(3, 4, 8), random(pairs, 8, 2), random(pairs * 2, 8)
    gamma = ops.convert_to_tensor(random(3)) if weighted else None
    codes = [x[j] @ a[j if pairs > 1 else 0] for j in range(3)]
    codes = [ops.convert_to_tensor(code) for code in codes]
    np.testing.assert_allclose(
        *numpy(
            equation.from_codes(codes, ops.convert_to_tensor(b), gamma),
            equation.low_rank(
                [ops.convert_to_tensor(x_j) for x_j in x],
                *map(ops.convert_to_tensor, (a, b)),
                gamma,
            ),
        ),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("augmentation", [None, random(4, 8, seed=3)])
def test_combine_sum_needs_only_the_sum(augmentation):
    x, skip, f = (random(4, 8, seed=i) for i in range(3))
    weights = dict(augmentation=augmentation, alpha=0.7, beta=1.2)
    np.testing.assert_allclose(
        *numpy(
            equation.combine_sum(x + f, x, skip, **weights),
            equation.combine(skip, f, **weights),
        ),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_combine_sum_of_weight_one_is_the_sum(dtype):
    y, x = (ops.cast(random(64, 8, seed=i), dtype) for i in range(2))
    out = equation.combine_sum(y, x, x)
    assert out.dtype == y.dtype
    np.testing.assert_array_equal(*numpy(out, y))
