"""Text, speech, time series, graphs and tables."""

import keras
from keras import layers as L
from keras import ops

from tests.conversion.finding.attention import Scale
from tests.conversion.finding.attention import mlp
from tests.conversion.zoo import Row

WIDTH = 8


def stream(length=12, width=WIDTH):
    return keras.Input((length, width))


def wave_net(shared=False, blocks=3, all_outputs=True):
    """Gated dilated convolutions; the skips are summed apart.

    With `shared` one convolution serves the stream and the skips.
    """
    x = inputs = stream(None)
    skips = []
    for rate in [2**i for i in range(blocks)]:
        conv = [
            L.Conv1D(
                WIDTH, 2, padding="causal", dilation_rate=rate, activation=a
            )
            for a in ("tanh", "sigmoid")
        ]
        h = conv[0](x) * conv[1](x)
        skips.append(L.Conv1D(WIDTH, 1)(h))
        x = x + (skips[-1] if shared else L.Conv1D(WIDTH, 1)(h))
    skips = L.Add()(skips)
    return keras.Model(inputs, [x, skips] if all_outputs else skips)


def temporal_convolutions():
    """TCN: a projection where the width changes, relu after the sum."""
    x = inputs = stream(width=4)
    for rate in (1, 2):
        h = x
        for _ in range(2):
            h = L.Conv1D(
                WIDTH,
                3,
                padding="causal",
                dilation_rate=rate,
                activation="relu",
            )(h)
            h = L.SpatialDropout1D(0.1)(h)
        skip = L.Conv1D(WIDTH, 1)(x) if rate == 1 else x
        x = L.ReLU()(L.Add()([skip, h]))
    return keras.Model(inputs, x)


def recurrent():
    x = inputs = stream()
    x = L.Add()([x, L.GRU(WIDTH, return_sequences=True)(x)])
    x = x + L.Bidirectional(
        L.LSTM(WIDTH, return_sequences=True), merge_mode="sum"
    )(x)
    h, *states = L.LSTM(WIDTH, return_sequences=True, return_state=True)(x)
    x = L.LayerNormalization()(x + h)
    h = L.LSTM(WIDTH, return_sequences=True)(x, initial_state=states)
    return keras.Model(inputs, [x + h, *states])


def decoder_states():
    """The states go in and out beside the stream."""
    x = inputs = stream(None)
    states = [keras.Input((WIDTH,)) for _ in range(4)]
    kept = []
    for i in (0, 2):
        lstm = L.LSTM(WIDTH, return_sequences=True, return_state=True)
        h, *ends = lstm(x, initial_state=states[i : i + 2])
        kept += ends
        x = x + h
    return keras.Model([inputs, *states], [x, *kept])


def gated_residual():
    """GRN of temporal fusion transformers: context and a gated unit."""
    x, c = inputs = stream(), keras.Input((5,))
    for width in (12, 12):
        skip = x if x.shape[-1] == width else L.Dense(width)(x)
        h = L.Dense(width)(x) + L.RepeatVector(12)(L.Dense(width)(c))
        h = L.Dense(width)(ops.elu(h))
        h = L.Dense(width)(h) * L.Dense(width, activation="sigmoid")(h)
        x = L.LayerNormalization()(L.Add()([skip, h]))
    return keras.Model(inputs, x)


def conformer():
    x = inputs = stream(None, 16)
    x = x + 0.5 * mlp(L.LayerNormalization()(x))
    h = L.LayerNormalization()(x)
    x = x + L.MultiHeadAttention(2, 8)(h, h)
    h = L.Conv1D(32, 1)(L.LayerNormalization()(x))
    h = ops.multiply(
        *[
            f(t)
            for f, t in zip(
                (lambda t: t, ops.sigmoid), ops.split(h, 2, axis=-1)
            )
        ]
    )
    h = L.BatchNormalization()(L.DepthwiseConv1D(5, padding="same")(h))
    x = x + L.Conv1D(16, 1)(ops.silu(h))
    x = L.LayerNormalization()(x + 0.5 * mlp(L.LayerNormalization()(x)))
    return keras.Model(inputs, x)


def time_mixing():
    """TSMixer and gMLP: over time, and a spatial gate."""
    x = inputs = stream()
    h = L.Permute((2, 1))(L.BatchNormalization()(x))
    x = x + L.Permute((2, 1))(L.Dense(12)(L.Dense(24, activation="relu")(h)))
    u, v = ops.split(L.Dense(2 * WIDTH, activation="gelu")(x), 2, axis=-1)
    v = ops.swapaxes(L.LayerNormalization()(v), 1, 2)
    v = ops.swapaxes(L.Dense(12)(v), 1, 2)
    x = x + L.Dense(WIDTH)(u * (v + 1.0))
    return keras.Model(inputs, x)


def n_beats():
    """The input less its forecast, and a sum of forecasts."""
    x = inputs = keras.Input((12,))
    total = None
    for _ in range(2):
        h = L.Dense(16, activation="relu")(x)
        forecast = L.Dense(4)(h)
        total = forecast if total is None else total + forecast
        x = x - L.Dense(12)(h)
    return keras.Model(inputs, [x, total])


def tide():
    x = inputs = keras.Input((12,))
    for width in (16, 8):
        h = L.Dropout(0.1)(L.Dense(width)(L.Dense(32, activation="relu")(x)))
        x = L.LayerNormalization()(h + L.Dense(width)(x))
    return keras.Model(inputs, x)


def tables():
    """ResNet and cross layers of tabular models."""
    x = x0 = inputs = keras.Input((10,))
    for _ in range(2):
        x = x0 * L.Dense(10)(x) + x
    h = L.Dense(10)(L.Dense(20, activation="relu")(L.BatchNormalization()(x)))
    return keras.Model(inputs, x + h)


def graph_network():
    """Messages along an adjacency matrix that is an input."""
    x, a = inputs = stream(), keras.Input((12, 12))
    x = x + ops.relu(ops.matmul(a, L.Dense(WIDTH)(x)))
    x = L.Add()([L.Dense(12)(x), mlp(ops.matmul(a, x), 12)])
    return keras.Model(inputs, x)


def point_net():
    """A transform of the points by a matrix that they give."""
    x = inputs = stream(None, 3)
    h = L.GlobalMaxPooling1D()(L.Conv1D(16, 1, activation="relu")(x))
    m = L.Reshape((3, 3))(L.Dense(9)(h))
    x = L.Dot(axes=(2, 1))([x, m])
    x = L.Conv1D(WIDTH, 1, activation="relu")(x)
    h = L.BatchNormalization()(L.Conv1D(WIDTH, 1)(x))
    return keras.Model(inputs, L.ReLU()(x + h))


def adapters():
    """A bottleneck inside the branch, with a residual of its own."""
    x = inputs = stream()
    h = mlp(L.LayerNormalization()(x))
    h = h + L.Dense(WIDTH)(L.Dense(2, activation="gelu")(h))
    return keras.Model(inputs, x + h)


def learned_scales():
    """A scale per channel on the skip, and one on the branch."""
    x = inputs = stream()
    x = Scale()(x) + mlp(x)
    x = x + Scale()(mlp(x))
    return keras.Model(inputs, x)


def own_sublayers():
    """A branch of one's own layers, nested and wrapped."""
    x = inputs = stream(5, 16)
    x = x + L.TimeDistributed(keras.Sequential([L.Dense(16, "relu")]))(x)
    x = x + keras.Sequential([L.Dense(4, "relu"), L.Dense(16)])(x)
    skip = L.TimeDistributed(L.Dense(6))(x)
    x = skip + keras.Sequential([L.Dense(9, "relu"), L.Dense(6)])(x)
    return keras.Model(inputs, x)


def bert_embeddings():
    tokens, segments = (keras.Input((8,), dtype="int32") for _ in range(2))
    x = L.Embedding(20, WIDTH)(tokens)
    s = L.Embedding(2, WIDTH)(segments)
    p = L.Embedding(8, WIDTH)(ops.arange(8)[None])
    x = L.LayerNormalization()(
        L.Add()([x, s, ops.broadcast_to(p, (1, 8, 8)) + 0.0 * x])
    )
    return keras.Model([tokens, segments], x)


def gated_sums():
    """Highway, GRU and mixture: a convex sum, and two experts."""
    x = inputs = stream()
    g = L.Dense(WIDTH, activation="sigmoid")(x)
    x = g * mlp(x) + (1.0 - g) * x
    w = L.Dense(2, activation="softmax")(x)
    x = w[..., :1] * mlp(x) + w[..., 1:] * mlp(x)
    return keras.Model(inputs, x)


def reversible():
    a, b = inputs = stream(), stream()
    for _ in range(2):
        a = a + mlp(b)
        b = b + mlp(a)
    return keras.Model(inputs, L.Concatenate()([a, b]))


def parallel_branches():
    x = inputs = stream()
    x = L.Dense(WIDTH, activation="relu")(x) + L.Dense(
        WIDTH, activation="tanh"
    )(x)
    x = mlp(x) + mlp(x)
    x = L.Add()([mlp(x), mlp(x), mlp(x)])
    x = L.AveragePooling1D(3, 1, "same")(x) + L.MaxPooling1D(3, 1, "same")(x)
    return keras.Model(inputs, x)


def broadcasts():
    """The sum has a size that one operand has not, known or not."""
    x = inputs = stream(None)
    first = x[:, :1]
    mean = ops.mean(x, axis=1, keepdims=True)
    pooled = L.GlobalAveragePooling1D(keepdims=True)(x)
    sums = [x + mlp(t) for t in (first, mean, pooled)]
    return keras.Model(inputs, sums)


def shifted():
    """Halves of a sequence of unknown length are no broadcast."""
    x = inputs = stream(None)
    x = x[:, 1:] + L.Dense(WIDTH)(L.Conv1D(9, 2, activation="relu")(x))
    return keras.Model(inputs, x)


def two_sources():
    a, b = inputs = stream(), stream()
    return keras.Model(inputs, [a + mlp(b), L.Dense(8)(a) + L.Dense(8)(b)])


def mean_of_layers():
    """ELMo: a weighted sum of what each layer gave."""
    x = inputs = stream()
    layers = [x]
    for _ in range(2):
        layers.append(L.LSTM(WIDTH, return_sequences=True)(layers[-1]))
    a, b, c = layers
    return keras.Model(inputs, 0.2 * b + 0.3 * c + 0.5 * L.Dense(WIDTH)(a))


def context():
    """Attention to states of an encoder, by layers and by hand."""
    x, other = inputs = stream(), stream(5)
    states = L.LSTM(WIDTH, return_sequences=True)(other)
    x = x + L.Attention()([x, states])
    x = x + L.AdditiveAttention()([x, states])
    scores = L.Softmax()(L.Dot(axes=2)([x, states]))
    x = x + L.Dot(axes=(2, 1))([scores, states])
    return keras.Model(inputs, x)


def written_otherwise():
    """Sums that no LAuReL layer replaces, which are named all the same."""
    x = inputs = stream()
    x = x + mlp(x)
    x = L.Average()([x, mlp(x)])
    x = ops.sum(ops.stack([x, mlp(x)], axis=1), axis=1)
    x = ops.mean(ops.stack([x, mlp(x)], axis=-1), axis=-1)
    x = ops.sum(ops.stack([x, mlp(x)]), axis=[0])
    # Over the features, not over the stack.
    x = L.Dense(WIDTH)(ops.sum(ops.stack([x, mlp(x)], axis=1), axis=-1))
    return keras.Model(inputs, x)


ROWS = {
    "WaveNet": Row(wave_net, 3, rejected=1),
    "WaveNet, shared": Row(lambda: wave_net(True), 3, rejected=1),
    "WaveNet, skips only": Row(lambda: wave_net(True, 4, False), 3, rejected=1),
    "WaveNet, shared, of two": Row(lambda: wave_net(True, 2), 2, rejected=1),
    "context": Row(context, 3),
    "written otherwise": Row(written_otherwise, 1, rejected=4),
    "temporal convolutions": Row(temporal_convolutions, 1, 1),
    "recurrent": Row(recurrent, 4),
    "decoder states": Row(decoder_states, 2),
    "gated residual": Row(gated_residual, 1, 1, rejected=2),
    "Conformer": Row(conformer, 4),
    "time mixing": Row(time_mixing, 2, rejected=1),
    "N-BEATS": Row(n_beats, rejected=3),
    "TiDE": Row(tide, 0, 2),
    "tables": Row(tables, 3),
    "graph network": Row(graph_network, 1, 1),
    "PointNet": Row(point_net, 1),
    "adapters": Row(adapters, 2),
    "learned scales": Row(learned_scales, 1, 1),
    "own sublayers": Row(own_sublayers, 2, 1),
    "BERT embeddings": Row(bert_embeddings, rejected=2),
    "gated sums": Row(gated_sums, rejected=2),
    "reversible": Row(reversible, rejected=4),
    "parallel branches": Row(parallel_branches, rejected=4),
    "broadcasts": Row(broadcasts, rejected=3),
    "shifted": Row(shifted, 1),
    "two sources": Row(two_sources, rejected=2),
    "mean of layers": Row(mean_of_layers, 1, 1),
}
