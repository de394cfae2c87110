"""Published networks in short, written after the search was."""

import keras
from keras import layers as L
from keras import ops

from tests.conversion.finding import attention as A
from tests.conversion.finding.attention import Scale
from tests.conversion.finding.attention import mlp
from tests.conversion.finding.images import body
from tests.conversion.finding.images import conv
from tests.conversion.finding.images import image
from tests.conversion.finding.images import linear
from tests.conversion.finding.sequences import stream
from tests.conversion.zoo import Row


class Affine(L.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(shape=input_shape[-1:])
        self.offset = self.add_weight(shape=input_shape[-1:])

    def call(self, x):
        return x * self.scale + self.offset


def poolformer():
    x = i = image()
    h = L.LayerNormalization()(x)
    x = x + Scale()(L.AveragePooling2D(3, 1, "same")(h) - h)
    return keras.Model(i, x + Scale()(mlp(L.LayerNormalization()(x))))


def cumulative():
    x = i = stream()
    x = L.LayerNormalization()(x + ops.cumsum(x, axis=1))
    return keras.Model(i, x + mlp(x))


def coatnet():
    x = image(16, 2, 8)
    n = L.LayerNormalization()(x)
    s = linear(L.MaxPooling2D(2)(x), 16)
    h = ops.reshape(L.MaxPooling2D(2)(n), (-1, 64, 8))
    h = ops.reshape(L.Dense(16)(A.attention(h, 64)), (-1, 8, 8, 16))
    return keras.Model(x, s + h)


def demucs():
    x = i = stream(None)
    sk = []
    for _ in range(2):
        x = L.Conv1D(8, 8, 4, "same", activation="relu")(x)
        a = L.Conv1D(16, 1)(x)
        a, b = ops.split(a, 2, -1)
        x = a * ops.sigmoid(b)
        sk.append(x)
    x = x + L.Bidirectional(L.LSTM(4, return_sequences=True))(x)
    for s in sk[::-1]:
        x = x + s
        x = L.Conv1DTranspose(8, 8, 4, "same")(
            L.Conv1D(8, 3, padding="same", activation="relu")(x)
        )
    return keras.Model(i, x)


def cyclegan():
    x = i = image()
    for _ in range(3):
        h = ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")
        h = L.GroupNormalization(8)(conv(h, padding="valid"))
        h = ops.pad(h, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")
        h = L.GroupNormalization(8)(conv(h, padding="valid", activation=None))
        x = x + h
    return keras.Model(i, x)


def edsr():
    x = i = image(None)
    h = s = conv(x)
    for _ in range(3):
        h = h + 0.1 * linear(conv(h), 8, 1, 3)
    h = L.Add()([s, linear(h, 8, 1, 3)])
    h = ops.nn.depth_to_space(linear(h, 32), 2)
    return keras.Model(i, conv(h) + L.UpSampling2D()(x))


def big_gan():
    x, c = inp = image(8), keras.Input((5,))
    g = L.Reshape((1, 1, 8))(L.Dense(8)(c))
    h = ops.relu(L.BatchNormalization()(x) * (1 + g))
    h = conv(L.UpSampling2D()(h), 16, 1, None)
    y = linear(L.UpSampling2D()(x), 16) + h
    return keras.Model(inp, y)


def convmixer():
    x = i = image()
    for _ in range(2):
        h = L.BatchNormalization()(
            L.Activation("gelu")(L.DepthwiseConv2D(5, padding="same")(x))
        )
        x = L.Add()([h, x])
        x = L.BatchNormalization()(conv(x, kernel=1, activation="gelu"))
    return keras.Model(i, x)


def resmlp():
    x = i = stream(12)
    for _ in range(2):
        h = Affine()(x)
        h = L.Permute((2, 1))(L.Dense(12)(L.Permute((2, 1))(h)))
        x = x + Affine()(h)
        x = x + Affine()(mlp(Affine()(x)))
    return keras.Model(i, x)


def pyramidnet():
    x = i = image()
    for w in (12, 16):
        h = body(L.BatchNormalization()(x), w)
        x = h + L.Concatenate()([x, ops.zeros_like(x)[..., :4]])
    return keras.Model(i, x)


def wrn():
    x = i = image()
    for w, s in ((12, 2), (12, 1)):
        h = L.ReLU()(L.BatchNormalization()(x))
        sk = linear(h, w, s) if w != x.shape[-1] else x
        x = L.Add()([L.Dropout(0.1)(linear(conv(h, w, s), w, 1, 3)), sk])
    return keras.Model(i, x)


def perceiver():
    z, x = inp = stream(4, 16), stream(20, 16)
    for _ in range(2):
        z = z + L.MultiHeadAttention(2, 8)(
            L.LayerNormalization()(z), L.LayerNormalization()(x)
        )
        z = z + mlp(L.LayerNormalization()(z))
    return keras.Model(inp, z)


def gau():
    x = i = stream(16, 16)
    h = L.LayerNormalization()(x)
    u, v = (L.Dense(32, "silu")(h) for _ in "uv")
    z = L.Dense(8, "silu")(h)
    q = z * ops.ones((8,)) + 0.1
    k = z * ops.ones((8,))
    a = ops.square(ops.relu(ops.einsum("bnd,bmd->bnm", q, k) / 16.0))
    return keras.Model(i, x + L.Dense(16)(u * ops.matmul(a, v)))


def resnext():
    x = i = image(16, 2, 16)
    for w, s in ((32, 2), (32, 1)):
        h = conv(conv(x, 16, kernel=1), 16, s, groups=4)
        h = L.BatchNormalization()(linear(h, w))
        sk = L.BatchNormalization()(linear(x, w, s)) if s == 2 else x
        x = L.ReLU()(L.Add()([h, sk]))
    return keras.Model(i, x)


def unet3p():
    x = i = image(None, 3, 4)
    a = conv(x, 4)
    b = conv(a, 4, 2)
    c = b + conv(conv(b, 4), 4)
    u = L.UpSampling3D()(c)
    return keras.Model(i, conv(L.Concatenate()([a, u]), 4) + linear(a, 4))


def residual_attention():
    x = image()
    t = conv(conv(x))
    m = L.UpSampling2D()(conv(L.MaxPooling2D(2)(x)))
    m = conv(m, activation="sigmoid", kernel=1)
    return keras.Model(x, (1 + m) * t + x)


def mtan():
    x = i = image()
    a = conv(x)
    heads = []
    for _ in range(2):
        h = a + conv(conv(a))
        heads.append(L.Dense(3)(L.GlobalAveragePooling2D()(h)))
    return keras.Model(i, heads)


def vnet():
    x = i = image(8, 3, 4)
    for w in (8, 16):
        x = conv(x, w, 2, kernel=2)
        x = x + conv(conv(x, w), w)
    return keras.Model(i, x)


def seqres():
    x = i = image()
    for w, s in ((8, 1), (16, 2)):
        f = keras.Sequential(
            [
                L.Conv2D(w, 3, s, padding="same"),
                L.BatchNormalization(),
                L.ReLU(),
                L.Conv2D(w, 3, padding="same"),
                L.BatchNormalization(),
            ]
        )
        sk = (
            keras.Sequential([L.Conv2D(w, 1, s), L.BatchNormalization()])
            if s == 2
            else (lambda t: t)
        )
        x = L.ReLU()(f(x) + sk(x))
    return keras.Model(i, x)


def ssd_fpn():
    x = image(32)
    c3 = conv(x, 8, 2)
    c4 = conv(c3, 8, 2)
    c5 = conv(c4, 8, 2)
    p5 = linear(c5)
    p4 = linear(c4) + ops.image.resize(p5, (8, 8))
    p3 = linear(c3) + ops.image.resize(p4, (16, 16))
    return keras.Model(x, [conv(p3), conv(p4), conv(p5)])


def gated_residual_xl():
    x = i = stream(8, 16)
    y = A.attention(L.LayerNormalization()(x), 8)
    z = ops.sigmoid(L.Dense(16)(y) + L.Dense(16)(x))
    x = (1 - z) * x + z * y
    return keras.Model(i, x)


def time_series_linear():
    x = i = stream(12)
    h = L.Permute((2, 1))(L.Dense(12)(L.Permute((2, 1))(x)))
    m = L.AveragePooling1D(5, 1, "same")(x)
    return keras.Model(i, [L.Dense(8)(x - m) + L.Dense(8)(m), x + h])


ROWS = {
    "PoolFormer": Row(poolformer, 2, rejected=1),
    "cumulative": Row(cumulative, 1, rejected=1),
    "CoAtNet": Row(coatnet, 0, 1),
    "Demucs": Row(demucs, 2, rejected=1),
    "CycleGAN": Row(cyclegan, 3),
    "EDSR": Row(edsr, 4, resampled=1),
    "BigGAN": Row(big_gan, rejected=2),
    "ConvMixer": Row(convmixer, 2),
    "ResMLP": Row(resmlp, 4),
    "PyramidNet": Row(pyramidnet, 2),
    "wide ResNet": Row(wrn, 1, 1),
    "Perceiver": Row(perceiver, 4),
    "gated attention unit": Row(gau, 1, rejected=1),
    "ResNeXt": Row(resnext, 1, 1),
    "projected u-net": Row(unet3p, 1, rejected=1),
    "residual attention": Row(residual_attention, rejected=2),
    "two tasks": Row(mtan, 2),
    "V-Net": Row(vnet, 2),
    "sequential blocks": Row(seqres, 1, 1),
    "resized pyramid": Row(ssd_fpn, rejected=2),
    "gated Transformer-XL": Row(gated_residual_xl, rejected=2),
    "DLinear": Row(time_series_linear, 1, rejected=2),
}
