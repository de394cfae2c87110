"""Models of images."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import image


@keras.saving.register_keras_serializable(package="own_vision")
class Patches(layers.Layer):
    def __init__(self, patch_size, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, images):
        _, height, width, channels = images.shape
        p = self.patch_size
        patches = ops.image.extract_patches(images, size=p)
        return ops.reshape(
            patches,
            (-1, (height // p) * (width // p), p * p * channels),
        )


@keras.saving.register_keras_serializable(package="own_vision")
class PatchEncoder(layers.Layer):
    def __init__(self, num_patches, projection_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_patches = num_patches
        self.projection = layers.Dense(projection_dim)
        self.position_embedding = layers.Embedding(num_patches, projection_dim)

    def call(self, patch):
        positions = ops.expand_dims(ops.arange(0, self.num_patches), axis=0)
        projected_patches = self.projection(patch)
        return projected_patches + self.position_embedding(positions)


def mlp(hidden_units, dropout_rate):
    return [
        part
        for units in hidden_units
        for part in (
            layers.Dense(units, activation=keras.activations.gelu),
            layers.Dropout(dropout_rate),
        )
    ]


@keras.saving.register_keras_serializable(package="own_vision")
class ViTBlock(layers.Layer):
    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = layers.LayerNormalization(epsilon=1e-6)
        self.attention = layers.MultiHeadAttention(2, dim, dropout=0.1)
        self.norm2 = layers.LayerNormalization(epsilon=1e-6)
        self.mlp = mlp((2 * dim, dim), 0.1)

    def call(self, encoded_patches, training=None):
        x1 = self.norm1(encoded_patches)
        attention_output = self.attention(x1, x1, training=training)
        x2 = layers.Add()([attention_output, encoded_patches])  # residual right
        x3 = self.norm2(x2)
        for layer in self.mlp:
            x3 = layer(x3, training=training)
        return layers.Add()([x3, x2])  # residual right


@keras.saving.register_keras_serializable(package="own_vision")
class ViT(keras.Model):
    def __init__(self, dim=8, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.patches = Patches(4)
        self.encoder = PatchEncoder(4, dim)
        self.blocks = [ViTBlock(dim) for _ in range(depth)]
        self.head = keras.Sequential(
            [layers.LayerNormalization(), layers.Flatten(), layers.Dense(3)]
        )

    def call(self, images, training=None):
        x = self.encoder(self.patches(images))
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(x)


@keras.saving.register_keras_serializable(package="own_vision")
class StochasticDepth(layers.Layer):
    def __init__(self, drop_prop, **kwargs):
        super().__init__(**kwargs)
        self.drop_prob = drop_prop
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, x, training=None):
        if training:
            keep_prob = 1 - self.drop_prob
            shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
            random_tensor = keep_prob + keras.random.uniform(
                shape, 0, 1, seed=self.seed_generator
            )
            random_tensor = ops.floor(random_tensor)
            return (x / keep_prob) * random_tensor
        return x

    def get_config(self):
        return {**super().get_config(), "drop_prop": self.drop_prob}


@keras.saving.register_keras_serializable(package="own_vision")
class CCTBlock(layers.Layer):
    def __init__(self, dim, rate, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = layers.LayerNormalization()
        self.norm2 = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(2, dim)
        self.fc1 = layers.Dense(2 * dim, activation="gelu")
        self.fc2 = layers.Dense(dim)
        self.depth = StochasticDepth(rate)

    def call(self, x):
        h = self.norm1(x)
        x = ops.add(self.depth(self.attention(h, h)), x)  # residual right
        h = self.fc2(self.fc1(self.norm2(x)))
        return ops.add(self.depth(h), x)  # residual right


@keras.saving.register_keras_serializable(package="own_vision")
class CCT(keras.Model):
    def __init__(self, dim=8, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = keras.Sequential(
            [
                layers.Conv2D(dim, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
                layers.Reshape((-1, dim)),
            ]
        )
        rates = [float(r) for r in np.linspace(0, 0.3, 2)]
        self.blocks = tuple(CCTBlock(dim, rate) for rate in rates)
        self.pool = layers.Dense(1)
        self.head = layers.Dense(3)

    def call(self, x):
        x = self.tokenizer(x)
        for block in self.blocks:
            x = block(x)
        weights = ops.softmax(self.pool(x), axis=1)
        pooled = ops.matmul(ops.transpose(weights, (0, 2, 1)), x)
        return self.head(ops.squeeze(pooled, 1))


def window_partition(x, window):
    _, height, width, channels = x.shape
    x = ops.reshape(
        x,
        (-1, height // window, window, width // window, window, channels),
    )
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, window * window, channels))


def window_reverse(windows, window, height, width, channels):
    x = ops.reshape(
        windows,
        (-1, height // window, width // window, window, window, channels),
    )
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height, width, channels))


@keras.saving.register_keras_serializable(package="own_vision")
class WindowAttention(layers.Layer):
    def __init__(self, dim, window, heads, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.window, self.heads = dim, window, heads
        self.qkv = layers.Dense(3 * dim)
        self.proj = layers.Dense(dim)

    def build(self, input_shape):
        side = self.window
        self.bias_table = self.add_weight(
            name="bias_table",
            shape=((2 * side - 1) ** 2, self.heads),
            initializer="random_normal",
        )
        y, x = np.divmod(np.arange(side * side), side)
        dy = y[:, None] - y + side - 1
        dx = x[:, None] - x + side - 1
        self.index = dy * (2 * side - 1) + dx
        super().build(input_shape)

    def call(self, x):
        _, size, channels = x.shape
        head_dim = channels // self.heads
        qkv = ops.reshape(self.qkv(x), (-1, size, 3, self.heads, head_dim))
        qkv = ops.transpose(qkv, (2, 0, 3, 1, 4))
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = (q * head_dim**-0.5) @ ops.transpose(k, (0, 1, 3, 2))
        bias = ops.take(self.bias_table, self.index.reshape(-1), axis=0)
        bias = ops.reshape(bias, (size, size, self.heads))
        bias = ops.transpose(bias, (2, 0, 1))
        attn = ops.softmax(attn + ops.expand_dims(bias, 0), axis=-1)
        x = ops.transpose(attn @ v, (0, 2, 1, 3))
        return self.proj(ops.reshape(x, (-1, size, channels)))


@keras.saving.register_keras_serializable(package="own_vision")
class SwinBlock(layers.Layer):
    def __init__(self, dim, window=4, shift=0, **kwargs):
        super().__init__(**kwargs)
        self.window, self.shift = window, shift
        self.norm1 = layers.LayerNormalization()
        self.attn = WindowAttention(dim, window, 2)
        self.norm2 = layers.LayerNormalization()
        self.mlp = keras.Sequential(
            [layers.Dense(16, "gelu"), layers.Dense(dim)]
        )
        self.drop_path = StochasticDepth(0.1)

    def call(self, x):
        _, height, width, channels = x.shape
        shortcut = x
        x = self.norm1(x)
        if self.shift:
            x = ops.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        x = self.attn(window_partition(x, self.window))
        x = window_reverse(x, self.window, height, width, channels)
        if self.shift:
            x = ops.roll(x, (self.shift, self.shift), axis=(1, 2))
        x = shortcut + self.drop_path(x)  # residual
        return x + self.drop_path(self.mlp(self.norm2(x)))  # residual


def swin():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 1)(inputs)
    x = SwinBlock(8, name="regular")(x)
    x = SwinBlock(8, shift=2, name="shifted")(x)
    return keras.Model(inputs, layers.Dense(3)(x))


@keras.saving.register_keras_serializable(package="own_vision")
class MLPMixerLayer(layers.Layer):
    def __init__(self, num_patches, hidden_units, dropout_rate, **kwargs):
        super().__init__(**kwargs)
        self.mlp1 = keras.Sequential(
            [
                layers.Dense(num_patches, activation="gelu"),
                layers.Dense(num_patches),
                layers.Dropout(dropout_rate),
            ]
        )
        self.mlp2 = keras.Sequential(
            [
                layers.Dense(num_patches, activation="gelu"),
                layers.Dense(hidden_units),
                layers.Dropout(dropout_rate),
            ]
        )
        self.normalize = layers.LayerNormalization(epsilon=1e-6)

    def call(self, inputs):
        x = self.normalize(inputs)
        x_channels = ops.transpose(x, axes=(0, 2, 1))
        mlp1_outputs = self.mlp1(x_channels)
        mlp1_outputs = ops.transpose(mlp1_outputs, axes=(0, 2, 1))
        x = mlp1_outputs + inputs  # residual right
        x_patches = self.normalize(x)
        mlp2_outputs = self.mlp2(x_patches)
        x = x + mlp2_outputs  # residual
        return x


def patched(*blocks):
    def build():
        inputs = keras.Input((8, 8, 3))
        x = PatchEncoder(16, 8)(Patches(2)(inputs))
        x = keras.Sequential(blocks_of(blocks), name="blocks")(x)
        return keras.Model(inputs, layers.Dense(3)(x))

    return build


def blocks_of(makers):
    return [make(i) for i, make in enumerate(makers)]


def mixer_layer(index):
    return MLPMixerLayer(16, 8, 0.2, name=f"mixer_{index}")


@keras.saving.register_keras_serializable(package="own_vision")
class gMLPLayer(layers.Layer):
    def __init__(self, num_patches, embedding_dim, **kwargs):
        super().__init__(**kwargs)
        self.channel_projection1 = layers.Dense(2 * embedding_dim, "gelu")
        self.channel_projection2 = layers.Dense(embedding_dim)
        self.spatial_projection = layers.Dense(
            num_patches, bias_initializer="Ones"
        )
        self.normalize1 = layers.LayerNormalization(epsilon=1e-6)
        self.normalize2 = layers.LayerNormalization(epsilon=1e-6)

    def spatial_gating_unit(self, x):
        u, v = ops.split(x, indices_or_sections=2, axis=2)
        v = self.normalize2(v)
        v_channels = ops.transpose(v, axes=(0, 2, 1))
        v_projected = self.spatial_projection(v_channels)
        return u * ops.transpose(v_projected, axes=(0, 2, 1))

    def call(self, inputs):
        x = self.normalize1(inputs)
        x_spatial = self.spatial_gating_unit(self.channel_projection1(x))
        x_projected = self.channel_projection2(x_spatial)
        return x_projected + inputs  # residual right


def gmlp_layer(index):
    return gMLPLayer(16, 8, name=f"gmlp_{index}")


ROWS = {
    # Two blocks of two; not the positions of the patches.
    "vit": Row(ViT, image, each("blocks", 2, 2), any_length=False),
    "cct": Row(CCT, image, each("blocks", 2, 2), any_length=False),
    # Not the bias of the attention.
    "swin": Row(
        swin,
        image,
        ("regular",) * 2 + ("shifted",) * 2,
        any_length=False,
    ),
    # Own blocks in a `Sequential` in a functional model.
    "mixer": Row(
        patched(mixer_layer, mixer_layer),
        image,
        ("mixer_0", "mixer_0", "mixer_1", "mixer_1"),
        any_length=False,
    ),
    # One addition a layer; the gate is a product.
    "gmlp": Row(
        patched(gmlp_layer, gmlp_layer),
        image,
        ("gmlp_0", "gmlp_1"),
        any_length=False,
    ),
}
