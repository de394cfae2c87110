"""Methods that add, and that do not run in `call`, are named."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.backends import once

pytestmark = once
WIDTH = 8
X = np.ones((2, 6, WIDTH), "float32")


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.mix = layers.Dense(WIDTH)
        self.merge = layers.Add()
        self.feeds = {"one": [layers.Dense(WIDTH)]}
        self._prepare(3)

    def _prepare(self, width):
        self.out = layers.Dense(WIDTH) if width + WIDTH else None

    def call(self, x):
        x = x + self.mix(self.norm(x))
        x = self.merge([x, self.feeds["one"][0](x)])
        return self._last(x)

    def _last(self, x):
        return x + self.out(x)


class Stack(keras.Model):
    """Has no sites itself: its own addition is none, and its blocks have."""

    def __init__(self, block=Block):
        super().__init__()
        self.tokens, self.positions = layers.Dense(WIDTH), layers.Dense(WIDTH)
        self.blocks = [block() for _ in range(2)]
        self.norm = layers.LayerNormalization()

    def call(self, x):
        x = self.tokens(x) + self.positions(ops.ones_like(x))
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class TwoParts(keras.Model):
    """Has its sites in two methods."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(WIDTH), layers.Dense(WIDTH)

    def call(self, x):
        return self.decode(self.encode(x))

    def encode(self, x):
        return self._residual(x, self.first)

    def decode(self, x):
        return self._residual(ops.relu(x), self.second)

    def _residual(self, x, layer):
        return x + layer(x)

    def embed(self, x):
        return self.first(x)


class Graph(keras.Model):
    def __init__(self):
        x = keras.Input((6, WIDTH))
        dense = layers.Dense(WIDTH)
        super().__init__(x, x + dense(x))
        self.dense = dense


def add(x, fx):
    return x + fx


def decorated(method):
    def run(self, x):
        return method(self, x)

    return run


def cached(self, x, cache):
    return x + self.mix(ops.concatenate([cache, x], axis=1))


def in_place(self, x):
    x += self.mix(x)
    return x


def by_operation(self, x):
    return ops.add(x, self.mix(x))


def by_layer(self, x):
    return self.merge([x, self.mix(x)])


def by_function(self, x):
    return add(x, self.mix(x))


def by_helper_of_call(self, x):
    return self._last(x)


def by_own_helper(self, x):
    return self._cached(x)


def in_nested_function(self, x):
    return functools.reduce(lambda x, f: x + f(x), self.feeds["one"], x)


def in_a_list(self, xs):
    return [x + self.mix(x) for x in xs]


def of_an_alternative(self, x, plain=False):
    return x + (0 if plain else self.mix(x))


def by_call(self, x, steps=2):
    for _ in range(steps + 1):
        x = self(x)
    return x + self.call(x)


def without_addition(self, x, index=0):
    return self.mix(x[:, index + 1 :])


def without_layers(self, x, y):
    return x + y


ADDING = (
    cached,
    in_place,
    by_operation,
    by_layer,
    by_function,
    by_helper_of_call,
    in_nested_function,
    in_a_list,
    of_an_alternative,
    decorated(in_place),
)
OTHERS = (
    by_call,
    without_addition,
    without_layers,
    property(lambda self: self.mix(1) + self.mix(2)),
    staticmethod(cached),
)


def named(model):
    """Return the names of the methods in what `residual_sites` leaves out."""
    model(X)
    sites = keras_laurel.residual_sites(model)
    assert sites
    return [x.method for x in sites.left_out if x.method]


def subclass(base, **methods):
    return type("Own", (base,), methods)


@pytest.mark.parametrize("method", ADDING)
def test_a_method_of_a_layer_that_adds(method):
    assert named(Stack(subclass(Block, step=method))) == ["Own.step"]


@pytest.mark.parametrize("method", OTHERS)
def test_a_method_of_a_layer_that_adds_nothing(method):
    assert named(Stack(subclass(Block, step=method))) == []


def test_a_method_and_its_helper():
    own = subclass(Block, step=by_own_helper, _cached=cached)
    assert named(Stack(own)) == ["Own.step", "Own._cached"]
    own = subclass(Block, step=by_own_helper, _cached=property(cached))
    assert named(Stack(own)) == ["Own.step"]


@pytest.mark.parametrize("name", ["build_from_config", "add_loss", "__add__"])
def test_what_keras_runs(name):
    assert named(Stack(subclass(Block, **{name: cached}))) == []


def test_what_a_decorated_call_runs():
    own = subclass(Block, call=decorated(Block.call))
    assert named(Stack(own)) == []


def test_inherited_methods():
    class Base(Block):
        def step(self, x):
            return x + self.mix(x)

    class Own(Base):
        pass

    class Calling(Base):
        def step(self, x):
            return ops.relu(super().step(x))

    class Converted(Base):
        def step(self, x):
            return self(x)

    assert named(Stack(Own)) == ["Own.step"]
    assert named(Stack(Calling)) == ["Calling.step"]
    assert named(Stack(Converted)) == []


def test_what_a_base_of_keras_runs():
    class Own(layers.MultiHeadAttention):
        def __init__(self):
            super().__init__(2, 4)
            self.mix = layers.Dense(4)

        def _compute_attention(self, query, *args, **kwargs):
            y, scores = super()._compute_attention(query, *args, **kwargs)
            return query + self.mix(y), scores

    x = keras.Input((6, WIDTH))
    assert named(keras.Model(x, Own()(x, x))) == []


def through_blocks(self, x):
    x = self.tokens(x) + self.positions(x)
    for block in self.blocks:
        x = block(x)
    return self.norm(x)


def into_blocks(self, x):
    for block in self.blocks:
        x = x + block.mix(block.norm(x))
    return self.norm(x)


def by_helper_of_blocks(self, x):
    for block in self.blocks:
        x = block._last(x)
    return x


@pytest.mark.parametrize(
    ("method", "names"),
    [
        (through_blocks, []),
        (into_blocks, ["Own.run"]),
        (by_helper_of_blocks, ["Own.run"]),
    ],
)
def test_a_method_of_a_model_of_blocks(method, names):
    assert named(subclass(Stack, run=method)()) == names


def losing(self, x):
    return ops.mean(self.first(x)) + ops.mean(self.second(x))


def test_parts_of_the_call_of_a_model():
    """Those with sites: users call `encode` by itself, too."""
    assert named(TwoParts()) == ["TwoParts.encode", "TwoParts.decode"]
    own = subclass(TwoParts, train_step=losing, compute_loss=losing)
    assert named(own()) == ["Own.encode", "Own.decode"]


def test_a_class_over_a_graph():
    def run(self, x):
        return x + self.dense(x)

    assert named(Graph()) == []
    assert named(subclass(Graph, run=run)()) == ["Own.run"]


def convert(model, **options):
    return keras_laurel.laurelize(model, keras_laurel.LaurelRW(), **options)


def test_it_is_printed_with_place_and_reason(capsys):
    model = Stack(subclass(Block, step=cached))
    model(X)
    lines = str(keras_laurel.residual_sites(model)).splitlines()
    (line,) = [x for x in lines if "Own.step" in x]
    assert line.startswith(f"- blocks_0: {__file__}:")
    assert "without LAuReL, which runs in `call` only" in line
    convert(model)
    assert "add without LAuReL: `Own.step`. " in capsys.readouterr().out


def test_a_method_named_is_plain_and_another_is_not():
    own = subclass(Block, plain=by_helper_of_call, converted=by_call)
    model, x = Stack(own), ops.convert_to_tensor(X)
    model(x)
    block = model.blocks[0]
    before = block.plain(x), block.converted(x)
    for layer in keras_laurel.laurel_layers(convert(model, verbose=False)):
        layer.laurel_residual_weights.assign([0.3, 0.4])
    pairs = zip((block.plain(x), block.converted(x)), before)
    same = [np.array_equal(*map(ops.convert_to_numpy, x)) for x in pairs]
    assert same == [True, False]


def test_blocks_that_are_named(capsys):
    model = Stack(subclass(Block, step=cached))
    model(X)
    convert(model, blocks=model.blocks)
    assert "add without LAuReL: `Own.step`." in capsys.readouterr().out


def test_an_entry_point_of_blocks():
    own = subclass(Stack)
    keras_laurel.register_blocks(own, "blocks", entry_points=("call", "step"))
    assert named(own(subclass(Block, step=in_place))) == []
