"""Layers that are given x and f(x) and add them, those that hand on both, and
code that adds on either branch of `training`."""

import keras
from keras import layers
from keras import ops

from tests.conversion.inside.row import WIDTH
from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import image
from tests.conversion.inside.row import padded_tokens
from tests.conversion.inside.row import sequence


@keras.saving.register_keras_serializable(package="own_merges")
class CustomScale(layers.Layer):
    """That of InceptionResNetV2."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        return inputs[0] + inputs[1] * self.scale  # residual

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def inception_resnet():
    """The second is a projection, and the third no residual connection."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(WIDTH, 1)(inputs)
    h = layers.Conv2D(WIDTH, 3, padding="same", activation="relu")(x)
    h = layers.Conv2D(WIDTH, 1)(h)
    x = layers.ReLU()(CustomScale(0.2, name="first")([x, h]))
    skip = layers.BatchNormalization()(layers.Conv2D(6, 1, 2)(x))
    h = layers.Conv2D(6, 3, 2, padding="same", activation="relu")(x)
    h = layers.Conv2D(6, 3, padding="same")(h)
    x = CustomScale(0.5, name="second")([skip, h])
    a = layers.Dense(6, activation="relu")(x)
    b = layers.Dense(6, activation="tanh")(x)
    return keras.Model(inputs, Difference(name="third")([a, b]))


@keras.saving.register_keras_serializable(package="own_merges")
class Difference(layers.Layer):
    def call(self, inputs):
        return inputs[0] + -0.5 * inputs[1]


@keras.saving.register_keras_serializable(package="own_merges")
class DropPathAdd(layers.Layer):
    """KerasCV's StochasticDepth, its skip second."""

    def __init__(self, rate=0.3, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed = keras.random.SeedGenerator(3)

    def call(self, branch, skip, training=None):
        if training:
            shape = (ops.shape(branch)[0],) + (1,) * (branch.ndim - 1)
            kept = keras.random.uniform(shape, seed=self.seed) > self.rate
            branch = branch * ops.cast(kept, branch.dtype)
            return branch + skip  # residual right
        return skip + (1 - self.rate) * branch  # residual


@keras.saving.register_keras_serializable(package="own_merges")
class DropPathBlock(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.up = layers.Dense(16, activation="relu")
        self.down = layers.Dense(WIDTH)
        self.join = DropPathAdd()

    def build(self, input_shape):
        for part in (self.norm, self.up):
            part.build(input_shape)
        self.down.build((*input_shape[:-1], 16))

    def call(self, x):
        return self.join(self.down(self.up(self.norm(x))), x)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="own_merges")
class DropPaths(keras.Model):
    """It says nothing of `training`, and its layers know it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [DropPathBlock() for _ in range(2)]

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@keras.saving.register_keras_serializable(package="own_merges")
class EitherBranch(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(WIDTH, activation="tanh")
        self.drop = layers.Dropout(0.3)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x, training=None):
        fx = self.dense(x)
        if training:
            y = self.drop(fx, training=True)
            return y + x  # residual right
        return x + fx  # residual

    def compute_output_shape(self, input_shape):
        return input_shape


def either_branch():
    inputs = keras.Input((None, WIDTH))
    x = inputs
    for name in "ab":
        x = EitherBranch(name=name)(x)
    return keras.Model(inputs, x)


@keras.saving.register_keras_serializable(package="own_merges")
class AddNorm(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add = layers.Add()
        self.norm = layers.LayerNormalization()
        self.supports_masking = True

    def call(self, x, fx):
        return self.norm(self.add([x, fx]))  # residual


@keras.saving.register_keras_serializable(package="own_merges")
class Encoder(keras.Model):
    """Functional models beside layers of its own, and a scaled embedding."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(16, WIDTH, mask_zero=True)
        self.attention = [layers.MultiHeadAttention(2, 4) for _ in range(2)]
        self.joins = [AddNorm() for _ in range(2)]
        self.mlps = [self.mlp() for _ in range(2)]

    def mlp(self):
        x = keras.Input((None, WIDTH))
        h = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
        y = layers.Add()([x, layers.Dense(WIDTH)(h)])  # residual
        return keras.Model(x, y)

    def call(self, ids):
        x = self.embedding(ids) * WIDTH**0.5
        for attention, join, mlp in zip(self.attention, self.joins, self.mlps):
            x = mlp(join(x, attention(x, x)))
        return x


@keras.saving.register_keras_serializable(package="own_merges")
class MambaBlock(layers.Layer):
    """It adds what the last block computed to the stream beside it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.mix = layers.Dense(WIDTH, activation="tanh")

    def build(self, input_shape):
        self.norm.build(input_shape)
        self.mix.build(input_shape)

    def call(self, x, residual=None):
        if residual is None:
            residual = x
        else:
            residual = x + residual  # residual right
        return self.mix(self.norm(residual)), residual


@keras.saving.register_keras_serializable(package="own_merges")
class MambaStage(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [MambaBlock() for _ in range(2)]

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)

    def call(self, x, residual=None):
        for block in self.blocks:
            x, residual = block(x, residual)
        return {"x": x, "residual": residual}


@keras.saving.register_keras_serializable(package="own_merges")
class Mamba(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stages = [MambaStage() for _ in range(2)]
        self.norm = layers.LayerNormalization()

    def call(self, x):
        state = {"x": x}
        for stage in self.stages:
            state = stage(**state)
        return self.norm(state["x"] + state["residual"])  # residual right


@keras.saving.register_keras_serializable(package="own_merges")
class Both(layers.Layer):
    """Returns its branch, and its input twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(WIDTH, activation="tanh")

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return x, self.dense(x), x


def handed_on():
    """One layer for two blocks, and a product that is no residual."""
    inputs = x = keras.Input((None, WIDTH))
    both = Both(name="both")
    for _ in range(2):
        skip, branch, _ = both(x)
        x = skip + branch  # residual
    _, branch, skip = Both(name="last")(x)
    return keras.Model(inputs, layers.Multiply()([branch, skip]))


ROWS = {
    "inception resnet": Row(
        inception_resnet,
        image,
        ("first", "second"),
        history=False,
        any_length=False,
    ),
    "drop paths": Row(DropPaths, sequence, ("blocks.0.join", "blocks.1.join")),
    "either branch": Row(either_branch, sequence, ("a", "b")),
    "mamba": Row(
        Mamba,
        sequence,
        ("stages.0.blocks.1", *each("stages.1.blocks", 1, 1), ""),
    ),
    "handed on": Row(handed_on, sequence, ("", "")),
    "encoder of parts": Row(
        Encoder,
        padded_tokens,
        ("joins.0", "mlps.0", "joins.1", "mlps.1"),
        history=False,
    ),
}
