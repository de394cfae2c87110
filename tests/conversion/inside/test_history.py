"""Opened layers read the activations that the same graph would give them."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers

import keras_laurel
from keras_laurel import Laurel
from keras_laurel import LaurelPA
from tests.backends import rows
from tests.conversion.inside.running import perturb
from tests.conversion.inside.running import run


@keras.saving.register_keras_serializable("test_history")
class Block(layers.Layer):
    def __init__(self, number, **kwargs):
        super().__init__(**kwargs)
        self.number = number
        self.f = layers.Dense(6, activation="tanh")
        self.add = layers.Add(name=f"join_{number}")

    def build(self, shape):
        self.f.build(shape)
        self.built = True

    def call(self, x):
        return self.add([x, self.f(x)])

    def in_graph(self, x):
        return Block.call(self, x)

    def get_config(self):
        return {**super().get_config(), "number": self.number}


@keras.saving.register_keras_serializable("test_history")
class Pair(layers.Layer):
    """Two streams side by side, each with a block of its own."""

    def __init__(self, number, **kwargs):
        super().__init__(**kwargs)
        self.number = number
        self.first, self.second = Block(number), Block(number + 1)

    def build(self, x_shape, y_shape):
        self.first.build(x_shape)
        self.second.build(y_shape)
        self.built = True

    def call(self, x, y):
        return self.first(x), self.second(y)

    def in_graph(self, x, y):
        return self.first.in_graph(x), self.second.in_graph(y)

    def get_config(self):
        return {**super().get_config(), "number": self.number}


def one_after_another(block, x):
    x = x[:, :6]
    for i in range(4):
        x = block(Block, i)(x)
    return x


def towers_in_turn(block, x):
    a, b = x[:, :6], x[:, 6:]
    for i in range(3):
        a, b = block(Block, 2 * i)(a), block(Block, 2 * i + 1)(b)
    return layers.Concatenate()([a, b])


def towers_and_a_trunk(block, x):
    a, b = x[:, :6], x[:, 6:]
    for i in range(2):
        a = block(Block, i)(a)
    for i in range(2):
        b = block(Block, 2 + i)(b)
    x = layers.Multiply()([a, b])
    for i in range(2):
        x = block(Block, 4 + i)(x)
    return x


def two_from_one(block, x):
    x = block(Block, 0)(x[:, :6])
    a, b = block(Block, 1)(x), block(Block, 2)(x)
    return layers.Concatenate()([block(Block, 3)(a), block(Block, 4)(b)])


def pairs(block, x):
    a, b = x[:, :6], x[:, 6:]
    for i in range(3):
        a, b = block(Pair, 2 * i)(a, b)
    return layers.Concatenate()([b, a])


def pairs_that_cross(block, x):
    a, b = x[:, :6], x[:, 6:]
    for i in range(3):
        b, a = block(Pair, 2 * i)(a, b)
    return layers.Concatenate()([b, a])


LAYERS = [
    LaurelPA(3, name="pa"),
    Laurel("softmax", rank=2, num_activations="all", name="all"),
    Laurel(num_activations=2, first_activation=True, name="first"),
]


@keras.saving.register_keras_serializable("test_history")
class Named(Pair):
    """Two streams in a dict whose keys are not in the order of the alphabet."""

    def build(self, shapes):
        super().build(shapes["z"], shapes["a"])

    def call(self, streams):
        first, second = super().call(streams["z"], streams["a"])
        return {"z": first, "a": second}

    def in_graph(self, streams):
        first, second = super().in_graph(streams["z"], streams["a"])
        return {"z": first, "a": second}


def streams_in_a_dict(block, x):
    streams = {"z": x[:, :6], "a": x[:, 6:]}
    for i in range(3):
        streams = block(Named, 2 * i)(streams)
    return layers.Concatenate()([streams["a"], streams["z"]])


@keras.saving.register_keras_serializable("test_history")
class Around(Pair):
    """A skip around two blocks, as in RCAN."""

    def __init__(self, number, **kwargs):
        super().__init__(number, **kwargs)
        self.add = layers.Add(name=f"join_{number + 2}")

    def build(self, shape):
        super().build(shape, shape)

    def call(self, x):
        return self.add([x, self.second(self.first(x))])

    def in_graph(self, x):
        y = self.second.in_graph(self.first.in_graph(x))
        return self.add([x, y])


def residual_in_residual(block, x):
    x = x[:, :6]
    for i in range(3):
        x = block(Around, 3 * i)(x)
    return x


NETWORKS = [
    one_after_another,
    towers_in_turn,
    towers_and_a_trunk,
    two_from_one,
    pairs,
    pairs_that_cross,
    streams_in_a_dict,
    residual_in_residual,
]


def two_models(network):
    """One of layers of one's own, and one of the same layers as a graph."""
    blocks = {}

    def opened(cls, number):
        return blocks.setdefault(number, cls(number))

    def in_graph(cls, number):
        return opened(cls, number).in_graph

    inputs = keras.Input((12,))
    return [keras.Model(inputs, network(x, inputs)) for x in (opened, in_graph)]


@pytest.mark.parametrize(
    ("network", "layer"),
    rows(
        itertools.product(NETWORKS, LAYERS),
        few=[(network, LAYERS[0]) for network in NETWORKS],
    ),
    ids=lambda x: getattr(x, "__name__", None) or x.name,
)
def test_history_is_that_of_the_graph(network, layer):
    x = np.random.default_rng(0).normal(size=(5, 12)).astype("float32")
    model, graph = two_models(network)
    graph = keras_laurel.laurelize(graph, layer, verbose=False)
    model = keras_laurel.laurelize(model, layer, verbose=False)
    assert weights_of(model).keys() == weights_of(graph).keys()
    perturb(graph)
    for name, values in weights_of(graph).items():
        for mine, other in zip(weights_of(model)[name], values, strict=True):
            mine.assign(other)
    np.testing.assert_allclose(run(model, x), run(graph, x), atol=1e-6)


def weights_of(model):
    """The weights of each connection, by the number of its block."""
    return {
        layer.name.rpartition("_")[2]: layer.weights
        for layer in keras_laurel.laurel_layers(model)
    }


@pytest.mark.parametrize("network", NETWORKS[2:], ids=lambda x: x.__name__)
def test_history_is_kept_in_a_file(network, tmp_path):
    x = np.random.default_rng(0).normal(size=(5, 12)).astype("float32")
    model, _ = two_models(network)
    model = keras_laurel.laurelize(model, LaurelPA(3), verbose=False)
    perturb(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(run(loaded, x), run(model, x))


def test_one_tower_runs_by_itself():
    """A tower does not wait for the history of another one."""
    x = np.random.default_rng(0).normal(size=(5, 12)).astype("float32")
    model, _ = two_models(towers_in_turn)
    model = keras_laurel.laurelize(model, LaurelPA(3), verbose=False)
    perturb(model)
    (expected,) = run(model, x)
    blocks = [layer for layer in model.layers if isinstance(layer, Block)]
    for first, columns in ((0, slice(0, 6)), (1, slice(6, 12))):
        y = x[:, columns]
        for block in sorted(blocks, key=lambda b: b.number)[first::2]:
            y = block(y)
        y = keras.ops.convert_to_numpy(y)
        np.testing.assert_allclose(y, expected[:, columns], atol=1e-6)


class DeeplySupervised(keras.Model):
    """A head of its own has a block that runs in training only."""

    def __init__(self):
        super().__init__()
        self.first, self.head, self.last = Block(0), Block(1), Block(2)

    def call(self, x, training=False):
        x = self.first(x)
        if training:
            self.add_loss(keras.ops.mean(self.head(x) ** 2))
        return self.last(x)


@pytest.mark.filterwarnings("ignore:.*looks like it has unbuilt state")
def test_an_addition_in_training_only_has_no_part_in_the_history():
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    model = DeeplySupervised()
    model(x, training=True)
    model = keras_laurel.laurelize(model, LaurelPA(2), verbose=False)
    inputs = {
        number: weights[0].shape
        for number, weights in weights_of(model).items()
    }
    assert inputs == {"0": (1,), "1": (1,), "2": (2,)}
    model.compile("sgd", "mse")
    model.fit(x, x, verbose=0)
    for weights in weights_of(model).values():
        assert np.all(keras.ops.convert_to_numpy(weights[0]) != 0)
    run(model, x)
