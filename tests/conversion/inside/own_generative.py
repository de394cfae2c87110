"""Models that generate: diffusion, variational, latent arrays."""

import keras
from keras import layers
from keras import ops

from tests.conversion.inside.row import Row
from tests.conversion.inside.row import image
from tests.conversion.inside.row import sequence


def residual_block(width):
    def apply(x):
        input_width = x.shape[3]
        if input_width == width:
            residual = x
        else:
            residual = layers.Conv2D(width, kernel_size=1)(x)
        x = layers.BatchNormalization(center=False, scale=False)(x)
        x = layers.Conv2D(width, 3, padding="same", activation="swish")(x)
        x = layers.Conv2D(width, kernel_size=3, padding="same")(x)
        x = layers.Add()([x, residual])  # residual right
        return x

    return apply


def get_network():
    noisy_images = keras.Input((8, 8, 3))
    noise_variances = keras.Input((1, 1, 1))
    e = layers.UpSampling2D(size=8, interpolation="nearest")(noise_variances)
    x = layers.Conv2D(8, kernel_size=1)(noisy_images)
    x = layers.Concatenate()([x, e])
    x = residual_block(8)(x)
    x = residual_block(8)(x)
    x = layers.Conv2D(3, kernel_size=1)(x)
    return keras.Model([noisy_images, noise_variances], x, name="network")


@keras.saving.register_keras_serializable(package="own_generative")
class DiffusionModel(keras.Model):
    """Two functional models as attributes, of which one trains."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rescale = layers.Rescaling(0.5)
        self.network = get_network()

    def call(self, inputs, training=None):
        noisy_images, noise_rates = inputs
        images = self.rescale(noisy_images)
        pred_noises = self.network([images, noise_rates**2], training=training)
        return (images - noise_rates * pred_noises) / (1.0 + noise_rates)


def noisy(batch, length, rng):
    rates = rng.uniform(size=(batch, 1, 1, 1)).astype("float32")
    return [image(batch, length, rng), rates]


@keras.saving.register_keras_serializable(package="own_generative")
class TimeEmbedding(layers.Layer):
    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.half_dim = dim // 2

    def call(self, inputs):
        inputs = ops.cast(inputs, "float32")
        scale = ops.exp(ops.arange(self.half_dim, dtype="float32") * -1.0)
        emb = inputs[:, None] * scale[None, :]
        return ops.concatenate([ops.sin(emb), ops.cos(emb)], axis=-1)


@keras.saving.register_keras_serializable(package="own_generative")
class TimeResidualBlock(layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.norm1 = layers.GroupNormalization(groups=1)
        self.conv1 = layers.Conv2D(width, 3, padding="same")
        self.time = layers.Dense(width, activation="swish")
        self.norm2 = layers.GroupNormalization(groups=1)
        self.conv2 = layers.Conv2D(width, 3, padding="same")
        self.shortcut = layers.Conv2D(width, 1)

    def call(self, inputs):
        x, t = inputs
        if x.shape[-1] == self.width:
            residual = x
        else:
            residual = self.shortcut(x)
        h = self.conv1(ops.swish(self.norm1(x)))
        h = h + self.time(t)[:, None, None, :]
        h = self.conv2(ops.swish(self.norm2(h)))
        return h + residual  # residual right


@keras.saving.register_keras_serializable(package="own_generative")
class AttentionBlock(layers.Layer):
    """Attention over pixels by `einsum`, as in the DDPM example."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.norm = layers.GroupNormalization(groups=1)
        self.query = layers.Dense(units)
        self.key = layers.Dense(units)
        self.value = layers.Dense(units)
        self.proj = layers.Dense(units)

    def call(self, inputs):
        batch = ops.shape(inputs)[0]
        height, width = ops.shape(inputs)[1], ops.shape(inputs)[2]
        scale = self.units**-0.5
        inputs = self.norm(inputs)
        q, k, v = self.query(inputs), self.key(inputs), self.value(inputs)
        score = ops.einsum("bhwc, bHWc->bhwHW", q, k) * scale
        score = ops.reshape(score, [batch, height, width, height * width])
        score = ops.softmax(score, -1)
        score = ops.reshape(score, [batch, height, width, height, width])
        proj = self.proj(ops.einsum("bhwHW,bHWc->bhwc", score, v))
        return inputs + proj  # residual


@keras.saving.register_keras_serializable(package="own_generative")
class Denoiser(keras.Model):
    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.embed = TimeEmbedding(width)
        self.block1 = TimeResidualBlock(width)
        self.attention = AttentionBlock(width)
        self.block2 = TimeResidualBlock(width)
        self.out = layers.Conv2D(3, 3, padding="same")

    def call(self, inputs):
        x, t = inputs["images"], inputs["time"]
        t = self.embed(t)
        x = self.block1([x, t])
        x = self.attention(x)
        return self.out(self.block2([x, t]))


def timed(batch, length, rng):
    steps = rng.integers(10, size=batch).astype("int32")
    return {"images": image(batch, length, rng), "time": steps}


@keras.saving.register_keras_serializable(package="own_generative")
class Sampling(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs):
        z_mean, z_log_var = inputs
        shape = ops.shape(z_mean)
        epsilon = keras.random.normal(shape, seed=self.seed_generator)
        return z_mean + ops.exp(0.5 * z_log_var) * epsilon


@keras.saving.register_keras_serializable(package="own_generative")
class DenseResidual(layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.dense1 = layers.Dense(width, activation="relu")
        self.dense2 = layers.Dense(width)

    def call(self, x):
        return x + self.dense2(self.dense1(x))  # residual


@keras.saving.register_keras_serializable(package="own_generative")
class VariationalAutoEncoder(keras.Model):
    """Samples in `call`, and adds a loss and metrics there."""

    def __init__(self, latent=4, **kwargs):
        super().__init__(**kwargs)
        self.encoder = keras.Sequential([layers.Dense(8), DenseResidual(8)])
        self.z_mean = layers.Dense(latent)
        self.z_log_var = layers.Dense(latent)
        self.sampling = Sampling()
        self.decoder = keras.Sequential(
            [layers.Dense(8), DenseResidual(8), layers.Dense(8)]
        )
        self.kl_tracker = keras.metrics.Mean(name="kl")

    def call(self, inputs):
        h = self.encoder(inputs)
        z_mean, z_log_var = self.z_mean(h), self.z_log_var(h)
        kl = 1 + z_log_var - ops.square(z_mean) - ops.exp(z_log_var)
        self.add_loss(-0.5 * ops.mean(kl))
        return self.decoder(self.sampling((z_mean, z_log_var)))


@keras.saving.register_keras_serializable(package="own_generative")
class PerceiverBlock(layers.Layer):
    def __init__(self, latent_dim, data_dim, dim, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim, self.dim = latent_dim, dim
        self.norm_latent = layers.LayerNormalization()
        self.norm_data = layers.LayerNormalization()
        self.cross_attention = layers.MultiHeadAttention(1, dim)
        self.norm_self = layers.LayerNormalization()
        self.self_attention = layers.MultiHeadAttention(2, dim // 2)
        self.norm_mlp = layers.LayerNormalization()
        self.mlp = keras.Sequential(
            [layers.Dense(16, "gelu"), layers.Dense(dim)]
        )

    def call(self, inputs):
        latents, data = inputs["latents"], inputs["data"]
        data = self.norm_data(data)
        h = self.cross_attention(self.norm_latent(latents), data, data)
        x = layers.Add()([h, latents])  # residual right
        h = self.norm_self(x)
        x = layers.Add()([x, self.self_attention(h, h)])  # residual
        return layers.Add()([self.mlp(self.norm_mlp(x)), x])  # residual right


@keras.saving.register_keras_serializable(package="own_generative")
class Perceiver(keras.Model):
    """One block, iterated: its weights are shared."""

    def __init__(self, latent_dim=4, dim=8, num_iterations=2, **kwargs):
        super().__init__(**kwargs)
        self.latent_dim, self.dim = latent_dim, dim
        self.num_iterations = num_iterations
        self.block = PerceiverBlock(latent_dim, dim, dim)
        self.pool = layers.GlobalAveragePooling1D()
        self.head = layers.Dense(3)
        self.latents = self.add_weight(
            shape=(latent_dim, dim),
            initializer="random_normal",
            name="latents",
        )

    def call(self, data):
        x = ops.expand_dims(ops.convert_to_tensor(self.latents), 0)
        x = ops.repeat(x, ops.shape(data)[0], axis=0)
        for _ in range(self.num_iterations):
            x = self.block({"latents": x, "data": data})
        return self.head(self.pool(x))


ROWS = {
    # The first block projects its shortcut: 9 channels come in.
    "diffusion": Row(
        DiffusionModel, noisy, ("network", "network"), any_length=False
    ),
    # A projection, the attention, an identity; not the time embedding.
    "denoiser": Row(
        Denoiser, timed, ("block1", "attention", "block2"), any_length=False
    ),
    # Not the sampling.
    "variational": Row(
        VariationalAutoEncoder, sequence, ("encoder", "decoder"), history=False
    ),
    # Three of one block, which runs twice.
    "perceiver": Row(Perceiver, sequence, ("block",) * 3, history=False),
}
