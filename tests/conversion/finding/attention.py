"""Attention as people write it with `keras.ops`, around tokens and images."""

import keras
from keras import layers as L
from keras import ops

from tests.conversion.zoo import Row

WIDTH = 16
HEADS = 4


def mlp(x, width=None):
    width = width or x.shape[-1]
    return L.Dense(width)(L.Dense(2 * width, activation="gelu")(x))


def heads_of(x, tokens, heads=HEADS):
    """(batch, heads, tokens, width of a head)."""
    x = ops.reshape(x, (-1, tokens, heads, x.shape[-1] // heads))
    return ops.transpose(x, (0, 2, 1, 3))


def attend(q, k, v, bias=None):
    scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))
    scores = scores / q.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    return ops.matmul(ops.softmax(scores), v)


def merged(x, tokens, width=WIDTH):
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, tokens, width))


def attention(x, tokens, **kwargs):
    width = x.shape[-1]
    q, k, v = (heads_of(L.Dense(width)(x), tokens) for _ in range(3))
    return L.Dense(width)(merged(attend(q, k, v, **kwargs), tokens, width))


def vit(tokens=64):
    x = inputs = keras.Input((tokens, WIDTH))
    for _ in range(2):
        x = x + attention(L.LayerNormalization()(x), tokens)
        x = x + mlp(L.LayerNormalization()(x))
    return keras.Model(inputs, x)


def beit():
    """One product for q, k and v, a learned bias, a scale on each branch."""
    x = inputs = keras.Input((49, WIDTH))
    h = L.Dense(3 * WIDTH)(L.LayerNormalization()(x))
    h = ops.transpose(ops.reshape(h, (-1, 49, 3, HEADS, 4)), (2, 0, 3, 1, 4))
    h = merged(attend(h[0], h[1], h[2], bias=ops.ones((1, HEADS, 49, 49))), 49)
    x = x + Scale()(L.Dense(WIDTH)(h))
    x = x + Scale()(mlp(L.LayerNormalization()(x)))
    return keras.Model(inputs, x)


def set_transformer():
    """Queries in heads are the skip: no weights lie behind them.

    The second layer divides them into heads twice.
    """
    x, y = inputs = keras.Input((6, WIDTH)), keras.Input((9, WIDTH))
    for other, again in ((y, False), (x, True)):
        queries = L.Dense(WIDTH)(x)
        skip = heads_of(queries, 6)
        q = heads_of(queries, 6) if again else skip
        count = other.shape[1]
        k, v = (heads_of(L.Dense(WIDTH)(other), count) for _ in range(2))
        x = merged(skip + attend(q, k, v), 6)
        x = x + L.Dense(WIDTH, activation="relu")(x)
    return keras.Model(inputs, x)


@keras.saving.register_keras_serializable(package="tests")
class Scale(L.Layer):
    """A learned scale per channel, as LayerScale."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=input_shape[-1:])

    def call(self, x):
        return x * self.scale


def windows(x, size, window):
    n = size // window
    x = ops.reshape(x, (-1, n, window, n, window, x.shape[-1]))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, window**2, x.shape[-1]))


def from_windows(x, size, window):
    n = size // window
    x = ops.reshape(x, (-1, n, n, window, window, x.shape[-1]))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, size, size, x.shape[-1]))


def swin(norm_first=True):
    def build():
        x = inputs = keras.Input((16, 16, WIDTH))
        norms = iter([L.LayerNormalization() for _ in range(4)])
        for shift in (0, 2):
            h = next(norms)(x) if norm_first else x
            h = ops.roll(h, (-shift, -shift), axis=(1, 2)) if shift else h
            h = attention(windows(h, 16, 4), 16)
            h = from_windows(h, 16, 4)
            h = ops.roll(h, (shift, shift), axis=(1, 2)) if shift else h
            x = x + (h if norm_first else next(norms)(h))
            if norm_first:
                x = x + mlp(next(norms)(x))
            else:
                x = x + next(norms)(mlp(x))
        return keras.Model(inputs, x)

    return build


def max_vit():
    """An inverted bottleneck, windows, and a grid that is strided."""
    x = inputs = keras.Input((16, 16, 8))
    skip = L.Conv2D(WIDTH, 1)(L.AveragePooling2D(2)(x))
    h = L.Conv2D(32, 1, activation="gelu")(L.BatchNormalization()(x))
    h = L.DepthwiseConv2D(3, 2, padding="same", activation="gelu")(h)
    gate = L.GlobalAveragePooling2D(keepdims=True)(h)
    gate = L.Conv2D(32, 1, activation="sigmoid")(
        L.Conv2D(4, 1, activation="silu")(gate)
    )
    x = skip + L.Conv2D(WIDTH, 1)(h * gate)
    h = attention(windows(L.LayerNormalization()(x), 8, 4), 16)
    x = x + from_windows(h, 8, 4)
    x = x + mlp(L.LayerNormalization()(x))
    h = ops.reshape(L.LayerNormalization()(x), (-1, 4, 2, 4, 2, WIDTH))
    h = ops.reshape(ops.transpose(h, (0, 2, 4, 1, 3, 5)), (-1, 16, WIDTH))
    h = ops.reshape(attention(h, 16), (-1, 2, 2, 4, 4, WIDTH))
    h = ops.transpose(h, (0, 3, 1, 4, 2, 5))
    x = x + ops.reshape(h, (-1, 8, 8, WIDTH))
    x = x + mlp(L.LayerNormalization()(x))
    return keras.Model(inputs, x)


def levit():
    """Convolutions for products, keys of another width, a hard swish."""
    x = inputs = keras.Input((7, 7, WIDTH))
    for _ in range(2):
        h = L.BatchNormalization()(L.Conv2D(2 * WIDTH, 1)(x))
        h = ops.reshape(h, (-1, 49, HEADS, 8))
        q, k, v = h[..., :2], h[..., 2:4], h[..., 4:]
        scores = ops.einsum("bqhd,bkhd->bhqk", q, k) * 2**-0.5
        h = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), v)
        h = ops.reshape(ops.hard_silu(h), (-1, 7, 7, 16))
        x = x + L.BatchNormalization()(L.Conv2D(WIDTH, 1)(h))
        h = L.Conv2D(2 * WIDTH, 1, activation="hard_silu")(x)
        x = L.Add()([x, L.BatchNormalization()(L.Conv2D(WIDTH, 1)(h))])
    return keras.Model(inputs, x)


def pyramid_vision():
    """Keys and values of a coarser image (PVT), no up-sampling."""
    x = inputs = keras.Input((16, 16, WIDTH))
    h = L.LayerNormalization()(x)
    coarse = L.LayerNormalization()(L.Conv2D(WIDTH, 4, 4)(h))
    q = heads_of(L.Dense(WIDTH)(h), 256)
    k, v = (heads_of(L.Dense(WIDTH)(coarse), 16) for _ in range(2))
    h = ops.reshape(merged(attend(q, k, v), 256), (-1, 16, 16, WIDTH))
    x = x + L.Dense(WIDTH)(h)
    h = L.Dense(32)(L.LayerNormalization()(x))
    h = L.DepthwiseConv2D(3, padding="same", activation="gelu")(h)
    return keras.Model(inputs, x + L.Dense(WIDTH)(h))


def rotated(x):
    even, odd = x[..., ::2], x[..., 1::2]
    x = ops.stack([0.6 * even - 0.8 * odd, 0.8 * even + 0.6 * odd], axis=-1)
    return ops.reshape(x, (-1, 32, x.shape[-3], 8))


def llama():
    """Rotated and grouped queries, gated MLP, no biases."""
    x = inputs = keras.Input((32, WIDTH))
    for _ in range(2):
        h = L.RMSNormalization()(x)
        q = rotated(ops.reshape(L.Dense(32)(h), (-1, 32, 4, 8)))
        k = rotated(ops.reshape(L.Dense(16)(h), (-1, 32, 2, 8)))
        v = ops.reshape(L.Dense(16)(h), (-1, 32, 2, 8))
        k, v = (ops.repeat(t, 2, axis=2) for t in (k, v))
        scores = ops.einsum("bqhd,bkhd->bhqk", q, k)
        scores = scores + (ops.tri(32) - 1.0) * 1e9
        h = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), v)
        x = x + L.Dense(WIDTH, use_bias=False)(ops.reshape(h, (-1, 32, 32)))
        h = L.RMSNormalization()(x)
        h = ops.silu(L.Dense(32)(h)) * L.Dense(32)(h)
        x = x + L.Dense(WIDTH)(h)
    return keras.Model(inputs, x)


def masked_by_hand():
    """A mask as an input, of 0 and 1, and scores that are handed out."""
    x = inputs = keras.Input((6, WIDTH))
    mask = keras.Input((6,))
    hidden = []
    for _ in range(2):
        q, k, v = (heads_of(L.Dense(WIDTH)(x), 6) for _ in range(3))
        scores = ops.matmul(q, ops.swapaxes(k, -1, -2))
        scores = scores - 1e9 * (1.0 - ops.reshape(mask, (-1, 1, 1, 6)))
        scores = ops.softmax(scores)
        hidden.append(scores)
        x = x + L.Dense(WIDTH)(merged(ops.matmul(scores, v), 6))
        x = L.LayerNormalization()(x)
    return keras.Model([inputs, mask], [x, ops.stack(hidden, axis=1)])


def linear_attention():
    """Keys meet values first: a matrix of width by width."""
    x = inputs = keras.Input((None, WIDTH))
    h = L.LayerNormalization()(x)
    q, k = (L.Dense(WIDTH, activation="elu")(h) + 1.0 for _ in range(2))
    context = ops.einsum("btd,bte->bde", k, L.Dense(WIDTH)(h))
    return keras.Model(inputs, x + ops.einsum("btd,bde->bte", q, context))


def along_axes():
    """Attention over rows and then over columns."""
    x = inputs = keras.Input((8, 6, WIDTH))
    h = ops.reshape(L.LayerNormalization()(x), (-1, 6, WIDTH))
    x = x + ops.reshape(attention(h, 6), (-1, 8, 6, WIDTH))
    h = ops.transpose(L.LayerNormalization()(x), (0, 2, 1, 3))
    h = ops.reshape(
        attention(ops.reshape(h, (-1, 8, WIDTH)), 8), (-1, 6, 8, 16)
    )
    return keras.Model(inputs, x + ops.transpose(h, (0, 2, 1, 3)))


def non_local():
    """A pixel attends to all, at half the width, with pooled keys."""
    x = inputs = keras.Input((8, 8, WIDTH))
    q = ops.reshape(L.Conv2D(8, 1)(x), (-1, 64, 8))
    pooled = L.MaxPooling2D(2)(x)
    k, v = (ops.reshape(L.Conv2D(8, 1)(pooled), (-1, 16, 8)) for _ in "kv")
    scores = ops.softmax(L.Dot(axes=2)([q, k]))
    h = ops.reshape(L.Dot(axes=(2, 1))([scores, v]), (-1, 8, 8, 8))
    return keras.Model(inputs, L.Add()([L.Conv2D(WIDTH, 1)(h), x]))


def encoder_and_decoder():
    source = keras.Input((6, WIDTH))
    x = target = keras.Input((4, WIDTH))
    c = source
    c = L.LayerNormalization()(c + L.MultiHeadAttention(2, 4)(c, c))
    c = L.LayerNormalization()(c + mlp(c))
    scores = []
    for _ in range(2):
        h = L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
        x = L.LayerNormalization()(x + h)
        h, s = L.MultiHeadAttention(2, 4)(x, c, return_attention_scores=True)
        scores.append(s)
        x = L.LayerNormalization()(L.Add()([h, x]))
        x = L.LayerNormalization()(x + mlp(x))
    return keras.Model([source, target], [x, *scores])


def masked_tokens():
    """Keras passes the mask of the embedding to each layer."""
    tokens = keras.Input((8,), dtype="int32")
    x = L.Embedding(20, WIDTH, mask_zero=True)(tokens)
    mask = keras.Input((8, 8), dtype="bool")
    h, scores = L.MultiHeadAttention(2, 4)(
        x, x, attention_mask=mask, return_attention_scores=True
    )
    x = L.LayerNormalization()(L.Add()([x, h]))
    x = L.Add()([x, L.LSTM(WIDTH, return_sequences=True)(x)])
    skip = L.BatchNormalization()(L.Dense(24)(x))
    x = L.Add()([skip, mlp(x, 24)])
    return keras.Model([tokens, mask], [x, scores])


def parallel_attention(spelling):
    """GPT-J: attention and feed-forward read one norm."""

    def build():
        x = inputs = keras.Input((8, WIDTH))
        for _ in range(2):
            h = L.LayerNormalization()(x)
            x = spelling(x, attention(h, 8), mlp(h))
        return keras.Model(inputs, x)

    return build


def positions_added():
    """Tokens, segments and positions; then a block."""
    tokens, segments = (keras.Input((8,), dtype="int32") for _ in range(2))
    x = L.Embedding(20, WIDTH)(tokens) + L.Embedding(2, WIDTH)(segments)
    x = x + L.Embedding(8, WIDTH)(ops.arange(8))
    x = x + Positions()(x)
    x = x + mlp(x)
    return keras.Model([tokens, segments], x)


@keras.saving.register_keras_serializable(package="tests")
class Positions(L.Layer):
    """Reads the shape of its input, in an embedding of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = L.Embedding(8, WIDTH)

    def build(self, input_shape):
        self.table.build((None,))

    def call(self, x):
        table = self.table(ops.arange(ops.shape(x)[1]))
        return ops.broadcast_to(table, (1, *table.shape))

    def compute_output_shape(self, input_shape):
        return input_shape


ROWS = {
    "ViT": Row(vit, 4),
    "BEiT": Row(beit, 2, rejected=1),  # the bias of the scores
    "Swin": Row(swin(), 4),
    "Swin v2": Row(swin(norm_first=False), 4),
    "MaxViT": Row(max_vit, 4, 1),
    "LeViT": Row(levit, 4),
    "pyramid vision": Row(pyramid_vision, 2),
    # In each rotation a difference and a sum, and a causal mask.
    "Llama": Row(llama, 4, rejected=2 * 5),
    "masked by hand": Row(masked_by_hand, 2, rejected=2),
    "linear attention": Row(linear_attention, 1, rejected=2),
    "along axes": Row(along_axes, 2),
    "non-local": Row(non_local, 1),
    "set transformer": Row(set_transformer, 4),
    "encoder and decoder": Row(encoder_and_decoder, 8),
    "masked tokens": Row(masked_tokens, 2, 1),
    "parallel, +": Row(
        parallel_attention(lambda x, a, b: x + a + b), 2, rejected=2
    ),
    "parallel, reversed": Row(
        parallel_attention(lambda x, a, b: b + (a + x)), 2, rejected=2
    ),
    "parallel, grouped": Row(
        parallel_attention(lambda x, a, b: x + (a + b)), 2, rejected=2
    ),
    "parallel, one Add": Row(
        parallel_attention(lambda *terms: L.Add()(terms)), 2
    ),
    "positions": Row(positions_added, 1, rejected=3),
}
