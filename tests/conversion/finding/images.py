"""Convolutional networks in one, two and three dimensions."""

import keras
import numpy as np
from keras import layers as L
from keras import ops

from tests.conversion.zoo import Row


def conv(x, width=8, strides=1, activation="relu", kernel=3, **kwargs):
    rank = len(x.shape) - 2
    layer = getattr(L, f"Conv{rank}D")
    kwargs.setdefault("padding", "same")
    return layer(width, kernel, strides, activation=activation, **kwargs)(x)


def linear(x, width=8, strides=1, kernel=1):
    return conv(x, width, strides, None, kernel)


def body(x, width=8, strides=1):
    """Two convolutions with norms."""
    x = L.BatchNormalization()(conv(x, width, strides, None))
    x = L.BatchNormalization()(conv(L.ReLU()(x), width, 1, None))
    return x


def image(size=16, rank=2, width=8):
    return keras.Input((size,) * rank + (width,))


# Shortcuts of many forms around a body that widens and halves.


@keras.saving.register_keras_serializable(package="tests")
class ConvNorm(L.Layer):
    def __init__(self, width=16, strides=2, activation=None, **kwargs):
        super().__init__(**kwargs)
        self.steps = [
            L.Conv2D(width, 1, strides),
            L.BatchNormalization(),
            L.Activation(activation),
        ]

    def build(self, input_shape):
        for step in self.steps:
            step.build(input_shape)
            input_shape = step.compute_output_shape(input_shape)

    def call(self, x):
        for step in self.steps:
            x = step(x)
        return x


def functional_shortcut():
    x = keras.Input((16, 16, 8))
    return keras.Model(x, L.BatchNormalization()(linear(x, 16, 2)))


def factorized(x):
    """Two halves of the width from pixels that are shifted by one."""
    x = L.ReLU()(x)
    a = linear(L.AveragePooling2D(1, 2)(x))
    b = linear(
        L.AveragePooling2D(1, 2)(
            ops.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:]
        )
    )
    return L.BatchNormalization()(L.Concatenate()([a, b]))


def padded_by_ops(x):
    x = ops.average_pool(x, 2, 2)
    return ops.concatenate([x, ops.zeros_like(x)], axis=-1)


def padded(x):
    x = x[:, ::2, ::2]
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [4, 4]])


def padded_by_zeros(x):
    x = L.AveragePooling2D(2)(x)
    return L.Concatenate()([x, ops.zeros_like(x)])


SHORTCUTS = {
    "strided": lambda x: linear(x, 16, 2),
    "norm first": lambda x: linear(L.BatchNormalization()(x), 16, 2),
    "pooled, then widened": lambda x: linear(L.AveragePooling2D(2)(x), 16),
    "rectified": lambda x: L.ReLU()(L.BatchNormalization()(linear(x, 16, 2))),
    "rectified first": lambda x: linear(L.ReLU()(x), 16, 2),
    "separable": lambda x: linear(L.DepthwiseConv2D(3, 2, "same")(x), 16),
    "SeparableConv2D": lambda x: L.SeparableConv2D(16, 3, 2, "same")(x),
    "nested": lambda x: keras.Sequential(
        [L.Conv2D(16, 1, 2), L.BatchNormalization()]
    )(x),
    "nested twice": lambda x: keras.Sequential([functional_shortcut()])(x),
    "own layer": lambda x: ConvNorm()(x),
    "spectral norm": lambda x: L.SpectralNormalization(L.Conv2D(16, 1, 2))(x),
    "scaled by a number": lambda x: 0.5 * linear(x, 16, 2),
    "factorized": factorized,
    "strided slice": lambda x: linear(x[:, ::2, ::2], 16),
    "space to depth": lambda x: linear(
        ops.reshape(
            ops.transpose(
                ops.reshape(x, (-1, 8, 2, 8, 2, 8)), (0, 1, 3, 2, 4, 5)
            ),
            (-1, 8, 8, 32),
        ),
        16,
    ),
}
UNLEARNED_SHORTCUTS = {
    "padded slice": padded,
    "padded by zeros": padded_by_zeros,
    "padded by Lambda": lambda x: L.Lambda(padded)(x),
    "padded by zeros in a Lambda": lambda x: L.Lambda(padded_by_ops)(x),
    "pooled and tiled": lambda x: ops.tile(
        L.AveragePooling2D(2)(x), (1, 1, 1, 2)
    ),
    "reshape and max": lambda x: ops.repeat(
        ops.max(ops.reshape(x, (-1, 8, 2, 8, 2, 8)), axis=(2, 4)), 2, axis=-1
    ),
}


def downward(shortcut, order=1):
    def build():
        x = image()
        return keras.Model(
            x, L.ReLU()(L.Add()([shortcut(x), body(x, 16, 2)][::order]))
        )

    return build


# Networks across resolutions.


@keras.saving.register_keras_serializable(package="tests")
class Doubled(L.Layer):
    """An up-sampling of one's own."""

    def call(self, x):
        for axis in range(1, len(x.shape) - 1):
            x = ops.repeat(x, 2, axis=axis)
        return x


@keras.saving.register_keras_serializable(package="tests")
class Halved(L.Layer):
    """A down-sampling of one's own."""

    def call(self, x):
        for axis in range(1, len(x.shape) - 1):
            x = ops.take(x, ops.arange(0, 8, 2), axis=axis)
        return x

    def compute_output_shape(self, shape):
        sizes = [s and s // 2 for s in shape[1:-1]]
        return (shape[0], *sizes, shape[-1])


def transposed(x):
    layer = getattr(L, f"Conv{len(x.shape) - 2}DTranspose")
    return layer(8, 3, 2, padding="same")(x)


def sampled(x):
    return getattr(L, f"UpSampling{len(x.shape) - 2}D")()(x)


def repeated(x):
    for axis in range(1, len(x.shape) - 1):
        x = ops.repeat(x, 2, axis=axis)
    return x


def shuffled(x):
    n, rank = x.shape[1], len(x.shape) - 2
    x = linear(x, 8 * 2**rank)
    x = ops.reshape(x, (-1, *[n] * rank, *[2] * rank, 8))
    order = [i for j in range(rank) for i in (1 + j, 1 + rank + j)]
    x = ops.transpose(x, (0, *order, 2 * rank + 1))
    return ops.reshape(x, (-1, *[2 * n] * rank, 8))


def nested_up(x):
    layer = getattr(L, f"UpSampling{len(x.shape) - 2}D")
    return keras.Sequential([layer(), L.BatchNormalization(), L.ReLU()])(x)


def own_up(x):
    return Doubled()(x)


def resized(x):
    return ops.image.resize(x, (16, 16))


def depth_to_space(x):
    return ops.nn.depth_to_space(linear(x, 32), 2)


def u_net(up, size=16, rank=2, down=None, levels=1):
    """Two convolutions of each level, and a residual one at the bottom."""

    def build():
        x = inputs = image(size, rank)
        skips = []
        for _ in range(levels):
            x = conv(x)
            skips.append(x)
            x = down(x) if down else conv(x, strides=2)
        x = L.Add()([x, body(x)])
        for skip in reversed(skips):
            x = conv(L.Add()([skip, up(x)]))
        return keras.Model(inputs, x)

    return build


def hourglass():
    """Residual blocks within; the sums with the coarse are none."""

    def level(x, depth):
        skip = L.Add()([x, body(x)])
        low = L.MaxPooling2D(2)(x)
        low = L.Add()([low, body(low)])
        if depth:
            low = level(low, depth - 1)
        low = L.Add()([low, body(low)])
        return L.Add()([skip, L.UpSampling2D()(low)])

    x = image()
    return keras.Model(x, level(conv(x), 1))


def refined(up):
    """The input and a whole U-net of it, which joins by concatenation."""

    def build():
        x = inputs = image()
        a = conv(x)
        h = L.Concatenate()([a, up(conv(a, strides=2))])
        return keras.Model(inputs, x + linear(conv(h)))

    return build


def generator_block():
    """Both sides are up-sampled."""
    x = image()
    skip = linear(L.UpSampling2D()(x), 16)
    h = conv(L.UpSampling2D()(L.ReLU()(x)), 16)
    return keras.Model(x, skip + conv(h, 16))


def segmentation(size):
    """Residual blocks down to a quarter, and up again."""

    def build():
        x = inputs = image(size)
        for width in (12, 16):
            h = L.SeparableConv2D(width, 3, padding="same")(L.ReLU()(x))
            h = L.SeparableConv2D(width, 3, padding="same")(L.ReLU()(h))
            h = L.MaxPooling2D(3, 2, "same")(h)
            x = L.add([h, linear(x, width, 2)])
        for width in (16, 12):
            h = L.Conv2DTranspose(width, 3, padding="same")(L.ReLU()(x))
            h = L.Conv2DTranspose(width, 3, padding="same")(L.ReLU()(h))
            skip = linear(L.UpSampling2D()(x), width)
            x = L.add([L.UpSampling2D()(h), skip])
        return keras.Model(inputs, x)

    return build


def up_scaled():
    """A super-resolution network learns what bilinear scaling lacks."""
    x = inputs = image()
    h = body(x)
    h = L.Conv2DTranspose(8, 4, 2, "same")(h)
    y = ops.image.resize(x, (32, 32), "bilinear") + linear(h)
    return keras.Model(inputs, y)


def finer_inside():
    """The branch is finer than the skip in between, by whatever means."""
    x = inputs = image()
    h = conv(L.UpSampling2D()(conv(x)))
    x = x + linear(L.AveragePooling2D(2)(h))
    h = conv(L.UpSampling2D()(conv(x)))
    h = ops.max(ops.reshape(h, (-1, 16, 2, 16, 2, 8)), axis=(2, 4))
    return keras.Model(inputs, linear(x, 12) + linear(h, 12))


def summed_levels(size):
    """Feature pyramids for segmentation sum their levels up-sampled."""

    def build():
        x = inputs = image(size)
        levels = [x := conv(x, width, 2) for width in (8, 12, 16)]
        tops = [linear(levels[-1])]
        for level in levels[-2::-1]:
            tops.append(linear(level) + L.UpSampling2D()(tops[-1]))
        fine = [
            L.UpSampling2D(4)(conv(conv(tops[0]))),
            L.UpSampling2D(2)(conv(tops[1])),
            conv(tops[2]),
        ]
        return keras.Model(inputs, fine[0] + fine[1] + fine[2])

    return build


def discriminator():
    x = inputs = image()
    for width in (16, 32):
        skip = L.AveragePooling2D(2)(linear(x, width))
        h = conv(conv(L.ReLU()(x), width), width, 1, None)
        x = skip + L.AveragePooling2D(2)(h)
    return keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling2D()(x)))


def pyramid(up=sampled, size=32):
    def build():
        x = image(size)
        levels = []
        for width in (8, 12, 16):
            x = conv(x, width, 2)
            levels.append(x)
        tops = [linear(levels[-1])]
        for level in levels[-2::-1]:
            tops.append(linear(level) + up(tops[-1]))
        out = [conv(tops[-1])]
        for top in tops[-2::-1]:
            out.append(L.Add()([top, conv(out[-1], strides=2)]))
        return keras.Model(image_of(levels), out)

    return build


def image_of(levels):
    return (
        levels[0]
        ._keras_history.operation._inbound_nodes[0]
        .parent_nodes[0]
        .outputs[0]
    )


def bi_fpn():
    x = inputs = image(32)
    p3 = conv(x, strides=2)
    p4 = conv(p3, strides=2)
    p5 = conv(p4, strides=2)
    td4 = conv(p4 + sampled(p5))
    o3 = conv(p3 + sampled(td4))
    o4 = conv(L.Add()([p4, td4, L.MaxPooling2D(2)(o3)]))
    o5 = conv(p5 + L.MaxPooling2D(2)(o4))
    return keras.Model(inputs, [o3, o4, o5])


def high_resolution():
    x = inputs = image()
    a, b = conv(x), conv(x, 16, 2)
    for _ in range(2):
        a, b = a + body(a), b + body(b, 16)
        a, b = a + sampled(linear(b)), b + linear(a, 16, 2, 3)
    return keras.Model(inputs, [a, b])


def attention_u_net():
    """Gates add a coarse signal to a pooled fine one."""
    x = inputs = image()
    fine = conv(x)
    coarse = conv(fine, 16, 2)
    gate = L.ReLU()(linear(fine, 8, 2) + linear(coarse, 8))
    gate = L.UpSampling2D()(conv(gate, 1, activation="sigmoid"))
    up = L.UpSampling2D()(coarse)
    h = conv(L.Concatenate()([fine * gate, up]))
    return keras.Model(inputs, h)


# Blocks with something more than a body.


def diffusion(size=16, rank=2, up=sampled):
    def build():
        x, t = inputs = image(size, rank), keras.Input((8,))
        t = L.Dense(8)(L.Dense(8, activation="silu")(t))

        def block(x, width):
            skip = x if x.shape[-1] == width else linear(x, width)
            h = conv(ops.silu(L.GroupNormalization(4)(x)), width, 1, None)
            h = h + L.Reshape((1,) * rank + (width,))(L.Dense(width)(t))
            h = ops.silu(L.GroupNormalization(4)(h))
            return L.Add()([skip, conv(h, width, 1, None)])

        x = skip = block(block(x, 8), 8)
        x = block(block(conv(x, 8, 2), 16), 16)
        x = L.Concatenate()([up(x), skip])
        return keras.Model(inputs, block(block(x, 8), 8))

    return build


def squeeze_and_excite(gate):
    def build():
        x = inputs = image()
        for width, strides in ((8, 1), (16, 2)):
            skip = x if strides == 1 else linear(x, width, strides)
            h = body(x, width, strides)
            x = L.ReLU()(L.Add()([h * gate(h), skip]))
        return keras.Model(inputs, x)

    return build


def excitation(h):
    g = L.GlobalAveragePooling2D(keepdims=True)(h)
    return conv(conv(g, 4, kernel=1), h.shape[-1], 1, "sigmoid", 1)


def repeated_excitation(h):
    g = L.Dense(h.shape[-1], "sigmoid")(L.GlobalAveragePooling2D()(h))
    return L.UpSampling2D(h.shape[1])(L.Reshape((1, 1, -1))(g))


def hard_excitation(h):
    g = ops.mean(h, axis=(1, 2), keepdims=True)
    g = linear(conv(g, 4, kernel=1), h.shape[-1])
    return ops.relu6(g + 3.0) / 6.0


def coarse_excitation(h):
    """A strip per row and per column."""
    size = h.shape[1]
    rows = L.AveragePooling2D((1, size))(h)
    columns = L.Permute((2, 1, 3))(L.AveragePooling2D((size, 1))(h))
    g = conv(L.Concatenate(axis=1)([rows, columns]), 4, kernel=1)
    rows, columns = ops.split(g, 2, axis=1)
    width = h.shape[-1]
    columns = L.Permute((2, 1, 3))(conv(columns, width, 1, "sigmoid", 1))
    return conv(rows, width, 1, "sigmoid", 1) * columns


def conv_next(own_scale):
    x = inputs = image()
    for _ in range(2):
        h = L.LayerNormalization()(L.DepthwiseConv2D(7, padding="same")(x))
        h = L.Dense(8)(L.Dense(32, activation="gelu")(h))
        x = x + own_scale(h)
    return keras.Model(inputs, x)


def inner_residuals():
    """Projections around branches that hold residual blocks."""
    x = inputs = image()
    h = conv(x, 6, kernel=1)
    x = L.Add()([linear(x, 12), L.Add()([h, body(h, 6)]) @ ops.ones((6, 12))])
    h = conv(x, 8)
    h = L.Add()([h, body(h)])
    return keras.Model(inputs, L.Add()([linear(x), h]))


def one_kernel():
    x = inputs = image()
    h = L.LeakyReLU()(L.BatchNormalization()(linear(x, 12, 2, 3)))
    x = h + L.BatchNormalization()(linear(x, 12, 2))
    x = conv(x, 8) + linear(x, 8)
    return keras.Model(inputs, x)


def rep_vgg():
    """Three linear branches, of which the norm is the skip."""
    x = inputs = image()
    parts = [L.BatchNormalization()(linear(x, kernel=k)) for k in (3, 1)]
    x = L.ReLU()(L.Add()([*parts, L.BatchNormalization()(x)]))
    return keras.Model(inputs, x)


def cropped(rank=2):
    def build():
        x = inputs = image(16, rank)
        crop = getattr(L, f"Cropping{rank}D")
        h = conv(conv(x, padding="valid"), padding="valid", activation=None)
        x = L.Add()([crop(2)(x), h])
        h = conv(conv(x, padding="valid"), padding="valid", activation=None)
        middle = (slice(None), *[slice(2, -2)] * rank)
        return keras.Model(inputs, x[middle] + h)

    return build


def auxiliary():
    """A classifier is read from inside a branch."""
    x = inputs = image()
    h = conv(x)
    side = L.Dense(3)(L.GlobalAveragePooling2D()(h))
    x = x + linear(h, kernel=3)
    h = conv(x, 16, 2)
    other = L.Dense(3)(L.GlobalAveragePooling2D()(h))
    x = linear(x, 16, 2) + linear(h, 16, 1, 3)
    return keras.Model(inputs, [x, L.Concatenate()([side, other])])


def scaled():
    x = inputs = image()
    x = ops.multiply(x, 0.7) + conv(conv(x))
    x = x / 2.0 + 0.1 * conv(conv(x))
    x = L.Rescaling(0.5)(x) + conv(conv(x))
    x = L.Add()([-x, conv(conv(x))])
    return keras.Model(inputs, x)


def three_dimensions():
    x = inputs = image(8, 3, 4)
    x = L.Add()([x, body(x, 4)])
    x = L.Add()([linear(x, 8, 2), body(x, 8, 2)])
    x = L.Add()([L.MaxPooling3D(2)(x), body(x, 8, 2)])
    return keras.Model(inputs, x)


def across():
    rows = {}
    for rank in (1, 2, 3):
        for name, up in UPS.items():
            if rank == 2 or name not in ("resized", "depth to space"):
                rows[f"u-net {rank}D, {name}"] = Row(
                    u_net(up, 16, rank), 1, rejected=1
                )
            if name not in ("shuffled", "resized"):
                if rank == 2 or name != "depth to space" and rank == 1:
                    rows[f"u-net {rank}D of any size, {name}"] = Row(
                        u_net(up, None, rank), 1, rejected=1
                    )
    return rows


class PadChannels(L.Layer):
    """The shortcut of ResNet's option A, with zeros of the actual sizes."""

    def call(self, x):
        *sizes, _ = ops.shape(x)
        return ops.concatenate([x, ops.zeros((*sizes, 4))], axis=-1)


def other_shortcuts():
    x = image()
    y = PadChannels()(x) + L.Conv2D(12, 3, padding="same")(conv(x))
    y = L.CenterCrop(12, 12)(y) + L.Conv2D(12, 5, activation="relu")(y)
    rows = ops.take(y, np.arange(2, 10), axis=1)
    y = rows + L.Conv2D(12, (5, 1))(L.Conv2D(12, (1, 3), padding="same")(y))
    scaled = L.Normalization(mean=0.1, variance=2.0)(y)
    return keras.Model(x, scaled + L.Dense(12)(L.Dense(9, "relu")(y)))


class Hourglass(L.Layer):
    """Goes down and comes back up inside one `call`."""

    def __init__(self):
        super().__init__()
        self.down = L.Conv2D(8, 3, 2, "same", activation="relu")

    def call(self, x):
        return ops.repeat(ops.repeat(self.down(x), 2, axis=1), 2, axis=2)


class HourglassModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.down = L.AveragePooling2D(2)
        self.up = L.Conv2DTranspose(8, 2, 2, activation="relu")

    def call(self, x):
        return self.up(self.down(x))


def hidden_hourglass(make, size):
    def build():
        x = image(size)
        return keras.Model(x, linear(x + make()(x)))

    return build


def added_to_its_mean():
    """A context of the whole batch, of batch size 1."""
    x = image()
    y = x + linear(conv(x))
    mean = L.Dense(8)(ops.mean(y, axis=0, keepdims=True))
    return keras.Model(x, y + mean)


UPS = {
    "transposed": transposed,
    "up-sampled": sampled,
    "repeated": repeated,
    "shuffled": shuffled,
    "nested": nested_up,
    "own": own_up,
    "resized": resized,
    "depth to space": depth_to_space,
}

ROWS = {
    **{
        f"shortcut, {name}": Row(downward(f), 0, 1)
        for name, f in SHORTCUTS.items()
    },
    **{
        f"shortcut, {name}, second": Row(downward(f, -1), 0, 0, 1)
        for name, f in UNLEARNED_SHORTCUTS.items()
    },
    **across(),
    "u-net, pooled": Row(
        u_net(own_up, None, 2, L.MaxPooling2D(2)), 1, rejected=1
    ),
    "u-net, all its own": Row(u_net(own_up, 16, 2, Halved()), 1, rejected=1),
    "u-net of any size, all its own": Row(
        u_net(own_up, None, 2, Halved()), 1, rejected=1
    ),
    "u-net, deep": Row(u_net(repeated, None, 2, None, 3), 1, rejected=3),
    "hourglass": Row(hourglass, 6, rejected=2),
    "refined": Row(refined(sampled), rejected=1),
    "refined by shuffling": Row(refined(shuffled), rejected=1),
    "segmentation": Row(segmentation(16), 0, 4),
    "segmentation of any size": Row(segmentation(None), 0, 4),
    "up-scaled": Row(up_scaled, resampled=1),
    "finer inside": Row(finer_inside, rejected=2),
    "summed levels": Row(summed_levels(32), rejected=4),
    "summed levels of any size": Row(summed_levels(None), rejected=4),
    "generator": Row(generator_block, 0, 1),
    "discriminator": Row(discriminator, 0, 2),
    "pyramid": Row(pyramid(), rejected=4),
    "pyramid of any size": Row(pyramid(repeated, None), rejected=4),
    "BiFPN": Row(bi_fpn, rejected=4),
    "high resolution": Row(high_resolution, 4, rejected=4),
    "attention u-net": Row(attention_u_net, rejected=1),
    "diffusion": Row(diffusion(), 4, 2, rejected=6),
    "diffusion of any size": Row(diffusion(None), 4, 2, rejected=6),
    "diffusion 1D": Row(diffusion(16, 1, repeated), 4, 2, rejected=6),
    "diffusion 3D": Row(diffusion(8, 3, own_up), 4, 2, rejected=6),
    "SE": Row(squeeze_and_excite(excitation), 1, 1),
    "SE, hard": Row(squeeze_and_excite(hard_excitation), 1, 1, rejected=2),
    "SE, repeated": Row(squeeze_and_excite(repeated_excitation), 1, 1),
    "SE, strips": Row(squeeze_and_excite(coarse_excitation), 1, 1),
    "inner residuals": Row(inner_residuals, 2, 2),
    "one kernel": Row(one_kernel, 0, 2),
    "RepVGG": Row(rep_vgg, 0, 1),
    "cropped 1D": Row(cropped(1), 2),
    "cropped 2D": Row(cropped(2), 2),
    "cropped 3D": Row(cropped(3), 2),
    "auxiliary": Row(auxiliary, 1, 1),
    "scaled": Row(scaled, 4),
    "three dimensions": Row(three_dimensions, 1, 1, 1),
    "cropped, taken, padded, normalized": Row(other_shortcuts, 4),
    "hourglass in a layer": Row(hidden_hourglass(Hourglass, 16), rejected=1),
    "hourglass in a layer, any size": Row(
        hidden_hourglass(Hourglass, None), rejected=1
    ),
    "hourglass in a model": Row(
        hidden_hourglass(HourglassModel, 16), rejected=1
    ),
    "mean over the batch": Row(added_to_its_mean, 1, rejected=1),
}
