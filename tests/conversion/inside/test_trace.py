"""The recording of a `call`, which changes nothing."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops
from keras.src.backend.common.variables import Variable
from keras.src.ops.operation import Operation
from keras.src.random.seed_generator import SeedGenerator

import keras_laurel
from keras_laurel.conversion.inside import keras_recording
from keras_laurel.conversion.inside import trace as tracing
from keras_laurel.conversion.inside.program import Program
from keras_laurel.conversion.inside.unknown_sizes import trace_unknown
from keras_laurel.conversion.inside.values import signature
from tests.conversion.inside.running import as_array

ADAPT = "Keras changed; adapt keras_laurel/conversion/inside/keras_recording.py"


class Everything(layers.Layer):
    """Reads variables in each way, draws, assigns and adds a loss."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = layers.Embedding(16, 8)
        self.dense = layers.Dense(8)
        self.seed_generator = keras.random.SeedGenerator(3)

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(8,), initializer="ones")
        self.steps = self.add_weight(
            shape=(), initializer="zeros", trainable=False
        )
        self.table.build((None,))
        self.dense.build(input_shape)

    def call(self, x, masks=None, training=False):
        batch, length, width = ops.shape(x)
        x = x + self.table(ops.arange(length))
        x = self.scale * self.dense(x) + ops.expand_dims(self.scale, 0) * x
        self.steps.assign_add(1.0)
        self.add_loss(ops.mean(x) * self.steps)
        if training:
            x = x + keras.random.normal(
                (batch, 1, width), seed=self.seed_generator
            )
        noise = ops.convert_to_tensor(self.scale)[None, None]
        return {"x": x * noise, "masks": masks}


@pytest.fixture
def layer():
    made = Everything()
    made(np.zeros((2, 5, 8), "float32"))
    return made


def inputs(batch=2, length=5):
    x = np.random.default_rng(0).normal(size=(batch, length, 8))
    return ops.convert_to_tensor(x.astype("float32"))


def state(layer):
    return [ops.convert_to_numpy(v) for v in layer.variables]


def program(layer, *args, **kwargs):
    return Program(tracing.trace(layer.call, args, kwargs), {})


@pytest.mark.parametrize("training", [False, True])
def test_the_graph_does_what_the_code_does(layer, training):
    x, start = inputs(), state(layer)
    expected = layer.call(x, training=training)["x"]
    after = state(layer)
    for variable, value in zip(layer.variables, start):
        variable.assign(value)
    run = program(layer, x, training=training)
    assert all(map(np.array_equal, state(layer), start))
    y = run.run([x])["x"]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(y), ops.convert_to_numpy(expected)
    )
    assert all(map(np.array_equal, state(layer), after))


def test_weights_are_read_when_the_graph_runs(layer):
    x = inputs()
    run = program(layer, x)
    before = ops.convert_to_numpy(run.run([x])["x"])
    for weight in layer.trainable_weights:
        weight.assign(ops.convert_to_numpy(weight) + 0.1)
    after = ops.convert_to_numpy(run.run([x])["x"])
    expected = ops.convert_to_numpy(layer.call(x)["x"])
    np.testing.assert_array_equal(after, expected)
    assert not np.array_equal(before, after)


def test_tensors_in_any_structure_keep_their_places(layer):
    x, masks = inputs(), {"b": inputs() * 2, "a": [inputs() * 3, None]}
    trace = tracing.trace(layer.call, (x,), {"masks": masks})
    tensors = [x, masks["b"], masks["a"][0]]
    out = Program(trace, {}).run(tensors)["masks"]
    assert out["b"] is tensors[1] and out["a"][0] is tensors[2]
    assert out["a"][1] is None


WITH_NUMBERS = {
    "x ** 2": lambda x: x**2,
    "x ** 3": lambda x: x**3,
    "x ** -0.5": lambda x: x**-0.5,
    "1.1 ** x": lambda x: 1.1**x,
    "0.1 * x": lambda x: 0.1 * x,
    "x * 0.1": lambda x: x * 0.1,
    "float64 * x": lambda x: np.float64(0.1) * x,
    "1 / x": lambda x: 1 / x,
    "x / 3": lambda x: x / 3,
    "0.7 - x": lambda x: 0.7 - x,
    "x + 0.1": lambda x: x + 0.1,
    "x // 0.3": lambda x: x // 0.3,
    "x % 0.3": lambda x: x % 0.3,
    "x > 0.5": lambda x: ops.cast(x > 0.5, "int32"),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_an_operator_with_a_number_runs_as_written(name, dtype):
    """On PyTorch `ops.power(x, 2)` rounds otherwise than `x**2`."""
    x = np.random.default_rng(0).uniform(0.1, 2, (64, 8))
    x = ops.cast(x, dtype)
    call = WITH_NUMBERS[name]
    trace = tracing.trace(call, (x,), {})
    actual, expected = Program(trace, {}).run([x]), call(x)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(as_array(actual), as_array(expected))


def test_an_operation_with_a_number_runs_as_written():
    x = np.random.default_rng(0).uniform(0.1, 2, (64, 8)).astype("float32")
    x = ops.convert_to_tensor(x)
    trace = tracing.trace(lambda x: ops.power(x, 3) + x**3, (x,), {})
    expected = ops.power(x, 3) + x**3
    actual = Program(trace, {}).run([x])
    np.testing.assert_array_equal(as_array(actual), as_array(expected))


def test_nothing_is_left_on_layers_and_in_keras(layer):
    replaced = {
        (owner, name): vars(owner).get(name)
        for owner, name in [
            (layers.Layer, "__call__"),
            (layers.Layer, "add_loss"),
            (Operation, "symbolic_call"),
            (SeedGenerator, "next"),
            (Variable, "value"),
            (Variable, "__mul__"),
            (keras.KerasTensor, "__array_ufunc__"),
            (keras.KerasTensor, "__pow__"),
            (keras_recording.ops.numpy.Ndim, "symbolic_call"),
            (keras.ops, "is_tensor"),
            *[
                (keras_recording.backend.random, n)
                for n in keras_recording.RANDOM
            ],
        ]
    }
    calls = len(layer.dense._inbound_nodes)
    name = layers.Add().name
    with pytest.raises(tracing.CannotTrace):
        tracing.trace(lambda x: np.asarray(layer.call(x)["x"]), (inputs(),), {})
    tracing.trace(layer.call, (inputs(),), {})
    for (owner, attribute), value in replaced.items():
        assert vars(owner).get(attribute) is value, (owner, attribute)
    assert len(layer.dense._inbound_nodes) == calls
    number = int(name.partition("_")[2] or 0)
    assert layers.Add().name == f"add_{number + 1}"
    assert not layer.losses[1:]


def test_what_keras_lets_be_replaced_is_there():
    """Else recordings would miss it in silence."""
    for name in keras_recording.RANDOM:
        assert callable(getattr(keras_recording.backend.random, name)), ADAPT
    for name in keras_recording.OPERATORS:
        assert callable(getattr(Variable, name)), ADAPT
        assert callable(getattr(keras.KerasTensor, name)), ADAPT
    assert callable(keras_recording.ops.numpy.Ndim.symbolic_call), ADAPT
    modules = keras_recording._modules_with_any_symbolic_tensors()
    names = {module.__name__ for module in modules}
    assert {"keras.src.ops.numpy", "keras.src.layers.layer"} <= names, ADAPT


def test_the_line_that_failed_is_named(layer):
    def call(x):
        return ops.convert_to_numpy(x)  # the line

    with pytest.raises(tracing.CannotTrace, match="test_trace.*# the line"):
        tracing.trace(call, (inputs(),), {})


class Failing(layers.Layer):
    def call(self, x):
        raise ValueError("Not with these.")


def test_a_reason_is_the_message_alone():
    """Keras puts a frame around it, with escape codes."""
    with pytest.raises(tracing.CannotTrace) as error:
        tracing.trace(Failing(), (inputs(),), {})
    assert str(error.value).endswith("ValueError: Not with these")


class Sized(layers.Layer):
    """Reads sizes as people write it."""

    def build(self, input_shape):
        self.token = self.add_weight(shape=(1, 1, 8), initializer="ones")

    def call(self, x):
        batch, length, width = ops.shape(x)
        heads = ops.reshape(x, (batch, length, 2, width // 2))
        flat = ops.reshape(heads, (batch * 2, length * width // 2))
        x = ops.reshape(flat, (batch, length, width))
        return x + ops.broadcast_to(self.token, (batch, 1, width))


def test_unknown_sizes_are_taken_from_the_tensors():
    layer = Sized()
    layer(inputs())
    x = keras.KerasTensor((None, None, 8))
    run = Program(trace_unknown(layer.call, (x,), {}), {})
    for batch, length in [(2, 5), (3, 4), (1, 7)]:
        x = inputs(batch, length)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(run.run([x])),
            ops.convert_to_numpy(layer.call(x)),
        )


def test_tensors_of_unknown_size_are_refused():
    def call(x):
        return x + ops.arange(ops.shape(x)[1], dtype="float32")[None, :, None]

    x = keras.KerasTensor((2, None, 8))
    with pytest.raises(tracing.CannotTrace, match="size is not known"):
        trace_unknown(call, (x,), {})


def test_signatures():
    x = inputs()
    base = signature(((x,), {"training": False}))
    assert base == signature(((x + 1,), {"training": False}))
    for other in [
        ((x,), {"training": True}),
        ((x[:1],), {"training": False}),
        ((ops.cast(x, "float16"),), {"training": False}),
        (([x],), {"training": False}),
        ((x,), {"training": 0}),
    ]:
        assert signature(other) != base


class Cached(layers.Layer):
    """As the attention of SmolLM3, which states no shapes of its own."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(8)
        self.table = ops.ones(8)

    def call(self, x, cache=None, index=None):
        keys = self.dense(x) * self.table
        if cache is None:
            return keys, None
        cache = ops.slice_update(cache, (0, index, 0), keys)
        return keys + ops.mean(cache, axis=1, keepdims=True), cache


class WithCache(layers.Layer):
    def __init__(self):
        super().__init__()
        self.cached = Cached()

    def call(self, x, cache=None, index=None):
        y, cache = self.cached(x, cache=cache, index=index)
        return x + y, cache


class Decodes(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = WithCache()

    def call(self, x, **kwargs):
        return self.block(x, **kwargs)


def test_an_index_into_a_cache():
    """PyTorch runs the inner layer on ones, where 1 is no valid index.

    It would not, but for a tensor that is no input.
    """
    x = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    model = Decodes()
    model(x)
    cache, index = ops.zeros((2, 6, 8)), ops.convert_to_tensor(0, "int32")
    expected = model(x, cache=cache, index=index)
    keras_laurel.laurelize(
        model, keras_laurel.LaurelRW(), inputs=x, verbose=False
    )
    for y, z in zip(model(x, cache=cache, index=index), expected, strict=True):
        np.testing.assert_array_equal(*map(as_array, (y, z)))
