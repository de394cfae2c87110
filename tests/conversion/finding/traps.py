"""Graphs that look like something else than they are."""

import keras
from keras import layers as L
from keras import ops

from tests.conversion.finding import attention as A
from tests.conversion.finding.attention import mlp
from tests.conversion.finding.images import body
from tests.conversion.finding.images import conv
from tests.conversion.finding.images import image
from tests.conversion.finding.images import linear
from tests.conversion.finding.sequences import stream
from tests.conversion.zoo import Row


def variational():
    x = keras.Input((12,))
    h = L.Dense(8, "relu")(x)
    mean, log = L.Dense(4)(h), L.Dense(4)(h)
    eps = keras.Input((4,))
    return keras.Model([x, eps], mean + ops.exp(0.5 * log) * eps)


class Sampling(L.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(1)

    def call(self, i):
        mean, log = i
        noise = keras.random.normal(ops.shape(mean), seed=self.seed)
        return mean + ops.exp(0.5 * log) * noise


def sampled_by_layer():
    x = keras.Input((12,))
    h = L.Dense(8, "relu")(x)
    z = Sampling()([L.Dense(4)(h), L.Dense(4)(h)])
    return keras.Model(x, z + L.Dense(4)(L.Dense(5, "relu")(z)))


def modulated_channels():
    x, c = inputs = image(), keras.Input((5,))
    h = conv(x)
    g, b = L.Dense(8)(c), L.Dense(8)(c)
    h = L.BatchNormalization()(h) * L.Reshape((1, 1, 8))(g) + L.Reshape(
        (1, 1, 8)
    )(b)
    return keras.Model(inputs, x + linear(h))


def modulated_maps():
    x, c = inputs = image(), image()
    s = conv(c)
    h = L.BatchNormalization()(x) * linear(s, 8, 1, 3) + linear(s, 8, 1, 3)
    return keras.Model(inputs, x + conv(L.ReLU()(h)))


def coupling():
    x = keras.Input((4, 8))
    a, b = x[..., :4], x[..., 4:]
    s, t = L.Dense(4, "tanh")(a), L.Dense(4)(a)
    return keras.Model(x, L.Concatenate()([a, b * ops.exp(s) + t]))


class Partition(L.Layer):
    def call(self, x):
        x = A.windows(x, 16, 4)
        return ops.reshape(x, (-1, 4, 4, x.shape[-1]))


class Reverse(L.Layer):
    def call(self, x):
        return A.from_windows(x, 16, 4)

    def compute_output_shape(self, shape):
        return (None, 16, 16, shape[-1])


def swin_layers():
    x = i = keras.Input((16, 16, 16))
    h = Partition()(L.LayerNormalization()(x))
    h = ops.reshape(
        A.attention(ops.reshape(h, (-1, 16, 16)), 16), (-1, 4, 4, 16)
    )
    x = x + Reverse()(h)
    h = L.Lambda(lambda t: ops.reshape(A.windows(t, 16, 4), (-1, 4, 4, 16)))(x)
    h = conv(h, 16)
    x = x + L.Lambda(
        lambda t: A.from_windows(t, 16, 4), output_shape=(16, 16, 16)
    )(h)
    return keras.Model(i, x)


def detr():
    x, pos = inputs = stream(10, 16), keras.Input((10, 16))
    for _ in range(2):
        q = x + pos
        x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 8)(q, x, q))
        x = L.LayerNormalization()(x + mlp(x))
    return keras.Model(inputs, x)


def res2net():
    x = image(16, 2, 16)
    h = conv(x, 16, kernel=1)
    parts = ops.split(h, 4, axis=-1)
    ys = [parts[0]]
    y = None
    for p in parts[1:]:
        y = conv(p if y is None else p + y, 4)
        ys.append(y)
    h = linear(L.Concatenate()(ys), 16)
    return keras.Model(x, L.ReLU()(x + h))


def inception_resnet():
    x = image()
    b = [
        conv(x, 4, kernel=1),
        conv(conv(x, 4, kernel=1), 4),
        conv(conv(conv(x, 4, kernel=1), 4), 4),
    ]
    h = linear(L.Concatenate()(b))
    return keras.Model(x, L.ReLU()(x + h * 0.17))


def inception_sum():
    """Of three branches none is a shortcut of the others together."""
    x = image()
    kernels = [conv(x, kernel=k) for k in (1, 3, 5)]
    linears = [linear(x), linear(x), linear(x)]
    return keras.Model(x, [L.Add()(kernels), L.Add()(linears)])


def activated_paths():
    """Neither a wider kernel nor what also goes on before its ReLU skips."""
    x = inputs = image()
    x = conv(x) + body(x)
    h = linear(x)
    x = L.ReLU()(h) + body(x)
    return keras.Model(inputs, L.Concatenate()([x, conv(h)]))


def multires():
    x = image()
    s = L.BatchNormalization()(linear(x, 12))
    a = conv(x, 4)
    b = conv(a, 4)
    c = conv(b, 4)
    y = L.ReLU()(
        L.Add()([s, L.BatchNormalization()(L.Concatenate()([a, b, c]))])
    )
    y = L.Add()([linear(y, 8), conv(y, 8)])
    return keras.Model(x, y)


def runge_kutta():
    x = stream()
    f = keras.Sequential([L.Dense(16, "tanh"), L.Dense(8)])
    k1 = f(x)
    k2 = f(x + 0.5 * k1)
    k3 = f(x + 0.5 * k2)
    k4 = f(x + k3)
    return keras.Model(x, x + (k1 + 2 * k2 + 2 * k3 + k4) / 6)


def selective_kernels():
    x = image()
    a = conv(x)
    b = conv(x, kernel=5)
    u = a + b
    s = L.Dense(4, "relu")(L.GlobalAveragePooling2D()(u))
    w = [L.Reshape((1, 1, 8))(L.Dense(8, "sigmoid")(s)) for _ in "ab"]
    return keras.Model(x, x + linear(a * w[0] + b * w[1]))


def mixture_of_experts():
    x = stream()
    g = L.Dense(2, "softmax")(x)
    h = L.LayerNormalization()(x)
    y = mlp(h) + (g[..., :1] * mlp(h) + g[..., 1:] * mlp(h))
    return keras.Model(x, x + y)


def rotation_by_tables():
    x = stream(8, 16)
    cos, sin = ops.ones((8, 16)), ops.ones((8, 16))
    h = L.Dense(16)(x)
    r = L.Concatenate()([-h[..., 8:], h[..., :8]])
    q = h * cos + r * sin
    return keras.Model(x, x + L.Dense(16)(L.Attention()([q, q])))


def relative_positions():
    x = stream(8, 16)
    r = ops.ones((8, 16))
    q, k, v = (L.Dense(16)(x) for _ in range(3))
    s = ops.einsum("btd,bsd->bts", q, k) + ops.einsum("btd,sd->bts", q, r)
    return keras.Model(x, x + L.Dense(16)(ops.matmul(ops.softmax(s), v)))


def tacotron():
    x = stream(None)
    mel = L.Dense(8)(L.LSTM(9, return_sequences=True)(x))
    h = mel
    for _ in range(2):
        h = L.BatchNormalization()(
            L.Conv1D(8, 5, padding="same", activation="tanh")(h)
        )
    return keras.Model(x, [mel, mel + h])


def passing_skips():
    x = i = stream()
    x = L.Identity()(x) + mlp(x)
    x = L.Dropout(0.1)(x) + mlp(x)
    x = ops.copy(x) + mlp(x)
    x = ops.stop_gradient(x) + mlp(x)
    x = L.Activation("linear")(x) + mlp(x)
    x = ops.cast(x, "float32") + mlp(x)
    return keras.Model(i, x)


def appnp():
    x, a = inputs = stream(), keras.Input((12, 12))
    h = z = L.Dense(8, "relu")(x)
    for _ in range(2):
        h = 0.9 * ops.matmul(a, h) + 0.1 * z
    return keras.Model(inputs, h)


def refined_by_nested(size):
    def b():
        x = image(size)
        i = image(size)
        inner = keras.Model(i, L.UpSampling2D()(conv(i, strides=2)))
        return keras.Model(x, x + inner(x))

    return b


def windows_in_nested():
    x = i = image(16, 2, 16)
    j = keras.Input((16, 16, 16))
    inner = keras.Model(
        j, A.from_windows(A.attention(A.windows(j, 16, 4), 16), 16, 4)
    )
    return keras.Model(i, x + inner(x))


def pyramid_pooling():
    x = image()
    outs = [conv(x, 2)]
    for n in (1, 2, 4):
        p = L.AveragePooling2D(16 // n)(x)
        outs.append(L.UpSampling2D(16 // n)(conv(p, 2)))
    return keras.Model(x, x + linear(L.Concatenate()(outs)))


def global_context():
    x = image()
    w = ops.softmax(ops.reshape(linear(x, 1), (-1, 256, 1)), axis=1)
    c = ops.matmul(ops.transpose(ops.reshape(x, (-1, 256, 8)), (0, 2, 1)), w)
    c = ops.reshape(c, (-1, 1, 1, 8))
    c = linear(conv(c, 4, kernel=1))
    return keras.Model(x, x + c)


def branch_handed_out():
    x = image()
    h = body(x, 12)
    return keras.Model(x, [h, linear(x, 12) + h])


def convlstm():
    x = keras.Input((3, 8, 8, 4))
    return keras.Model(
        x, x + L.ConvLSTM2D(4, 3, padding="same", return_sequences=True)(x)
    )


def waveform_autoencoder():
    x = i = stream(None)
    h = L.Conv1D(16, 3, 2, padding="same", activation="relu")(x)
    h = L.Conv1DTranspose(8, 3, 2, padding="same")(h)
    return keras.Model(i, x + h)


class Down(L.Layer):
    def __init__(self):
        super().__init__()
        self.conv = L.Conv2D(8, 3, 2, padding="same")

    def call(self, x):
        return self.conv(x)


class Up(L.Layer):
    def __init__(self):
        super().__init__()
        self.conv = L.Conv2DTranspose(8, 3, 2, padding="same")

    def call(self, x):
        return self.conv(x)


def own_autoencoder(size):
    def b():
        x = image(size)
        return keras.Model(x, x + Up()(Down()(x)))

    return b


def patchify():
    x = keras.Input((16, 16, 8))
    t = ops.reshape(L.Conv2D(16, 4, 4)(x), (-1, 16, 16))
    t = t + mlp(t)
    t = ops.reshape(L.Dense(128)(t), (-1, 4, 4, 4, 4, 8))
    y = ops.reshape(ops.transpose(t, (0, 1, 3, 2, 4, 5)), (-1, 16, 16, 8))
    return keras.Model(x, x + y)


def mobilevit():
    x = image(16, 2, 8)
    h = linear(conv(x), 16)
    h = ops.reshape(h, (-1, 8, 2, 8, 2, 16))
    h = ops.transpose(h, (0, 2, 4, 1, 3, 5))
    h = ops.reshape(h, (-1, 64, 16))
    h = h + A.attention(L.LayerNormalization()(h), 64)
    h = h + mlp(h)
    h = ops.reshape(h, (-1, 2, 2, 8, 8, 16))
    h = ops.transpose(h, (0, 3, 1, 4, 2, 5))
    h = ops.reshape(h, (-1, 16, 16, 16))
    return keras.Model(x, x + conv(h))


def dueling():
    x = keras.Input((6,))
    h = L.Dense(8, "relu")(x)
    v, a = L.Dense(1)(h), L.Dense(3)(h)
    return keras.Model(x, v + (a - ops.mean(a, axis=-1, keepdims=True)))


def hiera():
    x = keras.Input((64, 8))
    n = L.LayerNormalization()(x)
    skip = ops.max(ops.reshape(L.Dense(16)(n), (-1, 4, 16, 16)), axis=1)
    q = ops.max(ops.reshape(L.Dense(16)(n), (-1, 4, 16, 16)), axis=1)
    k, v = (L.Dense(16)(n) for _ in "kv")
    h = ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)
    return keras.Model(x, skip + L.Dense(16)(h))


def two_streams():
    """Nodes and places of a graph network that update each other.

    The messages are read by both, and lead from one to the other.
    """
    h, x = inputs = keras.Input((5, 8)), keras.Input((5, 3))
    for _ in range(2):
        away = ops.expand_dims(x, 2) - ops.expand_dims(x, 1)
        far = ops.sum(ops.square(away), axis=-1, keepdims=True)
        pairs = ops.expand_dims(h, 2) + ops.expand_dims(h, 1)
        messages = L.Dense(8, "silu")(ops.concatenate([pairs, far], axis=-1))
        x = x + ops.mean(away * L.Dense(1)(messages), axis=2)
        h = h + L.Dense(8)(ops.sum(messages, axis=2))
    return keras.Model(inputs, [h, x])


def adapted():
    """Layers with low-rank adapters beside them, in a residual block."""
    x = inputs = stream()
    h = L.Dense(16)(x) + 0.5 * L.Dense(16)(L.Dense(2, use_bias=False)(x))
    h = L.ReLU()(h)
    h = L.Dense(16)(h) + L.Dense(16)(L.Dense(2, use_bias=False)(h))
    return keras.Model(inputs, x + L.Dense(8)(h))


def reparameterized():
    """RepVGG's sum of a norm and two convolutions."""
    x = inputs = image()
    convs = [linear(x, kernel=3), linear(x)]
    parts = [L.BatchNormalization()(t) for t in (x, *convs)]
    return keras.Model(inputs, L.ReLU()(parts[0] + parts[1] + parts[2]))


def straight_through():
    """Vector quantization by hand: the sum has the values of the codes."""
    x = inputs = stream()
    codes = L.Dense(8)(ops.softmax(L.Dense(6)(x)))
    quantized = x + ops.stop_gradient(codes - x)
    return keras.Model(inputs, quantized + mlp(quantized))


def tab_net(steps):
    """It adds up what each step decides; attention leads to the next one."""
    x = keras.Input((6,))
    decisions, attended = [], L.Dense(8)(x)[:, 4:]
    for _ in range(steps):
        mask = L.Softmax()(L.Dense(6)(attended))
        h = L.Dense(8)(L.Dense(8, "relu")(mask * x))
        decisions.append(ops.relu(h[:, :4]))
        attended = h[:, 4:]
    total = decisions[0]
    for decision in decisions[1:]:
        total = total + decision
    return keras.Model(x, total)


ROWS = {
    "TabNet of two steps": Row(lambda: tab_net(2), rejected=1),
    "TabNet of four steps": Row(lambda: tab_net(4), rejected=3),
    "two streams": Row(two_streams, 4, rejected=4),
    "adapted": Row(adapted, 1, rejected=2),
    "reparameterized": Row(reparameterized, 0, 1, rejected=1),
    "straight through": Row(straight_through, 1, rejected=2),
    "variational": Row(variational, rejected=1),
    "sampled by a layer": Row(sampled_by_layer, 1),
    "modulated channels": Row(modulated_channels, 1, rejected=1),
    "modulated maps": Row(modulated_maps, 1, rejected=1),
    "affine coupling": Row(coupling, rejected=1),
    "windows by layers": Row(swin_layers, 2),
    "DETR": Row(detr, 4, rejected=2),
    "Res2Net": Row(res2net, 1, rejected=2),
    "Inception-ResNet": Row(inception_resnet, 1),
    "sum of an inception": Row(inception_sum, rejected=2),
    "activated paths": Row(activated_paths, rejected=2),
    "MultiResUNet": Row(multires, 0, 2),
    "Runge-Kutta": Row(runge_kutta, 4, rejected=3),
    "selective kernels": Row(selective_kernels, 1, rejected=2),
    "mixture of experts": Row(mixture_of_experts, 1, rejected=2),
    "rotation by tables": Row(rotation_by_tables, 1, rejected=1),
    "relative positions": Row(relative_positions, 1, rejected=1),
    "Tacotron": Row(tacotron, 1),
    "skips that pass": Row(passing_skips, 6),
    "APPNP": Row(appnp, rejected=2),
    "refined by a nested u-net": Row(refined_by_nested(16), rejected=1),
    "refined by a nested u-net of any size": Row(
        refined_by_nested(None), rejected=1
    ),
    "windows in a nested model": Row(windows_in_nested, 1),
    "pyramid pooling": Row(pyramid_pooling, rejected=1),
    "global context": Row(global_context, rejected=1),
    "branch handed out": Row(branch_handed_out, 0, 1),
    "ConvLSTM": Row(convlstm, 1),
    "waveform autoencoder": Row(waveform_autoencoder, rejected=1),
    "own autoencoder": Row(own_autoencoder(16), rejected=1),
    "own autoencoder of any size": Row(own_autoencoder(None), rejected=1),
    "patches": Row(patchify, 1, rejected=1),
    "MobileViT": Row(mobilevit, 3),
    "dueling": Row(dueling, rejected=2),
    "Hiera": Row(hiera, 0, 1),
}
