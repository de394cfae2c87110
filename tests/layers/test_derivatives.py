"""Derivatives of every kind, against differences of the equation in float64.

The equation is a function of all weights and inputs; it moves along one random
direction. Forward mode gives its slope, reverse mode the slope of a weighed
sum of it, and both on top of each other its curvature.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.backends import rows
from tests.layers import reference
from tests.layers.cases import CASES
from tests.layers.cases import SHAPE
from tests.layers.cases import random_inputs
from tests.layers.cases import set_random_weights
from tests.layers.cases import to_numpy

BACKEND = keras.config.backend()
# Each rule of a derivative that layers have of their own, and of autodiff.
EACH_RULE = "rw", "complement", "pa", "rms_shared", "rw+lr+pa", "all_low_rank"
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Problem:
    """A layer, a point, a direction, and weights of the outputs."""

    def __init__(self, case):
        self.layer = case.make()
        self.layer.build([SHAPE] * case.inputs)
        set_random_weights(self.layer)
        self.point = [*self.layer.get_weights(), *random_inputs(case)]
        rng = np.random.default_rng(1)
        self.direction = [
            rng.normal(size=x.shape).astype("float32") for x in self.point
        ]
        self.g = rng.normal(size=SHAPE).astype("float32")

    def out(self, *point):
        count = len(self.layer.weights)
        weights, inputs = list(point[:count]), list(point[count:])
        return self.layer.stateless_call(weights, [], inputs)[0]

    def loss(self, *point):
        return ops.sum(ops.multiply(self.out(*point), self.g))

    def slope(self, step=1e-4):
        """Of the outputs, by central differences."""
        return (self._at(step) - self._at(-step)) / (2 * step)

    def curvature(self, step=1e-3):
        """Of the loss, by second differences."""
        second = self._at(step) - 2 * self._at(0) + self._at(-step)
        return np.sum(second * self.g) / step**2

    def _at(self, t):
        moved = [
            np.float64(x) + t * np.float64(v)
            for x, v in zip(self.point, self.direction)
        ]
        count = len(self.layer.weights)
        return reference.laurel(_At(self.layer, moved[:count]), moved[count:])


class _At:
    """The layer with other weights, in float64."""

    def __init__(self, layer, values):
        self.layer = layer
        self.values = values

    def get_weights(self):
        return self.values

    def __getattr__(self, name):
        return getattr(self.layer, name)


class JAX:
    @staticmethod
    def forward(function, point, direction):
        import jax

        slope = jax.jvp(function, tuple(point), tuple(direction))[1]
        linear = jax.linearize(function, *point)[1](*direction)
        np.testing.assert_allclose(slope, linear, rtol=1e-4, atol=1e-4)
        return slope

    @staticmethod
    def curvature(function, point, direction):
        import jax

        def along(t):
            moved = [x + t * v for x, v in zip(point, direction)]
            return function(*moved)

        found = [
            jax.hessian(along)(0.0),
            jax.jacfwd(jax.jacfwd(along))(0.0),
            jax.jacrev(jax.jacrev(along))(0.0),
        ]
        np.testing.assert_allclose(found, found[0], rtol=1e-4)
        return found[0]

    @staticmethod
    def mapped(function, arguments):
        import jax

        return jax.vmap(function)(*arguments)


class TensorFlow:
    @staticmethod
    def forward(function, point, direction):
        import tensorflow as tf

        point, direction = _tensors(point), _tensors(direction)
        with tf.autodiff.ForwardAccumulator(point, direction) as accumulator:
            out = function(*point)
        return accumulator.jvp(out)

    @staticmethod
    def curvature(function, point, direction):
        import tensorflow as tf

        point, direction = _tensors(point), _tensors(direction)
        with tf.GradientTape() as outer:
            outer.watch(point)
            with tf.GradientTape() as inner:
                inner.watch(point)
                loss = function(*point)
            first = inner.gradient(loss, point)
            slope = sum(map(_product, first, direction))
        second = outer.gradient(slope, point, unconnected_gradients="zero")
        return sum(map(_product, second, direction))

    @staticmethod
    def mapped(function, arguments):
        import tensorflow as tf

        return tf.vectorized_map(
            lambda x: function(*x), tuple(_tensors(arguments))
        )


class Torch:
    @staticmethod
    def forward(function, point, direction):
        import torch

        point, direction = _tensors(point), _tensors(direction)
        return torch.func.jvp(function, tuple(point), tuple(direction))[1]

    @staticmethod
    def curvature(function, point, direction):
        import torch

        point = [x.requires_grad_() for x in _tensors(point)]
        direction = _tensors(direction)
        first = torch.autograd.grad(function(*point), point, create_graph=True)
        slope = sum(map(_product, first, direction))
        second = torch.autograd.grad(slope, point, materialize_grads=True)
        return sum(map(_product, second, direction))

    @staticmethod
    def mapped(function, arguments):
        import torch

        return torch.func.vmap(function)(*_tensors(arguments))


autodiff = {"jax": JAX, "tensorflow": TensorFlow, "torch": Torch}[BACKEND]


def _tensors(arrays):
    return [ops.convert_to_tensor(x) for x in arrays]


def _product(x, y):
    return ops.sum(x * y)


# PyTorch's own rules of forward mode.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@every_case
def test_forward_mode(case):
    problem = Problem(case)
    slope = autodiff.forward(problem.out, problem.point, problem.direction)
    expected = problem.slope()
    size = np.abs(expected).max()
    np.testing.assert_allclose(to_numpy(slope), expected, atol=1e-5 * size)


@pytest.mark.parametrize("name", rows(CASES, EACH_RULE))
def test_second_derivatives(name):
    problem = Problem(CASES[name])
    found = autodiff.curvature(problem.loss, problem.point, problem.direction)
    # It is a sum of terms of both signs.
    size = np.linalg.norm(problem.g) * np.abs(problem.slope()).max()
    assert abs(float(found) - problem.curvature()) < 1e-4 * size


@every_case
def test_vectorised(case):
    """Over several inputs, the weights among them."""
    problem = Problem(case)
    several = [np.stack([x, 2 * x, -x]) for x in problem.point]
    found = to_numpy(autodiff.mapped(problem.out, several))
    for i, out in enumerate(found):
        expected = problem.out(*_tensors([x[i] for x in several]))
        expected = to_numpy(expected)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


SIZES = (1, 30, 1000)
WEIGHTS = {
    "softmax": {},
    "sigmoid": {"residual_weights": "sigmoid"},
    "complement": {"residual_weights": "complement"},
    "per channel": {"per_channel": True},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(
    "dtype, tolerance",
    [("float32", 1e-5), ("mixed_bfloat16", 0.02), ("mixed_float16", 0.02)],
)
def test_the_gradient_of_alpha_however_large_the_skip(
    dtype, tolerance, weights, size
):
    """alpha's own: beta's is as much larger as the skip."""
    shape = (4, 64, 32)
    layer = keras_laurel.LaurelRW(**WEIGHTS[weights], dtype=dtype)
    layer.build([shape] * 2)
    rng = np.random.default_rng(0)
    x, fx, g = (
        ops.cast(s * rng.normal(size=shape), layer.compute_dtype)
        for s in (size, 1, 1)
    )
    alpha = ops.convert_to_tensor(layer.alpha)

    def loss(alpha):
        pair = (alpha, layer.beta)
        layer._bounded_weights = lambda: pair
        return ops.sum(ops.cast(layer([x, fx]) * g, "float32"))

    found = to_numpy(_gradient(loss, alpha))
    wide = [np.float64(to_numpy(x)) for x in (g, fx)]
    axes = (0, 1) if layer.per_channel else None
    expected = np.sum(wide[0] * wide[1], axis=axes)
    size = np.sqrt(np.sum((wide[0] * wide[1]) ** 2, axis=axes))
    assert (np.abs(found - expected) < tolerance * size).all()


def _gradient(function, x):
    if BACKEND == "jax":
        import jax

        return jax.grad(function)(x)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)
    import torch

    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


@pytest.mark.parametrize("bound", ["softmax", "sigmoid", "complement"])
@pytest.mark.parametrize("w", [-200.0, 200.0])
def test_weights_at_their_bounds_have_finite_gradients(bound, w):
    layer = keras_laurel.Laurel(bound, rank=2)
    layer.build([SHAPE] * 2)
    set_random_weights(layer)
    weight = layer.laurel_residual_weights
    point = [np.full(weight.shape, w, "float32")]
    point[0][1:] *= -1
    x, fx = _tensors(random_inputs(CASES["rw"]))

    def loss(value):
        values = [
            value if v is weight else ops.convert_to_tensor(v)
            for v in layer.weights
        ]
        return ops.sum(layer.stateless_call(values, [], [x, fx])[0])

    found = _gradient(loss, ops.convert_to_tensor(point[0]))
    assert np.isfinite(to_numpy(found)).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["lr", "pa", "rw+lr", "rw+lr+pa", "shared"])
def test_infinities_stay_where_add_has_them(name, dtype):
    """Codes that overflow, and an infinity in each of the activations."""
    case = CASES[name]
    layer = case.make(dtype=dtype)
    largest = 6e4 if "16" in layer.compute_dtype[:7] else 3e38
    inputs = [np.full(SHAPE, largest, "float32")]
    inputs += [np.zeros(SHAPE, "float32") for _ in range(case.inputs - 1)]
    for i, x in enumerate(inputs):
        x[0, i, i] = np.inf if i != 1 else -1.0
    inputs = [ops.cast(x, layer.compute_dtype) for x in inputs]
    added = keras.layers.Add(dtype=dtype)(inputs[:2])
    np.testing.assert_array_equal(to_numpy(layer(inputs)), to_numpy(added))
