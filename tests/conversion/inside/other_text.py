"""Models of sequences in other hands' styles: not seen while converting was
written. Written after HuggingFace, lucidrains, RWKV, DETR, TFT and others."""

import functools
import math

import keras
from keras import layers
from keras import ops

from tests.conversion.inside.row import WIDTH
from tests.conversion.inside.row import Row
from tests.conversion.inside.row import each
from tests.conversion.inside.row import sequence
from tests.conversion.inside.row import tokens


def split_heads(x, num_heads):
    size = x.shape[-1] // num_heads
    x = ops.reshape(x, (ops.shape(x)[0], -1, num_heads, size))
    return ops.transpose(x, (0, 2, 1, 3))


def merge_heads(x):
    x = ops.transpose(x, (0, 2, 1, 3))
    return ops.reshape(x, (ops.shape(x)[0], -1, x.shape[2] * x.shape[3]))


class GPT2Attention(layers.Layer):
    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.n_head = config["n_head"]
        self.c_attn = layers.Dense(3 * config["n_embd"])
        self.c_proj = layers.Dense(config["n_embd"])

    def _attn(self, q, k, v, output_attentions=False):
        w = ops.matmul(q, ops.swapaxes(k, -1, -2))
        w = w / math.sqrt(v.shape[-1])
        nd, ns = ops.shape(w)[-2], ops.shape(w)[-1]
        i, j = ops.arange(nd)[:, None], ops.arange(ns)
        b = ops.cast(i >= j - ns + nd, w.dtype)
        w = w * b - 1e4 * (1 - b)
        w = ops.softmax(w, axis=-1)
        outputs = [ops.matmul(w, v)]
        if output_attentions:
            outputs.append(w)
        return outputs

    def call(self, x, layer_past=None, output_attentions=False):
        query, key, value = ops.split(self.c_attn(x), 3, axis=2)
        query = split_heads(query, self.n_head)
        key = split_heads(key, self.n_head)
        value = split_heads(value, self.n_head)
        outputs = self._attn(query, key, value, output_attentions)
        return [self.c_proj(merge_heads(outputs[0])), None] + outputs[1:]


class GPT2Block(layers.Layer):
    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.ln_1 = layers.LayerNormalization(epsilon=1e-5)
        self.attn = GPT2Attention(config, name="attn")
        self.ln_2 = layers.LayerNormalization(epsilon=1e-5)
        self.mlp = keras.Sequential(
            [layers.Dense(16, activation="gelu"), layers.Dense(WIDTH)]
        )

    def call(self, hidden_states, layer_past=None, use_cache=False):
        residual = hidden_states
        hidden_states = self.ln_1(hidden_states)
        attn_outputs = self.attn(hidden_states, layer_past=layer_past)
        attn_output = attn_outputs[0]
        outputs = attn_outputs[2:]
        hidden_states = attn_output + residual  # residual right
        residual = hidden_states
        hidden_states = self.ln_2(hidden_states)
        feed_forward_hidden_states = self.mlp(hidden_states)
        hidden_states = residual + feed_forward_hidden_states  # residual
        return [hidden_states] + outputs


class GPT2MainLayer(layers.Layer):
    def __init__(self, config, **kwargs):
        super().__init__(**kwargs)
        self.wte = layers.Embedding(16, config["n_embd"])
        self.wpe = layers.Embedding(16, config["n_embd"])
        self.h = [GPT2Block(config, name=f"h_{i}") for i in range(2)]
        self.ln_f = layers.LayerNormalization(epsilon=1e-5)

    def call(self, input_ids=None, position_ids=None, use_cache=None):
        if position_ids is None:
            position_ids = ops.expand_dims(
                ops.arange(0, ops.shape(input_ids)[-1]), axis=0
            )
        hidden_states = self.wte(input_ids) + self.wpe(position_ids)
        presents = () if use_cache else None
        for block in self.h:
            outputs = block(hidden_states, use_cache=use_cache)
            hidden_states = outputs[0]
            if use_cache:
                presents = presents + (outputs[1],)
        return {"last_hidden_state": self.ln_f(hidden_states)}


class GPT2Model(keras.Model):
    """As in HuggingFace's TF models; its config is a dict, unregistered."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        config = {"n_head": 2, "n_embd": WIDTH}
        self.transformer = GPT2MainLayer(config, name="transformer")

    def call(self, inputs, **kwargs):
        outputs = self.transformer(input_ids=inputs, **kwargs)
        return outputs["last_hidden_state"]


class Residual(layers.Layer):
    def __init__(self, fn, **kwargs):
        super().__init__(**kwargs)
        self.fn = fn

    def call(self, x, **kwargs):
        return self.fn(x, **kwargs) + x  # residual right


class PreNorm(layers.Layer):
    def __init__(self, dim, fn, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization()
        self.fn = fn

    def call(self, x, *args, **kwargs):
        return self.fn(self.norm(x), *args, **kwargs)


class Attention(layers.Layer):
    def __init__(self, dim, heads=2, dim_head=4, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.scale = heads, dim_head**-0.5
        self.to_qkv = layers.Dense(heads * dim_head * 3, use_bias=False)
        self.to_out = keras.Sequential([layers.Dense(dim), layers.Dropout(0.0)])

    def call(self, x, scale=1.0):
        qkv = ops.split(self.to_qkv(x), 3, axis=-1)
        q, k, v = map(lambda t: split_heads(t, self.heads), qkv)
        dots = ops.einsum("bhid,bhjd->bhij", q, k) * self.scale * scale
        out = ops.einsum("bhij,bhjd->bhid", ops.softmax(dots), v)
        return self.to_out(merge_heads(out))


def FeedForward(dim, mult=2):
    return keras.Sequential(
        [layers.Dense(dim * mult, activation="gelu"), layers.Dense(dim)]
    )


class Lucid(keras.Model):
    """Pairs of wrapped functions; a keyword goes through both wrappers."""

    def __init__(self, dim=WIDTH, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.pairs = [
            [
                Residual(PreNorm(dim, Attention(dim))),
                Residual(PreNorm(dim, FeedForward(dim))),
            ]
            for _ in range(depth)
        ]

    def call(self, x):
        for attn, ff in self.pairs:
            x = attn(x, scale=0.5)
            x = ff(x)
        return x


def time_shift(x):
    return ops.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]


class TimeMix(layers.Layer):
    def build(self, input_shape):
        dim = input_shape[-1]
        self.mu = self.add_weight(shape=(3, dim), initializer="random_uniform")
        self.decay = self.add_weight(shape=(dim,), initializer="ones")
        self.key, self.value = layers.Dense(dim), layers.Dense(dim)
        self.receptance = layers.Dense(dim, activation="sigmoid")
        self.output_ = layers.Dense(dim, use_bias=False)

    def call(self, x):
        xx = time_shift(x)
        k, v, r = [
            layer(x * mu + xx * (1 - mu))
            for layer, mu in zip(
                (self.key, self.value, self.receptance),
                ops.unstack(ops.convert_to_tensor(self.mu), 3),
            )
        ]
        weight = ops.exp(ops.minimum(k, 3.0) - ops.softplus(self.decay))
        wkv = ops.cumsum(weight * v, axis=1) / ops.cumsum(weight, axis=1)
        return self.output_(r * wkv)


class RWKVBlock(layers.Layer):
    def __init__(self, index, **kwargs):
        super().__init__(**kwargs)
        self.__first = index == 0
        self.__ln0 = layers.LayerNormalization() if self.__first else None
        self.__norms = [layers.LayerNormalization() for _ in range(2)]
        self.__att, self.__ffn = TimeMix(), FeedForward(WIDTH)

    def call(self, x):
        if self.__first:
            x = self.__ln0(x)
        x = x + self.__att(self.__norms[0](x))  # residual
        x = x + self.__ffn(self.__norms[1](x))  # residual
        return x


def rwkv():
    """Attributes with two underscores; `Sequential` of blocks."""
    return keras.Sequential(
        [RWKVBlock(i, name=f"rwkv_{i}") for i in range(2)], name="stack"
    )


def with_pos_embed(tensor, pos):
    return tensor if pos is None else tensor + pos


class DetrDecoderLayer(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.self_attn = layers.MultiHeadAttention(2, 4)
        self.cross_attn = layers.MultiHeadAttention(2, 4)
        self.norm1 = layers.LayerNormalization()
        self.norm2 = layers.LayerNormalization()
        self.norm3 = layers.LayerNormalization()
        self.linear1 = layers.Dense(16, activation="relu")
        self.linear2 = layers.Dense(WIDTH)
        self.dropout = layers.Dropout(0.1)

    def call(self, tgt, memory, pos=None, query_pos=None):
        q = k = with_pos_embed(tgt, query_pos)
        tgt2 = self.self_attn(q, tgt, k)
        tgt = tgt + self.dropout(tgt2)  # residual
        tgt = self.norm1(tgt)
        tgt2 = self.cross_attn(
            query=with_pos_embed(tgt, query_pos),
            key=with_pos_embed(memory, pos),
            value=memory,
        )
        tgt = tgt + self.dropout(tgt2)  # residual
        tgt = self.norm2(tgt)
        tgt2 = self.linear2(self.dropout(self.linear1(tgt)))
        tgt = tgt + self.dropout(tgt2)  # residual
        return self.norm3(tgt)


class Detr(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.query_embed = layers.Embedding(4, WIDTH)
        self.project = layers.Dense(WIDTH)
        self.decoder = [DetrDecoderLayer() for _ in range(2)]
        self.bbox = keras.Sequential([layers.Dense(4), layers.Dense(4)])

    def call(self, samples):
        memory = self.project(samples)
        query_pos = ops.expand_dims(self.query_embed(ops.arange(4)), 0)
        query_pos = ops.repeat(query_pos, ops.shape(samples)[0], axis=0)
        tgt = ops.zeros_like(query_pos)
        for layer in self.decoder:
            tgt = layer(tgt, memory, query_pos=query_pos)
        return ops.sigmoid(self.bbox(tgt))


class ParallelBlock(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.ln = layers.LayerNormalization()
        self.attn = layers.MultiHeadAttention(2, 4, use_bias=False)
        self.mlp = FeedForward(WIDTH)

    def call(self, x, *args, **kwargs):
        residual = x
        x = self.ln(x)
        attn = self.attn(x, x, use_causal_mask=True)
        feed_forward = self.mlp(x)
        return attn + feed_forward + residual  # residual right


class Checkpointed(layers.Layer):
    """Hands everything on."""

    def __init__(self, block, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def call(self, *args, **kwargs):
        return self.block(*args, **kwargs)


class GPTJ(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embed = layers.Embedding(16, WIDTH)
        self.h = [Checkpointed(ParallelBlock()) for _ in range(2)]

    def call(self, ids):
        x = self.embed(ids)
        return functools.reduce(lambda x, block: block(x), self.h, x)


class GatedLinearUnit(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.linear = layers.Dense(units)
        self.sigmoid = layers.Dense(units, activation="sigmoid")

    def call(self, inputs):
        return self.linear(inputs) * self.sigmoid(inputs)


class GatedResidualNetwork(layers.Layer):
    def __init__(self, units, dropout_rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.elu_dense = layers.Dense(units, activation="elu")
        self.linear_dense = layers.Dense(units)
        self.dropout = layers.Dropout(dropout_rate)
        self.gated_linear_unit = GatedLinearUnit(units)
        self.layer_norm = layers.LayerNormalization()
        self.project = layers.Dense(units)

    def call(self, inputs):
        x = self.elu_dense(inputs)
        x = self.linear_dense(x)
        x = self.dropout(x)
        if inputs.shape[-1] != self.units:
            inputs = self.project(inputs)
        x = inputs + self.gated_linear_unit(x)  # residual
        x = self.layer_norm(x)
        return x


class VariableSelection(keras.Model):
    """The first network projects its input, the second one need not."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.wide = GatedResidualNetwork(16)
        self.same = GatedResidualNetwork(16)

    def call(self, x):
        return self.same(self.wide(x))


class ResidualMixin:
    def residual(self, x, *, scale=1.0):
        y = self.transform(x)
        return x + y * scale  # residual


class MixedDense(ResidualMixin, layers.Layer):
    def build(self, input_shape):
        self.dense = layers.Dense(input_shape[-1], activation="tanh")
        self.dense.build(input_shape)

    def transform(self, x):
        return self.dense(x)

    def call(self, inputs):
        return self.residual(inputs, scale=0.7)


class MixedModel(ResidualMixin, keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.layer = MixedDense()
        self.head = layers.Dense(WIDTH)

    def transform(self, x):
        return self.head(ops.relu(x))

    def call(self, inputs):
        return self.residual(self.layer(inputs))


class ResidualDense(layers.Dense):
    def call(self, inputs, training=None):
        outputs = super().call(inputs)
        return inputs + outputs  # residual


def residual_dense():
    inputs = keras.Input((None, WIDTH))
    x = ResidualDense(WIDTH, activation="relu", name="first")(inputs)
    x = ResidualDense(WIDTH, activation="relu", name="second")(x)
    return keras.Model(inputs, x)


ROWS = {
    "hf gpt2": Row(GPT2Model, tokens, each("transformer.h", 2, 2), saves=False),
    # The wrappers add; two of them in a list of two lists.
    "lucid": Row(
        Lucid,
        sequence,
        ("pairs.0.0", "pairs.0.1", "pairs.1.0", "pairs.1.1"),
        saves=False,
    ),
    "rwkv": Row(
        rwkv, sequence, ("rwkv_0", "rwkv_0", "rwkv_1", "rwkv_1"), saves=False
    ),
    # Not the positions that queries and keys have added.
    "detr": Row(Detr, sequence, each("decoder", 3, 3), saves=False),
    # `attn + feed_forward + residual`: the last of the two plus signs.
    "gpt-j": Row(GPTJ, tokens, ("h.0.block", "h.1.block"), saves=False),
    "variable selection": Row(
        VariableSelection, sequence, ("wide", "same"), saves=False
    ),
    # One line of code in a mixin, once for the layer, once for the model.
    "mixin": Row(MixedModel, sequence, ("layer", ""), saves=False),
    # `super().call` runs what Keras wrote.
    "residual dense": Row(
        residual_dense, sequence, ("first", "second"), saves=False
    ),
}
