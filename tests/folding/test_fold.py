"""A folded model computes the same, of Keras' own layers."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.backends import once
from tests.backends import rows
from tests.conversion.models import outputs
from tests.conversion.models import random_input
from tests.conversion.models import shake

VARIANTS = {
    "rw": {},
    "rw per channel": {"per_channel": True},
    "lr": {"rank": 3},
    "pa": {},
    "rw+lr": {"rank": 3},
    "rw+lr+pa": {"rank": 3},
}


def _stacks(x):
    for i, (width, stride) in enumerate(((8, 1), (16, 2))):
        for j in range(2):
            x = _bottleneck(x, width, stride if j == 0 else 1, j == 0)
    return x


def _bottleneck(x, width, stride, projects):
    shortcut = x
    if projects:
        shortcut = layers.Conv2D(4 * width, 1, stride)(x)
        shortcut = layers.BatchNormalization()(shortcut)
    y = layers.Conv2D(width, 3, stride, padding="same")(x)
    y = layers.Activation("relu")(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(4 * width, 1)(y))
    return layers.Activation("relu")(layers.Add()([shortcut, y]))


def resnet():
    x = keras.Input((16, 16, 3))
    return keras.Model(x, _stacks(layers.Conv2D(8, 3, padding="same")(x)))


def llama():
    """Llama's blocks written with Keras' layers: f ends in a dense layer."""
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(32, 16)(tokens)
    for _ in range(2):
        h = layers.RMSNormalization()(x)
        h = layers.GroupQueryAttention(8, 2, 1)(h, h, use_causal_mask=True)
        x = layers.Add()([x, layers.Dense(16, use_bias=False)(h)])
        h = layers.RMSNormalization()(x)
        gate = layers.Dense(32, activation="silu", use_bias=False)(h)
        h = layers.Multiply()([gate, layers.Dense(32, use_bias=False)(h)])
        h = layers.Dropout(0.1)(layers.Dense(16, use_bias=False)(h))
        x = layers.Add()([x, h])
    return keras.Model(tokens, layers.Dense(32)(layers.RMSNormalization()(x)))


MODELS = {"ResNet": resnet, "Llama": llama}


def randomize(model, seed=0):
    """Statistics of batch normalisation too, all positive."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        value = ops.convert_to_numpy(variable)
        if keras.backend.is_float_dtype(variable.dtype) and value.ndim == 1:
            variable.assign(value + rng.uniform(0, 0.3, value.shape))


def converted(name, variant):
    keras.utils.set_random_seed(0)
    options = VARIANTS[variant]
    layer = keras_laurel.get(variant.split()[0], **options)
    model = keras_laurel.laurelize(MODELS[name](), layer)
    randomize(model)
    shake(model)
    return model


def assert_close(actual, expected):
    for y, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(y, e, rtol=0, atol=1e-5 * np.ptp(e))


@pytest.mark.parametrize(
    ("name", "variant"),
    rows(
        itertools.product(MODELS, VARIANTS),
        few=[(name, "rw+lr+pa") for name in MODELS],
    ),
)
def test_it_computes_the_same(name, variant, tmp_path):
    model = converted(name, variant)
    x = random_input(model)
    expected = outputs(model, x)
    before = [ops.convert_to_numpy(v) for v in model.variables]
    folded = keras_laurel.fold(model)
    assert_close(outputs(folded.model, x), expected)
    assert len(folded.connections) == 4
    assert not keras_laurel.laurel_layers(folded.model)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    folded.model.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras")
    assert_close(outputs(loaded, x), expected)


@once
def test_resnet50():
    """16 connections, whose f ends in a batch normalisation, 4 at shortcuts."""
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3))
    layer = keras_laurel.get("rw+lr+pa", rank=4)
    model = keras_laurel.laurelize(model, layer, verbose=False)
    randomize(model)
    shake(model)
    folded = keras_laurel.fold(model)
    assert len(folded.connections) == 16
    assert counts(model) == [16, 0]
    x = random_input(model)
    assert_close(outputs(folded.model, x), outputs(model, x))


def counts(model):
    folded = keras_laurel.fold(model)
    found = [x for one in folded.connections for x in one.folded]
    names = [x.partition(",")[0] for x in found]
    return [names.count("alpha"), names.count("beta")]


@pytest.mark.parametrize(
    ("variant", "betas"),
    [("rw", 2), ("rw per channel", 2), ("rw+lr", 0), ("rw+lr+pa", 0)],
)
def test_what_is_folded(variant, betas):
    """Alpha everywhere; beta at the ResNet's projections, which feed nothing
    else where there is neither a low-rank map nor history."""
    assert counts(converted("ResNet", variant)) == [4, betas]
    assert counts(converted("Llama", variant)) == [4, 0]


def connection(fx, x, layer=None, **of_model):
    y = (layer or keras_laurel.LaurelRW())([x, fx])
    model = keras.Model(x, y, **of_model)
    shake(model)
    return model


def shared(x):
    dense = layers.Dense(4)
    return dense(dense(x))


LEFT = {
    "an activation": (
        lambda x: layers.Dense(4, activation="relu")(x),
        {},
        "has an activation",
    ),
    "no weights": (lambda x: ops.relu(x), {}, "has no weights"),
    "shared": (shared, {}, "is called more than once"),
    "no scale": (
        lambda x: layers.BatchNormalization(scale=False)(x),
        {},
        "has no scale",
    ),
    "a norm on the augmentation": (
        lambda x: layers.Dense(4)(x),
        {"rank": 1, "normalize": "rms"},
        "it normalises",
    ),
    "a shared map": (
        lambda x: layers.Dense(4)(x),
        {"rank": 1, "num_activations": 2, "share_low_rank": True},
        "one low-rank map",
    ),
    "half precision": (
        lambda x: layers.Dense(4)(x),
        {"dtype": "bfloat16"},
        "computes in bfloat16",
    ),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_is_said(case):
    branch, options, reason = LEFT[case]
    x = keras.Input((4,))
    layer = keras_laurel.Laurel("softmax", **options)
    model = connection(branch(x), x, layer)
    folded = keras_laurel.fold(model)
    (one,) = folded.connections
    assert not any(x.startswith("alpha") for x in one.folded)
    assert reason in str(folded)
    data = random_input(model)
    assert_close(outputs(folded.model, data), outputs(model, data))


def test_a_branch_that_something_else_reads():
    x = keras.Input((4,))
    fx = layers.Dense(4, name="dense")(x)
    y = keras_laurel.LaurelRW()([x, fx])
    model = keras.Model(x, [y, fx])
    shake(model)
    folded = keras_laurel.fold(model)
    assert "something else reads what 'dense' makes" in str(folded)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="must be a `keras.Model`"):
        keras_laurel.fold(layers.Dense(4))
    with pytest.raises(ValueError, match="must have LAuReL layers"):
        keras_laurel.fold(resnet())


def test_connections_around_blocks():
    import keras_hub

    llama = keras_hub.models.LlamaBackbone(
        vocabulary_size=8,
        num_layers=1,
        hidden_dim=8,
        intermediate_dim=8,
        num_query_heads=2,
        num_key_value_heads=1,
    )
    llama = keras_laurel.laurelize(llama, keras_laurel.LaurelRW())
    with pytest.raises(ValueError, match="does not return it"):
        keras_laurel.fold(llama)
