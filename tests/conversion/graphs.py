"""Small graphs, each with one thing that a search may get wrong.

`FOUND` have residual additions, `LEFT_ALONE` have additions that are none.
"""

import keras
from keras import layers
from keras import ops

from tests.conversion.zoo import Row

D = 8
IMAGE = (8, 8, D)


def f(x, width=D):
    x = layers.Dense(2 * width, activation="gelu")(x)
    return layers.Dense(width)(x)


def conv(x, width=D, strides=1, activation="relu", **kwargs):
    return layers.Conv2D(
        width, 3, strides, padding="same", activation=activation, **kwargs
    )(x)


def block_model(name=None):
    x = keras.Input((4, D))
    y = layers.Add()([x, f(x)])
    return keras.Model(x, y, name=name)


def dense_blocks(count=3, **kwargs):
    x = inputs = keras.Input((4, D))
    for _ in range(count):
        x = layers.Add(**kwargs)([x, f(x)])
    return keras.Model(inputs, x)


def shared_add():
    add = layers.Add(name="shared")
    x = inputs = keras.Input((4, D))
    for _ in range(3):
        x = add([x, f(x)])
    return keras.Model(inputs, x)


def nested():
    x = keras.Input((4, D))
    y = layers.Dense(3)(block_model("inner")(x))
    return keras.Model(x, y, name="outer")


def sequential_of_functionals():
    return keras.Sequential(
        [keras.Input((4, D)), block_model(), block_model(), layers.Dense(3)]
    )


def siamese():
    encoder = block_model("encoder")
    left, right = keras.Input((4, D)), keras.Input((4, D))
    y = layers.Concatenate()([encoder(left), encoder(right)])
    return keras.Model([left, right], y)


def transformer():
    x = inputs = keras.Input((None, D))
    h = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(h, h)])
    h = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.Dropout(0.1)(f(h))])
    return keras.Model(inputs, x)


def post_norm_transformer():
    x = inputs = keras.Input((None, D))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    x = layers.LayerNormalization()(x)
    x = layers.LayerNormalization()(layers.Add()([x, f(x)]))
    return keras.Model(inputs, x)


def cross_attention():
    x, context = keras.Input((4, D)), keras.Input((6, D))
    h = layers.LayerNormalization()(x)
    y = x + layers.MultiHeadAttention(2, 4)(h, context)
    return keras.Model([x, context], y)


def self_and_cross_attention_on_one_input():
    """The context is made from the skip too."""
    x = inputs = keras.Input((4, D))
    context = f(x)
    y = x + layers.MultiHeadAttention(2, 4)(x, context)
    return keras.Model(inputs, [y, context])


def operators():
    x = inputs = keras.Input((4, D))
    x = x + f(x)
    x = f(x) + x
    x = ops.add(x, f(x))
    x += 0.5 * f(x)
    return keras.Model(inputs, x)


def channels_first():
    x = inputs = keras.Input((D, 8, 8))
    h = conv(x, data_format="channels_first")
    x = layers.Add()([x, layers.BatchNormalization(axis=1)(h)])
    return keras.Model(inputs, x)


def dynamic_image():
    x = inputs = keras.Input((None, None, 3))
    x = conv(x)
    x = layers.Add()([x, conv(conv(x))])
    shortcut = conv(x, 2 * D, 2, activation=None)
    x = layers.Add()([conv(conv(x, 2 * D, 2), 2 * D), shortcut])
    return keras.Model(inputs, x)


def multi_output_nested():
    x = keras.Input((4, D))
    inner = keras.Model(x, [f(x), layers.Add()([x, f(x)])])
    x = inputs = keras.Input((4, D))
    first, second = inner(x)
    x = layers.Add()([x, first])
    return keras.Model(inputs, {"a": x, "b": second})


def split():
    x = inputs = keras.Input((4, 2 * D))
    rest, x = ops.split(x, 2, axis=-1)
    x = x + f(x)
    return keras.Model(inputs, layers.Concatenate()([rest, x]))


def parallel_branches_inside():
    x = inputs = keras.Input((4, D))
    x = layers.Add()([x, layers.Add()([f(x), f(x)])])
    return keras.Model(inputs, x)


def residual_in_residual():
    x = inputs = keras.Input(IMAGE)
    for _ in range(2):
        x = layers.Add()([x, conv(conv(x))])
    x = layers.Add()([inputs, conv(x)])
    return keras.Model(inputs, x)


def squeeze_excite():
    x = inputs = keras.Input(IMAGE)
    h = conv(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(h)
    gate = layers.ReLU(6.0)(layers.Conv2D(D, 1)(gate) + 3.0) / 6.0
    x = layers.Add()([layers.Multiply()([h, gate]), x])
    return keras.Model(inputs, x)


def mixer():
    x = inputs = keras.Input((16, D))
    h = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Permute((2, 1))(f(h, 16))])
    return keras.Model(inputs, x)


def projections():
    x = inputs = keras.Input((4, D))
    x = layers.Add()([layers.Dense(12)(x), f(x, 12)])
    x = layers.Add()([f(x, 16), layers.Dense(16)(x)])
    return keras.Model(inputs, x)


def pooled():
    x = inputs = keras.Input(IMAGE)
    shortcut = layers.MaxPooling2D(1, strides=2)(x)
    x = layers.Add()([shortcut, conv(conv(x, strides=2))])
    return keras.Model(inputs, x)


def recurrent():
    x = inputs = keras.Input((4, D), batch_size=2)
    lstm = layers.LSTM(D, return_sequences=True, stateful=True, name="lstm")
    x = layers.Add()([x, lstm(x)])
    return keras.Model(inputs, x)


def subclassed_branch():
    x = inputs = keras.Input((None, D))
    x = layers.Add()([x, FeedForward()(x)])
    return keras.Model(inputs, x)


@keras.saving.register_keras_serializable(package="tests")
class FeedForward(layers.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1],) * 2)

    def call(self, x):
        return ops.tanh(ops.matmul(x, self.kernel))


class CountsSteps:
    """Mixin with its own `train_step`, as users' classes of models have."""

    steps = 0

    def train_step(self, *args, **kwargs):
        self.steps += 1
        return super().train_step(*args, **kwargs)


class MadeOfAWidth(CountsSteps):
    """A class whose config is the argument of its constructor."""

    def get_config(self):
        return {"width": self.width, "name": self.name}


@keras.saving.register_keras_serializable(package="tests")
class OwnFunctional(CountsSteps, keras.Model):
    pass


@keras.saving.register_keras_serializable(package="tests")
class OwnConstructor(MadeOfAWidth, keras.Model):
    def __init__(self, width=D, **kwargs):
        x = keras.Input((4, width))
        super().__init__(x, layers.Add()([f(x, width), x]), **kwargs)
        self.width = width


@keras.saving.register_keras_serializable(package="tests")
class OwnSequential(CountsSteps, keras.Sequential):
    pass


@keras.saving.register_keras_serializable(package="tests")
class OwnSequentialConfig(MadeOfAWidth, keras.Sequential):
    def __init__(self, width=D, **kwargs):
        x = keras.Input((4, width))
        block = keras.Model(x, layers.Add()([f(x, width), x]))
        super().__init__([keras.Input((4, width)), block], **kwargs)
        self.width = width

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def own_functional():
    """The branch stands first, so that order matters."""
    x = keras.Input((4, D))
    return OwnFunctional(x, layers.Add()([f(x), x]))


def own_constructor():
    return OwnConstructor()


def own_sequential():
    return OwnSequential(sequential_of_functionals().layers)


def own_sequential_config():
    return OwnSequentialConfig()


OWN = (own_functional, own_constructor, own_sequential, own_sequential_config)


def sum_of_three():
    x = keras.Input((4, D))
    return keras.Model(x, layers.Add()([x, f(x), f(x)]))


FOUND = {
    "dense blocks": Row(dense_blocks, 3),
    "shared add": Row(shared_add, 3),
    "nested": Row(nested, 1),
    "sequential of functionals": Row(sequential_of_functionals, 2),
    "siamese": Row(siamese, 1),
    "transformer": Row(transformer, 2),
    "post-norm transformer": Row(post_norm_transformer, 2),
    "cross attention": Row(cross_attention, 1),
    "attention to oneself": Row(self_and_cross_attention_on_one_input, 1),
    "operators": Row(operators, 4),
    "channels first": Row(channels_first, 1),
    "dynamic image": Row(dynamic_image, 1, 1),
    "multi-output nested": Row(multi_output_nested, 2),
    "split": Row(split, 1),
    "parallel branches inside": Row(parallel_branches_inside, 1, rejected=1),
    "residual in residual": Row(residual_in_residual, 3),
    "squeeze-excite": Row(squeeze_excite, 1, rejected=1),
    "mixer": Row(mixer, 1),
    "projections": Row(projections, 0, 2),
    "pooled": Row(pooled, resampled=1),
    "recurrent": Row(recurrent, 1),
    "sum of three": Row(sum_of_three, 1),
    "subclassed branch": Row(subclassed_branch, 1),
}


@keras.saving.register_keras_serializable(package="tests")
class Position(layers.Layer):
    """Reads the shape of its input, of at most four steps."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=(4, input_shape[-1]))

    def call(self, x):
        steps = ops.shape(x)[1]
        table = ops.convert_to_tensor(self.table)[:steps]
        return ops.broadcast_to(table, ops.shape(x))

    def compute_output_shape(self, input_shape):
        return input_shape


def short_position_embedding():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(16, D)(tokens)
    return keras.Model(tokens, x + Position()(x))


def position_embedding():
    import keras_hub

    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(16, D)(tokens)
    position = keras_hub.layers.PositionEmbedding(sequence_length=16)(x)
    return keras.Model(tokens, layers.Add()([x, position]))


def u_net(up=lambda: layers.UpSampling2D(), size=8):
    def build():
        x = inputs = keras.Input((size, size, 3))
        skip = conv(x)
        x = up()(conv(conv(skip, strides=2)))
        return keras.Model(inputs, conv(layers.Add()([skip, x])))

    return build


def feature_pyramid():
    """Top-down and bottom-up, as in a path aggregation network."""
    x = keras.Input((16, 16, 3))
    c3 = conv(x, strides=2)
    c4 = conv(c3, 2 * D, strides=2)
    p4 = layers.Conv2D(D, 1)(c4)
    p3 = layers.Add()([layers.Conv2D(D, 1)(c3), layers.UpSampling2D()(p4)])
    n4 = layers.Add()([p4, conv(p3, strides=2)])
    return keras.Model(x, [p3, n4])


def high_resolution_fusion():
    x = keras.Input((16, 16, 3))
    high = conv(x)
    low = conv(conv(high, 2 * D, strides=2), 2 * D)
    up = layers.UpSampling2D()(layers.Conv2D(D, 1)(low))
    down = conv(high, 2 * D, strides=2, activation=None)
    return keras.Model(x, [layers.Add()([high, up]), layers.Add()([low, down])])


def constant():
    x = keras.Input((4, D))
    h = f(x)
    return keras.Model(x, h + 1.0 + ops.ones((4, D)))


def parallel():
    x = keras.Input((4, D))
    return keras.Model(x, layers.Add()([f(x), f(x)]))


def parallel_linear():
    x = keras.Input((4, D))
    y = layers.Add()([layers.Dense(D)(x), layers.Dense(D)(x)])
    return keras.Model(x, y)


def doubled():
    x = keras.Input((4, D))
    h = f(x)
    return keras.Model(x, h + h)


def unlearned():
    x = keras.Input((4, D))
    return keras.Model(x, layers.Add()([x, layers.ReLU()(x)]))


def highway():
    x = keras.Input((4, D))
    gate = layers.Dense(D, activation="sigmoid")(x)
    return keras.Model(x, gate * f(x) + (1.0 - gate) * x)


def crossing():
    """The coupling of a reversible network."""
    x = keras.Input((4, 2 * D))
    a, b = ops.split(x, 2, axis=-1)
    a = a + f(b)
    b = b + f(a)
    return keras.Model(x, layers.Concatenate()([a, b]))


def broadcast():
    x = keras.Input(IMAGE)
    return keras.Model(
        x, x + layers.Dense(D)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    )


def two_inputs():
    a, b = keras.Input((4, D)), keras.Input((4, D))
    return keras.Model([a, b], layers.Add()([a, f(b)]))


def integers():
    x = keras.Input((4,), dtype="int32")
    return keras.Model(x, f(layers.Embedding(16, D)(x + 2 * x)))


LEFT_ALONE = {
    "position embedding": Row(position_embedding, rejected=1),
    "short position embedding": Row(short_position_embedding, rejected=1),
    "u-net": Row(u_net(), rejected=1),
    "u-net, transposed": Row(
        u_net(lambda: layers.Conv2DTranspose(D, 2, 2)), rejected=1
    ),
    "u-net, resized": Row(
        u_net(lambda: lambda x: ops.image.resize(x, (8, 8))), rejected=1
    ),
    "u-net of any size": Row(u_net(size=None), rejected=1),
    "feature pyramid": Row(feature_pyramid, rejected=2),
    "high-resolution fusion": Row(high_resolution_fusion, rejected=2),
    "constant": Row(constant, rejected=2),
    "parallel": Row(parallel, rejected=1),
    "parallel linear": Row(parallel_linear, rejected=1),
    "doubled": Row(doubled, rejected=1),
    "unlearned": Row(unlearned, rejected=1),
    "highway": Row(highway, rejected=1),
    "crossing": Row(crossing, rejected=2),
    "broadcast": Row(broadcast, rejected=1),
    "two inputs": Row(two_inputs, rejected=1),
    "integers": Row(integers, rejected=1),
}
