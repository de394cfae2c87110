"""Models of text, as on keras.io and in tutorials."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import padded_tokens
from tests.conversion.inside.row import tokens


@keras.saving.register_keras_serializable(package="own_text")
class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, maxlen, vocab_size, embed_dim, **kwargs):
        super().__init__(**kwargs)
        self.token_emb = layers.Embedding(vocab_size, embed_dim)
        self.pos_emb = layers.Embedding(maxlen, embed_dim)

    def call(self, x):
        maxlen = ops.shape(x)[-1]
        positions = ops.arange(0, maxlen, step=1)
        positions = self.pos_emb(positions)
        x = self.token_emb(x)
        return x + positions


@keras.saving.register_keras_serializable(package="own_text")
class TransformerBlock(layers.Layer):
    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.att = layers.MultiHeadAttention(num_heads, key_dim=embed_dim)
        self.ffn = keras.Sequential(
            [layers.Dense(ff_dim, activation="relu"), layers.Dense(embed_dim)]
        )
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(rate)
        self.dropout2 = layers.Dropout(rate)

    def call(self, inputs):
        attn_output = self.att(inputs, inputs)
        attn_output = self.dropout1(attn_output)
        out1 = self.layernorm1(inputs + attn_output)  # residual
        ffn_output = self.ffn(out1)
        ffn_output = self.dropout2(ffn_output)
        return self.layernorm2(out1 + ffn_output)  # residual


def classifier():
    inputs = layers.Input(shape=(None,), dtype="int32")
    x = TokenAndPositionEmbedding(16, 16, 8)(inputs)
    x = TransformerBlock(8, 2, 16, name="transformer_block")(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.1)(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


@keras.saving.register_keras_serializable(package="own_text")
class CausalSelfAttention(layers.Layer):
    """Written with `ops`; batch and length are read when it runs."""

    def __init__(self, n_embd, n_head, **kwargs):
        super().__init__(**kwargs)
        self.n_embd, self.n_head = n_embd, n_head
        self.c_attn = layers.Dense(3 * n_embd)
        self.c_proj = layers.Dense(n_embd)

    def call(self, x):
        batch, steps = ops.shape(x)[0], ops.shape(x)[1]
        q, k, v = ops.split(self.c_attn(x), 3, axis=-1)
        shape = (batch, steps, self.n_head, self.n_embd // self.n_head)
        q, k, v = [
            ops.transpose(ops.reshape(t, shape), (0, 2, 1, 3))
            for t in (q, k, v)
        ]
        att = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))
        att = att / np.sqrt(self.n_embd // self.n_head)
        mask = ops.tril(ops.ones((steps, steps), dtype=att.dtype))
        att = att + (1.0 - mask) * -1e4
        y = ops.matmul(ops.softmax(att), v)
        y = ops.transpose(y, (0, 2, 1, 3))
        return self.c_proj(ops.reshape(y, (batch, steps, self.n_embd)))


@keras.saving.register_keras_serializable(package="own_text")
class GPTBlock(layers.Layer):
    def __init__(self, n_embd, n_head, **kwargs):
        super().__init__(**kwargs)
        self.ln_1 = layers.LayerNormalization()
        self.attn = CausalSelfAttention(n_embd, n_head)
        self.ln_2 = layers.LayerNormalization()
        self.c_fc = layers.Dense(4 * n_embd, activation="gelu")
        self.c_proj = layers.Dense(n_embd)

    def call(self, x):
        x = x + self.attn(self.ln_1(x))  # residual
        return x + self.c_proj(self.c_fc(self.ln_2(x)))  # residual


@keras.saving.register_keras_serializable(package="own_text")
class GPT(keras.Model):
    def __init__(self, vocab_size=16, n_layer=2, n_embd=8, n_head=2, **kwargs):
        super().__init__(**kwargs)
        self.wte = layers.Embedding(vocab_size, n_embd)
        self.wpe = layers.Embedding(16, n_embd)
        self.blocks = [GPTBlock(n_embd, n_head) for _ in range(n_layer)]
        self.ln_f = layers.LayerNormalization()

    def call(self, idx):
        pos = ops.arange(ops.shape(idx)[1])
        x = self.wte(idx) + self.wpe(pos)
        for block in self.blocks:
            x = block(x)
        x = self.ln_f(x)
        return ops.matmul(x, ops.transpose(self.wte.embeddings))


@keras.saving.register_keras_serializable(package="own_text")
class BertLayer(layers.Layer):
    def __init__(self, hidden, heads, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.heads = hidden, heads
        self.attention = layers.MultiHeadAttention(heads, hidden // heads)
        self.attention_norm = layers.LayerNormalization(epsilon=1e-12)
        self.intermediate = layers.Dense(2 * hidden, activation="gelu")
        self.output_dense = layers.Dense(hidden)
        self.output_norm = layers.LayerNormalization(epsilon=1e-12)
        self.dropout = layers.Dropout(0.1)

    def call(self, hidden_states, attention_mask=None, training=None):
        a = self.attention(
            hidden_states, hidden_states, attention_mask=attention_mask
        )
        a = self.dropout(a, training=training)
        h = self.attention_norm(a + hidden_states)  # residual right
        o = self.output_dense(self.intermediate(h))
        o = self.dropout(o, training=training)
        return self.output_norm(o + h)  # residual right

    def get_config(self):
        config = super().get_config()
        config.update({"hidden": self.hidden, "heads": self.heads})
        return config


@keras.saving.register_keras_serializable(package="own_text")
class Bert(keras.Model):
    def __init__(self, hidden=8, **kwargs):
        super().__init__(**kwargs)
        self.word = layers.Embedding(16, hidden)
        self.position = layers.Embedding(16, hidden)
        self.segment = layers.Embedding(2, hidden)
        self.norm = layers.LayerNormalization()
        self.encoder = [BertLayer(hidden, 2, name=f"l{i}") for i in range(2)]
        self.pooler = layers.Dense(hidden, activation="tanh")

    def call(self, inputs, training=None):
        ids, segments = inputs["token_ids"], inputs["segment_ids"]
        mask = ops.cast(inputs["padding_mask"], "bool")[:, None, :]
        x = self.word(ids) + self.segment(segments)
        x = self.norm(x + self.position(ops.arange(ops.shape(ids)[1])))
        for layer in self.encoder:
            x = layer(x, attention_mask=mask, training=training)
        return {"sequence_output": x, "pooled_output": self.pooler(x[:, 0])}


def bert_inputs(batch, length, rng):
    ids = padded_tokens(batch, length, rng)
    segments = (np.arange(length) > 2) * np.ones_like(ids)
    return {
        "token_ids": ids,
        "segment_ids": segments.astype("int32"),
        "padding_mask": (ids > 0).astype("int32"),
    }


@keras.saving.register_keras_serializable(package="own_text")
class RMSNorm(layers.Layer):
    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.scale = self.add_weight(
            name="scale", shape=(input_shape[-1],), initializer="ones"
        )

    def call(self, x):
        variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
        return x * ops.rsqrt(variance + self.epsilon) * self.scale


def rotate(x):
    """Rotary position embedding of `(batch, steps, heads, head_dim)`."""
    steps, half = ops.shape(x)[1], x.shape[-1] // 2
    inverse = 10000.0 ** (-ops.arange(half, dtype="float32") / half)
    angle = ops.arange(steps, dtype="float32")[:, None] * inverse
    cos = ops.cast(ops.cos(angle)[:, None, :], x.dtype)
    sin = ops.cast(ops.sin(angle)[:, None, :], x.dtype)
    a, b = x[..., :half], x[..., half:]
    return ops.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


@keras.saving.register_keras_serializable(package="own_text")
class LlamaAttention(layers.Layer):
    def __init__(self, dim, heads, kv_heads, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.wq = layers.Dense(dim, use_bias=False)
        self.wk = layers.Dense(kv_heads * self.head_dim, use_bias=False)
        self.wv = layers.Dense(kv_heads * self.head_dim, use_bias=False)
        self.wo = layers.Dense(dim, use_bias=False)

    def call(self, x):
        steps = ops.shape(x)[1]
        q = ops.reshape(self.wq(x), (-1, steps, self.heads, self.head_dim))
        k = ops.reshape(self.wk(x), (-1, steps, self.kv_heads, self.head_dim))
        v = ops.reshape(self.wv(x), (-1, steps, self.kv_heads, self.head_dim))
        q, k = rotate(q), rotate(k)
        k = ops.repeat(k, self.heads // self.kv_heads, axis=2)
        v = ops.repeat(v, self.heads // self.kv_heads, axis=2)
        scores = ops.einsum("bqhd,bkhd->bhqk", q, k) * self.head_dim**-0.5
        row = ops.arange(steps)
        causal = row[:, None] >= row[None, :]
        scores = ops.where(causal, scores, -1e4)
        out = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), v)
        return self.wo(
            ops.reshape(out, (-1, steps, self.heads * self.head_dim))
        )


@keras.saving.register_keras_serializable(package="own_text")
class SwiGLU(layers.Layer):
    def __init__(self, dim, hidden, **kwargs):
        super().__init__(**kwargs)
        self.w1 = layers.Dense(hidden, use_bias=False)
        self.w2 = layers.Dense(dim, use_bias=False)
        self.w3 = layers.Dense(hidden, use_bias=False)

    def call(self, x):
        return self.w2(ops.silu(self.w1(x)) * self.w3(x))


@keras.saving.register_keras_serializable(package="own_text")
class LlamaBlock(layers.Layer):
    def __init__(self, dim, heads, **kwargs):
        super().__init__(**kwargs)
        self.attention = LlamaAttention(dim, heads, heads // 2)
        self.feed_forward = SwiGLU(dim, 2 * dim)
        self.attention_norm = RMSNorm()
        self.ffn_norm = RMSNorm()

    def call(self, x):
        h = x + self.attention(self.attention_norm(x))  # residual
        out = h + self.feed_forward(self.ffn_norm(h))  # residual
        return out


@keras.saving.register_keras_serializable(package="own_text")
class Llama(keras.Model):
    def __init__(self, dim=8, n_layers=2, **kwargs):
        super().__init__(**kwargs)
        self.tok_embeddings = layers.Embedding(16, dim)
        self.layer_list = [LlamaBlock(dim, 2) for _ in range(n_layers)]
        self.norm = RMSNorm()
        self.head = layers.Dense(16, use_bias=False)

    def call(self, tokens, training=False):
        h = self.tok_embeddings(tokens)
        for layer in self.layer_list:
            h = layer(h)
        return self.head(self.norm(h))


@keras.saving.register_keras_serializable(package="own_text")
class MixtureOfExperts(layers.Layer):
    def __init__(self, dim, experts, k, **kwargs):
        super().__init__(**kwargs)
        self.k = k
        self.gate = layers.Dense(experts, use_bias=False)
        self.experts = [
            keras.Sequential([layers.Dense(16, "relu"), layers.Dense(dim)])
            for _ in range(experts)
        ]

    def call(self, x):
        weights, index = ops.top_k(self.gate(x), self.k)
        weights = ops.softmax(weights, axis=-1)
        out = ops.zeros_like(x)
        for i, expert in enumerate(self.experts):
            chosen = ops.cast(ops.equal(index, i), weights.dtype)
            weight = ops.sum(weights * chosen, axis=-1, keepdims=True)
            out = out + weight * expert(x)
        return out


@keras.saving.register_keras_serializable(package="own_text")
class SparseBlock(layers.Layer):
    def __init__(self, dim=8, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = layers.LayerNormalization()
        self.norm2 = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(2, dim // 2)
        self.moe = MixtureOfExperts(dim, 3, 2)

    def call(self, x):
        h = self.norm1(x)
        x = x + self.attention(h, h, use_causal_mask=True)  # residual
        x = x + self.moe(self.norm2(x))  # residual
        return x


def switch():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(16, 8)(inputs)
    x = SparseBlock(name="sparse")(x)
    return keras.Model(inputs, layers.Dense(16)(x))


@keras.saving.register_keras_serializable(package="own_text")
class FNetEncoder(layers.Layer):
    def __init__(self, embed_dim, dense_dim, **kwargs):
        super().__init__(**kwargs)
        self.dense_proj = keras.Sequential(
            [
                layers.Dense(dense_dim, activation="relu"),
                layers.Dense(embed_dim),
            ]
        )
        self.layernorm_1 = layers.LayerNormalization()
        self.layernorm_2 = layers.LayerNormalization()

    def call(self, inputs):
        mixed, _ = ops.fft2((inputs, ops.zeros_like(inputs)))
        # f has no weights here, but it is the paper's residual all the same.
        proj_input = self.layernorm_1(inputs + mixed)  # residual
        proj_output = self.dense_proj(proj_input)
        return self.layernorm_2(proj_input + proj_output)  # residual


def fnet():
    inputs = keras.Input((None,), dtype="int32")
    x = TokenAndPositionEmbedding(16, 16, 8)(inputs)
    x = FNetEncoder(8, 16, name="fnet_0")(x)
    x = FNetEncoder(8, 16, name="fnet_1")(x)
    return keras.Model(inputs, layers.Dense(3)(x))


ROWS = {
    # One block, its attention and its feed-forward network.
    "classifier": Row(classifier, tokens, ("transformer_block",) * 2),
    # Two blocks of two; not `wte + wpe`, nor the mask of the scores.
    "gpt": Row(GPT, tokens, each("blocks", 2, 2)),
    # Two layers of two; not the three embeddings.
    "bert": Row(Bert, bert_inputs, each("encoder", 2, 2)),
    "llama": Row(Llama, tokens, each("layer_list", 2, 2)),
    # Not the sum over the experts.
    "switch": Row(switch, tokens, ("sparse",) * 2),
    "fnet": Row(fnet, tokens, ("fnet_0", "fnet_0", "fnet_1", "fnet_1")),
}
