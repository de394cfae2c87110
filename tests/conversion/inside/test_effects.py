"""What a `call` does and returns besides its sum stays as it was."""

import collections
import dataclasses

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.backends import once
from tests.conversion.inside.running import as_array

X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8, activation="tanh")

    def call(self, x):
        return x + self.dense(x)


def one(block):
    x = keras.Input((6, 8))
    return keras.Model(x, block(x))


def converted(model, **kwargs):
    return keras_laurel.laurelize(model, keras_laurel.LaurelRW(), **kwargs)


def reasons(model):
    return [
        (x.where, x.reason) for x in keras_laurel.residual_sites(model).left_out
    ]


class WithTable(Block):
    """PyTorch cannot run it for its shapes alone, and runs it again."""

    def __init__(self):
        super().__init__()
        self.table = ops.ones((6, 8))
        self.dropout = layers.Dropout(0.5)

    def call(self, x, training=None):
        return super().call(self.dropout(x) * self.table)


@pytest.mark.skipif(
    keras.config.backend() != "torch",
    reason="each layer has a random state of its own",
)
def test_looking_draws_no_random_numbers():
    model = one(WithTable())
    drawn = []
    for look in (lambda: None, lambda: keras_laurel.residual_sites(model)):
        keras.utils.set_random_seed(0)
        look()
        drawn.append(as_array(model(X, training=True)))
    np.testing.assert_array_equal(*drawn)


class Scored(Block):
    """Keeps what its users look at after a call."""

    def call(self, x):
        self.scores = {"rows": [ops.softmax(self.dense(x))]}
        return x + self.scores["rows"][0]


class ReturnsScores(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Scored(), Scored()]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x, block.scores["rows"][0]


def test_tensors_kept_in_attributes():
    block = Scored()
    model = one(block)
    model(X)
    before = block.scores
    keras_laurel.residual_sites(model)
    assert block.scores is before
    model = converted(model)
    assert block.scores is before
    for x in (X, X[:1]):
        y = as_array(model(x))
        np.testing.assert_array_equal(x + as_array(block.scores["rows"][0]), y)


def test_a_model_returns_tensors_that_its_layers_keep():
    model = ReturnsScores()
    expected = [as_array(y) for y in model(X)]
    model = converted(model)
    assert len(keras_laurel.laurel_layers(model)) == 2
    for actual, y in zip(model(X), expected, strict=True):
        np.testing.assert_array_equal(as_array(actual), y)


class Dropping(layers.Layer):
    """Passes on the `training` that it was given, which may be `None`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8, kernel_initializer="ones")
        self.dropout = layers.Dropout(0.5, seed=1)

    def call(self, x, training=None):
        return self.dropout(self.dense(x), training=training)


class Drops(layers.Layer):
    """Leaves `training` to Keras."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Dropping()
        self.dropout = layers.Dropout(0.5, seed=2)

    def call(self, x):
        return x + self.dropout(self.inner(x))


def test_training_reaches_the_layers_after_a_first_call():
    expected, actual = (
        as_array(model(X, training=True))
        for model in (one(Drops()), converted(one(Drops())))
    )
    np.testing.assert_array_equal(actual, expected)
    assert (actual == X).mean() > 0.5  # Dropped twice, each time half.


def test_the_first_call_draws_the_same_random_numbers():
    """Also on PyTorch, where Keras' dropout has no state of its own."""
    outputs = []
    for convert in (lambda model: model, converted):
        keras.utils.set_random_seed(0)
        model = convert(
            keras.Sequential([keras.Input((6, 8)), Drops(), Drops()])
        )
        keras.utils.set_random_seed(1)
        outputs.append(as_array(model(X, training=True)))
    np.testing.assert_array_equal(*outputs)


class AddsScores(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = Scored()

    def call(self, x):
        return self.block(x) + self.block.scores["rows"][0]


def test_tensors_that_a_layer_inside_keeps_are_not_read():
    model = AddsScores()
    model(X)
    (reason,) = [why for _, why in reasons(model)]
    assert "reads `scores`, a tensor that 'scored" in reason


class Output(collections.OrderedDict):
    def __getattr__(self, name):
        return self[name]


@dataclasses.dataclass
class Record:
    last: object
    first: object


class Returning(Block):
    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, x):
        return self.kind(last=super().call(x), first=x)


class Reading(keras.Model):
    def __init__(self, kind):
        super().__init__()
        self.block = Returning(kind)

    def call(self, x):
        return self.block(x).last


def test_other_mappings():
    model = Reading(Output)
    expected = as_array(model(X))
    model = converted(model)
    np.testing.assert_array_equal(as_array(model(X)), expected)
    assert type(model.block(X)) is Output
    model = one(block := Returning(collections.OrderedDict))
    model = converted(model)
    assert type(block(X)) is collections.OrderedDict


def test_what_hides_tensors_is_named():
    model = Reading(Record)
    model(X)
    ((where, reason),) = reasons(model)
    assert where == "block (Returning)" and "returns a `Record`" in reason


class Looping(Block):
    def __init__(self, loop):
        super().__init__()
        self.loop = loop
        self.inner = layers.Dense(8)

    def build(self, shape):
        self.dense.build(shape)
        self.inner.build(shape)

    def call(self, x):
        return self.loop(lambda h: h + self.inner(h), super().call(x))


LOOPS = {
    "ForiLoop": lambda f, x: ops.fori_loop(0, 2, lambda i, h: f(h), x),
    "Map": ops.map,
    "Scan": lambda f, x: ops.scan(lambda h, _: (f(h), h), x, length=2)[0],
    "VectorizedMap": ops.vectorized_map,
    "WhileLoop": lambda f, x: ops.while_loop(
        lambda i, h: i < 2, lambda i, h: (i + 1, f(h)), (0, x)
    )[1],
}


@once
@pytest.mark.parametrize("name", LOOPS)
def test_additions_in_loops_are_named(name):
    model = one(Looping(LOOPS[name]))
    ((_, reason),) = reasons(model)
    assert f"a function that `{name}` runs" in reason
    expected = as_array(model(X))
    np.testing.assert_array_equal(as_array(converted(model)(X)), expected)


class Deep(keras.Model):
    def __init__(self):
        super().__init__()
        self.near, self.far, self.plain = Block(), Block(), layers.Dense(8)

    def call(self, x, deep=False):
        x = self.near(x)
        return self.far(self.plain(x)) if deep else x


@once
def test_layers_that_do_not_run_are_named():
    model = Deep()
    model(X, deep=True)
    ((where, reason),) = reasons(model)
    assert where == "far (Block)" and "do not lead to this layer" in reason


class Distiller(keras.Model):
    """Its teacher runs in `compute_loss` only."""

    def __init__(self, teacher):
        super().__init__()
        self.student, self.teacher = one(Block()), teacher

    def call(self, x):
        return self.student(x)


def functional_teacher():
    x = inputs = keras.Input((6, 8))
    for _ in range(2):
        x = x + layers.Dense(8, activation="relu")(x)
    return keras.Model(inputs, x)


@once
@pytest.mark.parametrize(
    "make",
    [functional_teacher, lambda: keras.Sequential([Block(), Block()])],
)
def test_parts_that_do_not_run_are_named(make):
    model = Distiller(make())
    model.teacher(X), model(X)
    found = reasons(model)
    assert len(found) == 2
    for where, reason in found:
        assert where.startswith("teacher") and "do not lead to this" in reason


class Noisy(Block):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(0)

    def call(self, x):
        noise = keras.random.normal(ops.shape(x), seed=self.seed)
        return super().call(x * noise)


def test_what_keras_adds_in_its_own_code_is_not_named():
    image = keras.Input((3, 5, 5, 2))
    conv = layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True)
    model = keras.Model(image, layers.Add()([image, conv(image)]))
    for model in (one(Noisy()), model):
        sites = keras_laurel.residual_sites(model)
        assert len(sites) == 1 and not sites.left_out


class ResidualLSTM(layers.LSTM):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        y = super().call(sequences, initial_state, mask, training)
        return sequences + y


def test_a_recurrent_layer_that_adds_is_a_block():
    x = keras.Input((6, 8))
    layer = ResidualLSTM(8, return_sequences=True)
    model = keras.Model(x, layer(x))
    ((_, reason),) = reasons(model)
    assert "Keras runs a recurrent layer by functions" in reason
    assert "name it in `blocks=[...]`" in reason
    expected = as_array(model(X))
    model = converted(model, blocks=[layer])
    np.testing.assert_array_equal(as_array(model(X)), expected)


class Regularized(Block):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add = layers.Add(activity_regularizer="l2")

    def call(self, x):
        y = self.add([x, self.dense(x)])
        self.add_loss(0.1 * ops.mean(y))
        return y


def losses(model):
    return sorted(float(as_array(x)) for x in model.losses)


def test_losses_stay():
    model = one(Regularized())
    model(X)
    expected = losses(model)
    assert len(expected) == 2
    keras_laurel.residual_sites(model)
    assert losses(model) == expected
    model = converted(model)
    model(X)
    assert losses(model) == expected


@pytest.mark.parametrize("granularity", ["sublayer", "block"])
def test_frozen_layers_stay_frozen(granularity):
    blocks = [Block(), Block()]
    x = keras.Input((6, 8))
    model = keras.Model(x, blocks[1](blocks[0](x)))
    blocks[0].trainable = False
    model = converted(model, granularity=granularity)
    assert not blocks[0].trainable_weights
    assert len(model.trainable_weights) == 3
    (frozen,) = keras_laurel.laurel_layers(blocks[0])
    before = as_array(frozen.weights[0])
    model.compile("sgd", "mse")
    model.fit(X, X, verbose=0)
    np.testing.assert_array_equal(as_array(frozen.weights[0]), before)
    blocks[0].trainable = True
    assert len(model.trainable_weights) == 6


class Scaled(layers.Layer):
    """A skip with learned factors, in ways in which people write them."""

    def __init__(self, scaled):
        super().__init__()
        self.scaled = scaled

    def build(self, shape):
        self.scale = self.add_weight(shape=(8,), initializer="ones")
        self.up, self.down = layers.Dense(9, "relu"), layers.Dense(8)
        self.up.build(shape)
        self.down.build((*shape[:-1], 9))

    def call(self, x):
        return self.scaled(x, self.scale) + self.down(self.up(x))


SCALED = {
    "x * g": lambda x, g: x * g,
    "g * x": lambda x, g: g * x,
    "x / g": lambda x, g: x / g,
    "(1 + g) * x": lambda x, g: (1 + g) * x,
    "x * sigmoid(g)": lambda x, g: x * ops.sigmoid(g),
    "multiply(cast(g), x)": lambda x, g: ops.multiply(ops.cast(g, x.dtype), x),
    "sum of factors": lambda x, g: x * (ops.exp(g) / ops.sum(ops.exp(g))),
}


@once
@pytest.mark.parametrize("name", SCALED)
def test_skips_with_learned_factors(name):
    (site,) = keras_laurel.residual_sites(one(Scaled(SCALED[name])))
    assert site.kind == "projection"


@once
def test_additions_outside_of_blocks_are_named():
    class Half(Block):
        def call(self, x):
            return 0.5 * super().call(x)

    x = keras.Input((6, 8))
    model = keras.Model(x, Half(name="half")(Block(name="whole")(x)))
    sites = keras_laurel.residual_sites(model, granularity="block")
    assert [site.name for site in sites] == ["whole"]
    (left,) = sites.left_out
    assert left.where == "half/residual_1" and left.reason == "not in a block"
