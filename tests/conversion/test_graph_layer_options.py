"""Options that a LAuReL layer takes over from the addition it replaces."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.conversion.models import assert_same_outputs
from tests.conversion.models import outputs


def conv(width=8, **kwargs):
    kwargs = {"padding": "same", "data_format": "channels_first", **kwargs}
    return layers.Conv2D(width, 3, **kwargs)


def functional_branch():
    x = keras.Input((8, None, None))
    return keras.Model(x, conv()(conv(activation="relu")(x)))


def deep_branch():
    return keras.Sequential([keras.Sequential([conv(), layers.ReLU()])])


class Positions(layers.Layer):
    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:])

    def call(self, x):
        return x + self.table


class Opaque(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(8, 1, 1))

    def call(self, x):
        return x * self.scale


FIRST = {
    "sequential": lambda x: x + keras.Sequential([conv(), conv()])(x),
    "functional": lambda x: x + functional_branch()(x),
    "deep": lambda x: x + deep_branch()(x),
    "convolution before": lambda x: (y := conv()(x)) + Opaque()(y),
    "pooling after": lambda x: layers.GlobalAveragePooling2D(
        data_format="channels_first"
    )(x + Opaque()(x)),
    "batch norm after": lambda x: layers.BatchNormalization(axis=1)(
        layers.ReLU()(x + Opaque()(x))
    ),
    "average pooling in it": lambda x: (
        x
        + layers.AveragePooling2D(1, data_format="channels_first")(Opaque()(x))
    ),
}


def next_block(x):
    """ConvNeXt's block, whose products are in another layout."""
    y = layers.DepthwiseConv2D(3, padding="same", data_format="channels_first")(
        x
    )
    y = layers.LayerNormalization()(layers.Permute((2, 3, 1))(y))
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(y))
    return x + layers.Permute((3, 1, 2))(y)


def op_conv(x):
    kernel = keras.Variable(np.ones((3, 3, 8, 8), "float32"))
    options = {"padding": "same", "data_format": "channels_first"}
    return x + ops.relu(ops.conv(x, kernel, **options))


def video(layer):
    return lambda x: x + layer(x)


AXES = {
    "group norm": (
        (8, 6, 6),
        lambda x: x + ops.tanh(layers.GroupNormalization(4, axis=1)(x)),
        1,
    ),
    "layer norm": (
        (8, 6, 6),
        lambda x: x + ops.tanh(layers.LayerNormalization(axis=1)(x)),
        1,
    ),
    "ConvNeXt": ((8, 6, 6), next_block, 1),
    "an operation": ((8, 6, 6), op_conv, 1),
    "images in time": (
        (5, 8, 6, 6),
        video(layers.TimeDistributed(conv(activation="relu"))),
        2,
    ),
    "recurrent": (
        (5, 8, 6, 6),
        lambda x: (
            x
            + layers.ConvLSTM2D(
                8,
                3,
                padding="same",
                return_sequences=True,
                data_format="channels_first",
            )(x)
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", AXES)
def test_the_axis_of_channels(name):
    if keras.config.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels_first convolution on a CPU")
    shape, add, axis = AXES[name]
    x = keras.Input(shape)
    model = keras.Model(x, add(x))
    model = keras_laurel.laurelize(model, keras_laurel.LaurelLR(2))
    (layer,) = keras_laurel.laurel_layers(model)
    assert layer.axis == axis
    assert {max(w.shape) for w in layer.weights} == {8}


def test_frozen_parts_stay_frozen():
    x = keras.Input((8,))
    inner = keras.Model(x, x + layers.Dense(8)(x), name="inner")
    inner.trainable = False
    z = keras.Input((8,))
    y = inner(z)
    model = keras.Model(z, y + layers.Dense(8)(y))
    model = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    frozen = keras_laurel.laurel_layers(model.get_layer("inner"))
    assert [x.trainable_weights for x in frozen] == [[]]
    assert len(model.trainable_weights) == 3
    model.get_layer("inner").trainable = True
    assert len(model.trainable_weights) == 6


@pytest.mark.parametrize("size", [16, None])
@pytest.mark.parametrize("name", FIRST)
def test_channels_first(name, size):
    if keras.config.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels_first convolution on a CPU")
    x = keras.Input((8, size, size))
    model = keras.Model(x, FIRST[name](x))
    laurel = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=2))
    (layer,) = keras_laurel.laurel_layers(laurel)
    assert layer.axis == 1
    assert layer.laurel_a.shape == (1, 8, 2)


def test_channels_last_behind_a_permutation():
    x = inputs = keras.Input((8, 16, 16))
    x = layers.Permute((2, 3, 1))(conv()(x))
    x = x + layers.Dense(8)(x)
    laurel = keras_laurel.laurelize(
        keras.Model(inputs, x), keras_laurel.LaurelLR(rank=2)
    )
    assert keras_laurel.laurel_layers(laurel)[0].axis == -1


def branch(x, policy):
    h = layers.Dense(16, activation="gelu", dtype=policy)(x)
    return layers.Dense(8, dtype=policy)(h)


@pytest.mark.parametrize(
    "policy", ["float32", "float64", "mixed_bfloat16", "bfloat16"]
)
def test_the_policy_at_an_operator_is_that_of_its_operands(policy):
    """Two in a row: the second's skip is what the first operator gives."""
    if policy == "float64" and keras.config.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is told to")
    x = inputs = keras.Input((6, 8))
    x = layers.LayerNormalization(dtype=policy)(x)
    x = x + branch(x, policy)
    x = branch(x, policy) + x
    model = keras.Model(inputs, x)
    data = np.random.default_rng(0).normal(size=(2, 6, 8))
    expected = model(data)
    laurel = keras_laurel.laurelize(model, keras_laurel.get("rw+lr", rank=2))
    found = laurel(data)
    assert found.dtype == expected.dtype
    assert_same_outputs(outputs(laurel, data), outputs(model, data))
    for layer in keras_laurel.laurel_layers(laurel):
        assert layer.dtype_policy.name == policy


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_the_policy_beside_layers_of_ones_own(policy):
    """PyTorch records float32 for layers that read weights themselves."""
    keras.config.set_dtype_policy(policy)
    try:
        x = inputs = keras.Input((8, 6, 6))
        x = Positions()(x)
        x = x + Opaque()(layers.Dense(6, activation="relu")(x))
        x = x + layers.Dense(6, activation="relu")(x)
        model = keras.Model(inputs, x)
        data = np.random.default_rng(0).normal(size=(2, 8, 6, 6))
        expected = model(data)
        laurel = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
        found = laurel(data)
    finally:
        keras.config.set_dtype_policy("float32")
    assert found.dtype == expected.dtype
    assert_same_outputs(outputs(laurel, data), outputs(model, data))
    for layer in keras_laurel.laurel_layers(laurel):
        assert layer.dtype_policy.name == policy


@pytest.mark.filterwarnings("ignore:.*does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "float8"])
@pytest.mark.parametrize("add", ["Add", "+"])
def test_a_quantized_branch_gives_a_plain_policy(add, mode):
    x = keras.Input((16,))
    fx = layers.Dense(16, activation="relu")(x)
    y = layers.Add()([x, fx]) if add == "Add" else x + fx
    model = keras.Model(x, y)
    model.quantize(mode)
    data = np.random.default_rng(0).normal(size=(4, 16)).astype("float32")
    expected = outputs(model, data)
    laurel = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=2))
    assert_same_outputs(outputs(laurel, data), expected)
    (layer,) = keras_laurel.laurel_layers(laurel)
    assert layer.dtype_policy.name == "float32"
    assert layer.quantization_mode is None


def regularized(**kwargs):
    x = keras.Input((6, 8))
    y = layers.Add(name="sum", **kwargs)([x, layers.Dense(8)(x)])
    return keras.Model(x, y)


def test_the_regularizer_of_an_addition_goes_on(tmp_path):
    model = regularized(activity_regularizer=keras.regularizers.L2(0.1))
    laurel = keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    laurel.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.ones((2, 6, 8), "float32")
    losses = []
    for m in (model, laurel, loaded, keras_laurel.remove_laurel(laurel)):
        m(x)
        losses.append(float(ops.convert_to_numpy(sum(m.losses))))
    assert losses[0] > 0
    assert losses == [losses[0]] * 4


def test_two_regularizers_are_refused():
    model = regularized(activity_regularizer="l2")
    with pytest.raises(ValueError, match="addition of 'sum' has one of"):
        keras_laurel.laurelize(
            model, keras_laurel.LaurelRW(activity_regularizer="l1")
        )


class Closed(keras_laurel.Laurel):
    """Takes no options but its own."""

    def __init__(self, name=None, dtype=None, trainable=True, axis=-1):
        super().__init__("softmax", name=name, dtype=dtype, axis=axis)

    def get_config(self):
        config = keras.layers.Layer.get_config(self)
        return {**config, "axis": self.axis}


def test_a_layer_that_takes_no_further_options():
    add = regularized()
    keras_laurel.laurelize(add, Closed())
    x = keras.Input((6, 8))
    plus = keras.Model(x, x + layers.Dense(8)(x))
    with pytest.raises(ValueError, match="and `\\*\\*kwargs` for those of"):
        keras_laurel.laurelize(plus, Closed())


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_the_sign_of_a_zero(zero):
    x = keras.Input((8,))
    model = keras.Model(x, x + layers.Dense(8, use_bias=False)(x))
    laurel = keras_laurel.laurelize(model, keras_laurel.get("rw+lr", rank=2))
    data = ops.full((2, 8), zero)
    a, b = (ops.convert_to_numpy(m(data)) for m in (model, laurel))
    assert a.tobytes() == b.tobytes()
