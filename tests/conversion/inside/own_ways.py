"""The many ways to hold a block and to call it."""

import keras
from keras import layers
from keras import ops

from tests.conversion.inside.row import WIDTH
from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import sequence


@keras.saving.register_keras_serializable(package="own_ways")
class Block(layers.Layer):
    """The simplest; it learns its width from what it is called on."""

    def build(self, input_shape):
        self.up = layers.Dense(16, activation="gelu")
        self.down = layers.Dense(input_shape[-1])
        self.up.build(input_shape)
        self.down.build((*input_shape[:-1], 16))

    def call(self, x):
        return x + self.down(self.up(x))  # residual

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="own_ways")
class SharedBlock(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = Block()
        self.head = layers.Dense(3)

    def call(self, x):
        for _ in range(3):
            x = self.block(x)
        return self.head(x)


@keras.saving.register_keras_serializable(package="own_ways")
class Containers(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.listed = [Block(), Block()]
        self.named = {"a": Block(), "b": [Block()]}
        self.paired = (layers.Dense(WIDTH), Block())
        self.chained = keras.Sequential([Block(name="one"), Block(name="two")])

    def call(self, x):
        for block in self.listed:
            x = block(x)
        x = self.named["b"][0](self.named["a"](x))
        for block in self.paired:
            x = block(x)
        return self.chained(x)


def sequential():
    return keras.Sequential(
        [keras.Input((None, WIDTH)), *[Block(name=f"b{i}") for i in range(3)]]
    )


def time_distributed():
    inputs = keras.Input((6, WIDTH))
    x = layers.TimeDistributed(Block(name="inner"), name="each_step")(inputs)
    return keras.Model(inputs, layers.Dense(3)(x))


@keras.saving.register_keras_serializable(package="own_ways")
class ScoredBlock(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 4)
        self.norm = layers.LayerNormalization()

    def call(self, x, training=False):
        attended, scores = self.attention(
            x, x, return_attention_scores=True, training=training
        )
        return self.norm(x + attended), scores  # residual


@keras.saving.register_keras_serializable(package="own_ways")
class Scored(keras.Model):
    """Returns what it computed and how it attended."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [ScoredBlock() for _ in range(2)]

    def call(self, x, training=False):
        all_scores = []
        for block in self.blocks:
            x, scores = block(x, training=training)
            all_scores.append(scores)
        return x, tuple(all_scores)


@keras.saving.register_keras_serializable(package="own_ways")
class Router(layers.Layer):
    """Adds a loss, and counts its own steps."""

    def __init__(self, width=WIDTH, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.gate = layers.Dense(width, activation="sigmoid")
        self.value = layers.Dense(width)

    def build(self, input_shape):
        self.counter = self.add_weight(
            name="counter", shape=(), initializer="zeros", trainable=False
        )
        self.gate.build(input_shape)
        self.value.build(input_shape)

    def call(self, x):
        self.counter.assign_add(1.0)
        gate = self.gate(x)
        self.add_loss(0.01 * ops.mean(gate))
        return x + gate * self.value(x)  # residual

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def router():
    inputs = keras.Input((None, WIDTH))
    x = Router(name="router")(inputs)
    return keras.Model(inputs, layers.Dense(3)(x))


@keras.saving.register_keras_serializable(package="own_ways")
class FunctionalInside(layers.Layer):
    """A layer that builds a functional model and runs it."""

    def build(self, input_shape):
        inputs = keras.Input(input_shape[1:])
        x = layers.Dense(16, activation="relu")(inputs)
        x = layers.Dense(input_shape[-1])(x)
        outputs = layers.Add()([inputs, x])  # residual
        self.net = keras.Model(inputs, outputs, name="net")

    def call(self, x):
        return 2.0 * self.net(x)


def functional_inside():
    inputs = keras.Input((None, WIDTH))
    return keras.Model(inputs, FunctionalInside(name="wrapped")(inputs))


@keras.saving.register_keras_serializable(package="own_ways")
class Own(keras.Model):
    """A class of one's own over a graph, as for a `train_step`."""

    def train_step(self, *args, **kwargs):
        return super().train_step(*args, **kwargs)


def own_functional():
    inputs = keras.Input((None, WIDTH))
    x = layers.Dense(WIDTH)(inputs)
    x = Block(name="block")(x)
    h = layers.LayerNormalization()(x)
    x = x + layers.Dense(WIDTH, activation="tanh")(h)  # residual
    return Own(inputs, layers.Dense(3)(x))


@keras.saving.register_keras_serializable(package="own_ways")
class TrainingBranches(keras.Model):
    """An auxiliary head and noise in training alone."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block1, self.block2 = Block(), Block()
        self.dense = layers.Dense(WIDTH, activation="relu")
        self.noise = layers.GaussianNoise(0.1)
        self.aux_head = layers.Dense(3)
        self.head = layers.Dense(3)

    def build(self, input_shape):
        parts = self.block1, self.block2, self.dense, self.aux_head, self.head
        for part in parts:
            part.build(input_shape)

    def call(self, x, training=False):
        x = self.block1(x)
        if training:
            aux = self.aux_head(x)
            self.add_loss(0.1 * ops.mean(ops.square(aux)))
            branch = self.noise(self.dense(x), training=True)
        else:
            branch = self.dense(x)
        x = x + branch  # residual
        return self.head(self.block2(x))


@keras.saving.register_keras_serializable(package="own_ways")
class Normalized(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense1 = layers.Dense(16)
        self.bn = layers.BatchNormalization()
        self.dropout = layers.Dropout(0.3)
        self.dense2 = layers.Dense(WIDTH)

    def call(self, x):
        h = ops.relu(self.bn(self.dense1(x)))
        return x + self.dense2(self.dropout(h))  # residual


@keras.saving.register_keras_serializable(package="own_ways")
class Regularized(keras.Model):
    """BatchNorm and Dropout that nobody tells whether to train."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Normalized(), Normalized()]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@keras.saving.register_keras_serializable(package="own_ways")
class Inner(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(WIDTH, activation="tanh")

    def call(self, x):
        return x + self.dense(x)  # residual


@keras.saving.register_keras_serializable(package="own_ways")
class Middle(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = [Inner(), Inner()]
        self.out = layers.Dense(WIDTH)

    def call(self, x):
        h = self.inner[1](self.inner[0](x))
        return x + self.out(h)  # residual


@keras.saving.register_keras_serializable(package="own_ways")
class Nested(keras.Model):
    """A residual in the branch of a residual."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.middle = Middle()
        self.last = Inner()

    def call(self, x):
        return self.last(self.middle(x))


class Unsaved(layers.Layer):
    """Takes a layer and has no `get_config`."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, x):
        return x + self.layer(x)  # residual


class UnsavedModel(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Unsaved(layers.Dense(WIDTH)) for _ in range(2)]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@keras.saving.register_keras_serializable(package="own_ways")
class BranchesOnValues(layers.Layer):
    """Python asks a tensor's value, which a graph does not know."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(WIDTH)

    def call(self, x):
        if ops.convert_to_numpy(x).max() > 0:
            x = x + self.dense(x)
        return x


@keras.saving.register_keras_serializable(package="own_ways")
class ByValue(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.layer = BranchesOnValues()

    def call(self, x):
        return self.layer(x)


ROWS = {
    # One, though it runs three times.
    "shared": Row(SharedBlock, sequence, ("block",), history=False),
    "containers": Row(
        Containers,
        sequence,
        ("listed.0", "listed.1", "named.a", "named.b.0", "paired.1")
        + ("one", "two"),
        history=False,
    ),
    "sequential": Row(sequential, sequence, ("b0", "b1", "b2")),
    "time distributed": Row(
        time_distributed, sequence, ("inner",), any_length=False, history=False
    ),
    "scores": Row(Scored, sequence, each("blocks", 1, 1), fits=False),
    "router": Row(router, sequence, ("router",)),
    "functional inside": Row(functional_inside, sequence, ("wrapped",)),
    # The block's, and the graph's own.
    "own functional": Row(
        own_functional, sequence, ("block", ""), history=False
    ),
    # The second is one addition, whichever way its branch went.
    "training branches": Row(
        TrainingBranches, sequence, ("block1", "", "block2")
    ),
    "regularized": Row(Regularized, sequence, each("blocks", 1, 1)),
    # In run order: the outer addition comes after those of its branch.
    "nested": Row(
        Nested,
        sequence,
        ("middle.inner.0", "middle.inner.1", "middle", "last"),
        history=False,
    ),
    "unsaved": Row(UnsavedModel, sequence, each("blocks", 1, 1), saves=False),
    "by value": Row(ByValue, sequence, fits=False, refused="BranchesOnValues"),
}
