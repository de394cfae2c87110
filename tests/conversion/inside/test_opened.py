"""Converted layers: what is asked for, and what is refused."""

import contextlib
import copy
import pickle

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from keras_laurel.layers import LaurelLR
from keras_laurel.layers import LaurelRW
from tests.conversion.inside.running import as_array
from tests.conversion.inside.running import perturb


@keras.saving.register_keras_serializable(package="test_opened")
class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.mix = layers.Dense(8)
        self.feed = keras.Sequential(
            [layers.Dense(16, activation="relu"), layers.Dense(8)]
        )

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.mix.build(input_shape)
        self.feed.build(input_shape)

    def call(self, x, extra=False):
        x = x + self.mix(self.norm(x))
        if extra:
            x = x + self.mix(x)
        return x + self.feed(x)


@keras.saving.register_keras_serializable(package="test_opened")
class Stack(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(16, 8)
        self.positions = layers.Embedding(16, 8)
        self.blocks = [Block() for _ in range(2)]
        self.head = layers.Dense(3)

    def build(self, input_shape):
        self.embedding.build(input_shape)
        self.positions.build(input_shape)
        for block in self.blocks:
            block.build((None, None, 8))
        self.head.build((None, None, 8))

    def call(self, tokens):
        x = self.embedding(tokens) + self.positions(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


TOKENS = np.arange(12).reshape(2, 6).astype("int32")


def stack():
    model = Stack()
    model(TOKENS)
    return model


def converted(layer=None, **options):
    options = {"verbose": False, **options}
    return keras_laurel.laurelize(stack(), layer or LaurelRW(), **options)


def outputs(model, x=TOKENS):
    return ops.convert_to_numpy(model(x))


def test_sites_print_as_a_table_with_what_is_left_out():
    sites = keras_laurel.residual_sites(stack())
    lines = repr(sites).splitlines()
    assert len(sites) == 4 and len(sites.left_out) == 1
    assert lines[0].split() == ["site", "kind", "input", "output", "skip"]
    assert lines[1].startswith("blocks_0/residual_1")
    assert "1 left out:" in lines
    assert "test_opened.py" in lines[-1] and "no operand leads" in lines[-1]


def test_one_line_says_how_many(capsys):
    keras_laurel.laurelize(stack(), LaurelRW())
    (line,) = capsys.readouterr().out.splitlines()
    assert "Converted 4 residual additions to LaurelRW" in line
    assert "left out 1 other addition" in line
    converted()
    assert not capsys.readouterr().out


def test_what_was_left_out_is_taken_on_request():
    model = stack()
    expected = outputs(model)
    (left_out,) = keras_laurel.residual_sites(model).left_out
    model = keras_laurel.laurelize(
        model, LaurelRW(), sites=[left_out], verbose=False
    )
    (layer,) = keras_laurel.laurel_layers(model)
    np.testing.assert_array_equal(outputs(model), expected)
    layer.laurel_residual_weights.assign([1.0, 0.0])
    assert not np.allclose(outputs(model), expected)


def test_the_layer_may_be_a_function_of_the_site():
    def choose(site):
        if site.name.startswith("blocks_1"):
            return LaurelLR(2) if site.name.endswith("1") else None
        return LaurelRW()

    model = converted(choose)
    kinds = [type(x).__name__ for x in keras_laurel.laurel_layers(model)]
    assert kinds == ["LaurelRW", "LaurelRW", "LaurelLR"]


@keras.saving.register_keras_serializable(package="test_opened")
class Unused(layers.Layer):
    """Its first sum is used in training only, its second never."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mix = layers.Dense(8)

    def call(self, x, training=False):
        in_training = x + self.mix(x)
        x + 2 * self.mix(x)
        y = x + 3 * self.mix(x)
        return ops.maximum(y, in_training) if training else y


def test_sums_that_nothing_uses_are_left_out():
    inputs = keras.Input((6, 8))
    model = keras.Model(inputs, Unused()(inputs))
    sites = keras_laurel.residual_sites(model)
    assert len(sites) == 2
    reasons = [x.reason for x in sites.left_out]
    assert reasons.count("its sum is not used") == 1
    keras_laurel.laurelize(model, LaurelRW(), verbose=False)
    for training in (False, True):
        y = model(np.ones((2, 6, 8)), training=training)
        assert np.isfinite(ops.convert_to_numpy(y)).all()


class WithSkip(layers.Layer):
    """A block of a temporal convolutional network, with a skip connection."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.branch = layers.Dense(8, activation="tanh")
        self.relu = layers.Activation("relu")

    def call(self, x):
        fx = self.branch(x)
        return self.relu(x + fx), fx


def with_skips(x):
    skips = []
    for number in range(3):
        x, skip = WithSkip(name=f"block_{number}")(x)
        skips.append(skip)
    return x, skips


def tower(names=None):
    """Return a functional model of three blocks that returns skips too."""
    x = inputs = keras.Input((6, 8))
    skips = []
    for _ in range(3):
        skips.append(layers.Dense(8, activation="tanh")(x))
        x = layers.Add()([x, skips[-1]])
    outputs = [x, *skips]
    return keras.Model(inputs, dict(zip(names, outputs)) if names else outputs)


class RunsTower(layers.Layer):
    def __init__(self):
        super().__init__()
        self.tower = tower("yabc")

    def call(self, x):
        return self.tower(x)["c"]


class Skips(layers.Layer):
    """Its blocks' skips, and what some layer makes of their last sum."""

    def __init__(self, last=None):
        super().__init__()
        self.blocks = [WithSkip(name=f"block_{i}") for i in range(3)]
        self.last = last or layers.Identity()

    def call(self, x):
        skips = []
        for block in self.blocks:
            x, skip = block(x)
            skips.append(skip)
        return self.last(x), skips


class AddsALoss(layers.Layer):
    def call(self, x):
        self.add_loss(ops.mean(x))
        return x


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


# What makes the outputs of a model, and how many blocks have a sum in use.
USES = {
    "graph": (lambda x: with_skips(x)[1], 2),
    "layer": (lambda x: Skips()(x)[1], 2),
    "one skip": (lambda x: Skips()(x)[1][1], 1),
    "dense": (lambda x: Skips(layers.Dense(2))(x)[1], 2),
    "own layer": (lambda x: Skips(Doubled())(x)[1], 2),
    "graph, with its sum": (with_skips, 3),
    "layer, with its sum": (lambda x: Skips()(x), 3),
    "nested model": (lambda x: tower()(x)[1:], 2),
    "nested model, with its sum": (lambda x: tower()(x), 3),
    "nested model, by name": (lambda x: tower("yabc")(x)["c"], 2),
    "models in models": (
        lambda x: keras.Sequential([keras.Model(x, tower()(x)[2])])(x),
        1,
    ),
    "model in a layer": (lambda x: RunsTower()(x), 2),
    "loss": (lambda x: Skips(AddsALoss())(x)[1], 3),
    "activity": (
        lambda x: Skips(layers.Identity(activity_regularizer="l2"))(x)[1],
        3,
    ),
}


@pytest.mark.parametrize("name", USES)
def test_sums_that_no_caller_uses_are_left_out(name):
    make, used = USES[name]
    x = keras.Input((6, 8))
    model = keras.Model(x, make(x))
    left_out = keras_laurel.residual_sites(model).left_out
    assert [x.reason for x in left_out] == ["its sum is not used"] * (3 - used)
    x = np.random.default_rng(0).normal(size=(2, 6, 8))
    expected = model(x)
    model = keras_laurel.laurelize(model, LaurelRW(), verbose=False)
    assert len(keras_laurel.laurel_layers(model)) == used
    keras.tree.map_structure(
        lambda y, z: np.testing.assert_array_equal(*map(as_array, (y, z))),
        model(x),
        expected,
    )


class Latents(layers.Layer):
    def build(self, shape):
        self.latents = self.add_weight(shape=(4, 8), name="latents")

    def call(self, x):
        return self.latents[None]


def cross_attention():
    """Return a model of one addition around an attention, and one more."""
    latents, data = keras.Input((4, 8)), keras.Input((6, 8))
    keys = layers.Dense(8)(data)
    h = layers.Attention()([layers.Dense(8)(latents), keys])
    h = layers.Add()([latents, h])
    return keras.Model([latents, data], h + layers.Dense(8)(h))


class Perceiver(keras.Model):
    def __init__(self, model):
        super().__init__()
        self.make, self.cross = Latents(), model

    def call(self, x):
        return self.cross([self.make(x), x])


def in_a_graph(model):
    x = keras.Input((6, 8))
    return keras.Model(x, model([Latents()(x), x]))


def in_a_model_in_a_graph(model):
    latents, data = keras.Input((4, 8)), keras.Input((6, 8))
    return in_a_graph(keras.Model([latents, data], model([1 * latents, data])))


@pytest.mark.parametrize("use", [Perceiver, in_a_graph, in_a_model_in_a_graph])
def test_additions_that_broadcast_in_a_nested_model_are_left_out(use):
    x = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    model = use(cross_attention())
    expected = model(x)
    found = keras_laurel.residual_sites(model, inputs=x)
    assert len(found) == 1
    assert [y.reason[:13] for y in found.left_out] == ["it broadcasts"]
    model = keras_laurel.laurelize(model, LaurelRW(), inputs=x, verbose=False)
    np.testing.assert_array_equal(*map(as_array, (model(x), expected)))


def test_a_function_that_returns_no_layer_is_refused():
    with pytest.raises(ValueError, match="must return a LAuReL layer"):
        converted(lambda site: 3)
    with pytest.raises(
        ValueError, match="None for every site, .* Return a layer"
    ):
        converted(lambda site: None)


@pytest.mark.parametrize("shape", [(2, 8), [None, 8], [(2, 8), (2, 4)]])
def test_a_shape_for_inputs_is_refused(shape):
    message = r"`inputs` must be a batch.*which is a shape.*`keras\.Input`"
    with pytest.raises(ValueError, match=message):
        keras_laurel.laurelize(Stack(), LaurelRW(), inputs=shape)


def test_granularity_block_goes_around_each_block(capsys):
    model = stack()
    expected = outputs(model)
    model = keras_laurel.laurelize(model, LaurelRW(), granularity="block")
    assert "Converted 2 blocks to LaurelRW." in capsys.readouterr().out
    assert len(keras_laurel.laurel_layers(model)) == 2
    np.testing.assert_array_equal(outputs(model), expected)


class Feed(layers.Layer):
    """Adds by itself, as in macaron blocks."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8, activation="relu")

    def call(self, x):
        return x + self.dense(x)


class Macaron(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.before, self.after = Feed(), Feed()
        self.mix = layers.Dense(8, activation="relu")

    def call(self, x):
        x = self.before(x)
        return self.after(x + self.mix(x))


class Group(layers.Layer):
    """A long skip around blocks, or none."""

    def __init__(self, blocks, long_skip, **kwargs):
        super().__init__(**kwargs)
        self.blocks, self.long_skip = blocks, long_skip

    def call(self, x):
        y = x
        for block in self.blocks:
            y = block(y)
        return x + y if self.long_skip else y


def test_of_blocks_in_blocks_the_outermost_counts():
    groups = [Group([Macaron(), Macaron()], skip) for skip in (True, False)]
    feeds = Group([Feed(), Feed()], False)
    inputs = keras.Input((6, 8))
    outputs = feeds(groups[1](groups[0](inputs)))
    model = keras.Model(inputs, outputs)
    sites = keras_laurel.residual_sites(model, granularity="block")
    blocks = [groups[0], *groups[1].blocks, *feeds.blocks]
    assert [site.node for site in sites] == blocks


def test_blocks_are_sites_to_choose_from():
    model = stack()
    first, second = keras_laurel.residual_sites(model, granularity="block")
    assert [first.name, second.name] == ["blocks_0", "blocks_1"]
    assert first.kind == "block" and first.input_shape == (None, None, 8)
    model = keras_laurel.laurelize(
        model, LaurelRW(), sites=[second], granularity="block", verbose=False
    )
    (layer,) = keras_laurel.laurel_layers(model)
    assert layer in model.blocks[1]._flatten_layers()
    with pytest.raises(ValueError, match="must hold residual sites of"):
        keras_laurel.laurelize(stack(), LaurelRW(), sites=[first])


@pytest.mark.parametrize("named", [False, True])
def test_each_block_may_have_a_layer_of_its_own(named, tmp_path):
    def choose(site):
        if site.name == ("block_1" if named else "blocks_1"):
            return keras_laurel.get("rw+lr+pa", rank=2, num_activations=2)
        return LaurelRW("sigmoid")

    model = stack()
    for i, block in enumerate(model.blocks):
        block.name = f"block_{i}"
    how = {"blocks": model.blocks} if named else {"granularity": "block"}
    model = keras_laurel.laurelize(model, choose, verbose=False, **how)
    first, second = keras_laurel.laurel_layers(model)
    assert (first.rank, second.rank) == (None, 2)
    assert second.num_inputs == 3
    second.laurel_b.assign(np.ones(second.laurel_b.shape))
    first.laurel_residual_weights.assign([1.0, 2.0])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs(loaded), outputs(model))


def test_a_block_that_runs_several_times_counts_each_time():
    model = Twice()
    x = np.ones((2, 6, 8), "float32")
    expected = outputs(model, x)
    model = keras_laurel.laurelize(
        model,
        keras_laurel.LaurelPA(3),
        granularity="application",
        verbose=False,
    )
    assert len(keras_laurel.laurel_layers(model)) == 4
    np.testing.assert_array_equal(outputs(model, x), expected)


class Twice(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block() for _ in range(2)]

    def call(self, x):
        for block in (*self.blocks, *self.blocks):
            x = block(x)
        return x


def test_other_additions_raise():
    model = converted()
    x = np.zeros((2, 6, 8), "float32")
    with pytest.raises(ValueError, match="Not seen at conversion.*test_opened"):
        model.blocks[0](x, extra=True)


def test_layers_out_of_turn_raise():
    model = converted(keras_laurel.LaurelPA(2))
    with pytest.raises(ValueError, match="connection 2 ran where 0"):
        model.blocks[1](np.zeros((2, 6, 8), "float32"))
    assert np.isfinite(outputs(model)).all()


@pytest.mark.skipif(
    keras.config.backend() == "tensorflow",
    reason="Keras' RematScope fails in TensorFlow's graphs",
)
@pytest.mark.parametrize("mode", ["full", "list_of_layers"])
def test_rematerialised_it_learns_the_same(mode):
    """Previous activations leave what is computed twice as tensors."""
    runs = []
    for scope in (contextlib.nullcontext(), remat(mode)):
        keras.utils.set_random_seed(0)
        with scope:
            blocks = [Block(name=f"block_{i}") for i in range(3)]
        x = inputs = keras.Input((6, 8))
        for block in blocks:
            x = block(x)
        model = keras.Model(inputs, x)
        layer = keras_laurel.get("rw+lr+pa", rank=2)
        keras_laurel.laurelize(model, layer, verbose=False)
        perturb(model)
        model.compile(keras.optimizers.SGD(1e-4), "mse")
        x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
        losses = [float(model.train_on_batch(x, x[::-1])) for _ in range(3)]
        runs.append((losses, model.get_weights()))
    (expected, weights), (losses, others) = runs
    assert expected[0] > expected[1] > expected[2]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    for one, other in zip(weights, others):
        np.testing.assert_allclose(one, other, atol=1e-6)


def remat(mode):
    names = [f"block_{i}" for i in range(3)]
    return keras.RematScope(mode=mode, layer_names=names)


@keras.saving.register_keras_serializable(package="test_opened")
class Task(keras.Model):
    """A graph over a model that stands in its config, as in KerasHub."""

    def __init__(self, backbone, **kwargs):
        inputs = keras.Input((6,), dtype="int32")
        super().__init__(inputs, layers.Dense(2)(backbone(inputs)), **kwargs)
        self.backbone = backbone

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {"backbone": backbone, "name": self.name}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)


def test_a_model_over_one_that_saves_its_own_connections(tmp_path):
    model = Task(stack())
    expected = outputs(model)
    model = keras_laurel.laurelize(
        model, keras_laurel.get("rw+lr+pa", rank=2), verbose=False
    )
    np.testing.assert_array_equal(outputs(model), expected)
    for layer in keras_laurel.laurel_layers(model):
        for weight in layer.weights:
            weight.assign(ops.convert_to_numpy(weight) + 0.1)
    for again in range(2):
        path = tmp_path / f"{again}.keras"
        model.save(path)
        loaded = keras.models.load_model(path)
        np.testing.assert_array_equal(outputs(loaded), outputs(model))
        model = loaded
    model = keras_laurel.remove_laurel(model)
    assert type(model) is Task and type(model.backbone) is Stack


@pytest.mark.parametrize("granularity", ["sublayer", "block"])
def test_removal_keeps_what_was_compiled(granularity):
    x, y = TOKENS, np.zeros((2, 6, 3), "float32")
    model = stack()
    model.compile("adam", "mse")
    model = keras_laurel.laurelize(
        model, LaurelRW(), granularity=granularity, verbose=False
    )
    model.fit(x, y, verbose=0)
    model = keras_laurel.remove_laurel(model)
    plain = stack()
    plain.set_weights(model.get_weights())
    np.testing.assert_array_equal(outputs(model), outputs(plain))
    model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="has no LAuReL layers"):
        keras_laurel.remove_laurel(model)


def test_removal_from_graphs_in_layers_and_layers_in_graphs():
    inputs = keras.Input((6, 8))
    graph = keras.Model(inputs, inputs + layers.Dense(8)(Block()(inputs)))
    for model in (graph, Holder(graph)):
        x = np.random.default_rng(0).normal(size=(2, 6, 8))
        expected = outputs(model, x)
        model = keras_laurel.laurelize(model, LaurelRW(), verbose=False)
        found = keras_laurel.laurel_layers(model)
        assert len(found) == 3
        for layer in found:
            layer.laurel_residual_weights.assign([1.0, 0.0])
        assert not np.allclose(outputs(model, x), expected)
        model = keras_laurel.remove_laurel(model)
        assert keras_laurel.laurel_layers(model) == []
        np.testing.assert_array_equal(outputs(model, x), expected)


class Holder(keras.Model):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def call(self, x):
        return 2 * self.graph(x)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_copies(copied):
    model = converted(keras_laurel.get("rw+lr+pa", rank=2))
    for layer in keras_laurel.laurel_layers(model):
        for weight in layer.weights:
            weight.assign(ops.convert_to_numpy(weight) + 0.1)
    other = copied(model)
    other = pickle.loads(other) if isinstance(other, bytes) else other
    np.testing.assert_array_equal(outputs(other), outputs(model))


def test_an_unbuilt_model_asks_for_inputs():
    with pytest.raises(ValueError, match="Pass an example"):
        keras_laurel.laurelize(Stack(), LaurelRW())
    model = keras_laurel.laurelize(
        Stack(), LaurelRW(), inputs=keras.Input((6,), dtype="int32")
    )
    assert len(keras_laurel.laurel_layers(model)) == 4


def test_a_failure_changes_nothing():
    model = stack()
    before = [type(x) for x in model._flatten_layers()]
    with pytest.raises(ValueError, match="does not fit the site"):
        keras_laurel.laurelize(model, LaurelLR(rank=9))
    assert [type(x) for x in model._flatten_layers()] == before
    assert not keras_laurel.laurel_layers(model)


def test_a_layer_saved_without_its_predecessors_says_so(tmp_path):
    model = converted(keras_laurel.LaurelPA(2))
    inputs = keras.Input((6, 8))
    part = keras.Sequential([inputs, model.blocks[1]])
    part.save(tmp_path / "part.keras")
    part = keras.models.load_model(tmp_path / "part.keras")
    with pytest.raises(ValueError, match="connection 2 ran where 0"):
        part(np.zeros((2, 6, 8), "float32"))
