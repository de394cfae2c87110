"""Encoders with decoders: masks, keyword tensors, layers three deep."""

import keras
import numpy as np
from keras import layers
from keras import ops

from tests.conversion.inside.row import Row
from tests.conversion.inside.row import padded_tokens
from tests.conversion.inside.row import sequence


@keras.saving.register_keras_serializable(package="own_seq2seq")
class PositionalEmbedding(layers.Layer):
    def __init__(self, sequence_length, vocab_size, embed_dim, **kwargs):
        super().__init__(**kwargs)
        self.token_embeddings = layers.Embedding(vocab_size, embed_dim)
        self.position_embeddings = layers.Embedding(sequence_length, embed_dim)

    def call(self, inputs):
        length = ops.shape(inputs)[-1]
        positions = ops.arange(0, length, 1)
        embedded_tokens = self.token_embeddings(inputs)
        embedded_positions = self.position_embeddings(positions)
        return embedded_tokens + embedded_positions

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(inputs, 0)


@keras.saving.register_keras_serializable(package="own_seq2seq")
class TransformerEncoder(layers.Layer):
    def __init__(self, embed_dim, dense_dim, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(num_heads, embed_dim)
        self.dense_proj = keras.Sequential(
            [layers.Dense(dense_dim, "relu"), layers.Dense(embed_dim)]
        )
        self.layernorm_1 = layers.LayerNormalization()
        self.layernorm_2 = layers.LayerNormalization()
        self.supports_masking = True

    def call(self, inputs, mask=None):
        if mask is not None:
            padding_mask = ops.cast(mask[:, None, :], dtype="int32")
        else:
            padding_mask = None
        attention_output = self.attention(
            query=inputs, value=inputs, key=inputs, attention_mask=padding_mask
        )
        proj_input = self.layernorm_1(
            inputs + attention_output  # residual stream encoder
        )
        proj_output = self.dense_proj(proj_input)
        return self.layernorm_2(
            proj_input + proj_output  # residual stream encoder
        )


@keras.saving.register_keras_serializable(package="own_seq2seq")
class TransformerDecoder(layers.Layer):
    def __init__(self, embed_dim, latent_dim, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.attention_1 = layers.MultiHeadAttention(num_heads, embed_dim)
        self.attention_2 = layers.MultiHeadAttention(num_heads, embed_dim)
        self.dense_proj = keras.Sequential(
            [layers.Dense(latent_dim, "relu"), layers.Dense(embed_dim)]
        )
        self.layernorm_1 = layers.LayerNormalization()
        self.layernorm_2 = layers.LayerNormalization()
        self.layernorm_3 = layers.LayerNormalization()
        self.supports_masking = True

    def call(self, inputs, mask=None):
        inputs, encoder_outputs = inputs
        causal_mask = self.get_causal_attention_mask(inputs)
        if mask is None:
            inputs_padding_mask, encoder_padding_mask = None, None
        else:
            inputs_padding_mask, encoder_padding_mask = mask
        attention_output_1 = self.attention_1(
            query=inputs,
            value=inputs,
            key=inputs,
            attention_mask=causal_mask,
            query_mask=inputs_padding_mask,
        )
        out_1 = self.layernorm_1(inputs + attention_output_1)  # residual
        attention_output_2 = self.attention_2(
            query=out_1,
            value=encoder_outputs,
            key=encoder_outputs,
            query_mask=inputs_padding_mask,
            key_mask=encoder_padding_mask,
        )
        out_2 = self.layernorm_2(out_1 + attention_output_2)  # residual
        proj_output = self.dense_proj(out_2)
        return self.layernorm_3(out_2 + proj_output)  # residual

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else mask[0]

    def get_causal_attention_mask(self, inputs):
        batch_size, length = ops.shape(inputs)[0], ops.shape(inputs)[1]
        i = ops.arange(length)[:, None]
        j = ops.arange(length)
        mask = ops.cast(i >= j, dtype="int32")
        return ops.broadcast_to(mask[None], (batch_size, length, length))


def translation():
    encoder_inputs = keras.Input((None,), dtype="int32")
    x = PositionalEmbedding(16, 16, 8)(encoder_inputs)
    encoded = TransformerEncoder(8, 16, 2, name="encoder")(x)
    decoder_inputs = keras.Input((None,), dtype="int32")
    x = PositionalEmbedding(16, 16, 8)(decoder_inputs)
    x = TransformerDecoder(8, 16, 2, name="decoder")([x, encoded])
    x = layers.Dropout(0.5)(x)
    outputs = layers.Dense(16, activation="softmax")(x)
    return keras.Model([encoder_inputs, decoder_inputs], outputs)


def pairs(batch, length, rng):
    return [
        padded_tokens(batch, length, rng),
        padded_tokens(batch, length + 1, rng),
    ]


@keras.saving.register_keras_serializable(package="own_seq2seq")
class MaskedEmbedding(layers.Layer):
    """Keras makes the mask; `compute_mask` hands it on."""

    def __init__(self, d_model, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(16, d_model, mask_zero=True)
        angle = np.arange(16)[:, None] / 100 ** (np.arange(d_model) / d_model)
        self.pos_encoding = np.sin(angle).astype("float32")

    def compute_mask(self, *args, **kwargs):
        return self.embedding.compute_mask(*args, **kwargs)

    def call(self, x):
        length = ops.shape(x)[1]
        x = self.embedding(x)
        encoding = ops.convert_to_tensor(self.pos_encoding, x.dtype)
        return x * 2.0 + encoding[None, :length]


class BaseAttention(layers.Layer):
    def __init__(self, d_model, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.mha = layers.MultiHeadAttention(num_heads, d_model)
        self.layernorm = layers.LayerNormalization()
        self.add = layers.Add()


@keras.saving.register_keras_serializable(package="own_seq2seq")
class CrossAttention(BaseAttention):
    def call(self, x, context):
        attn_output, attn_scores = self.mha(
            query=x, key=context, value=context, return_attention_scores=True
        )
        self.last_attn_shape = attn_scores.shape
        x = self.add([x, attn_output])  # residual stream decoder
        return self.layernorm(x)


@keras.saving.register_keras_serializable(package="own_seq2seq")
class GlobalSelfAttention(BaseAttention):
    def call(self, x):
        attn_output = self.mha(query=x, value=x, key=x)
        x = self.add([x, attn_output])  # residual stream encoder
        return self.layernorm(x)


@keras.saving.register_keras_serializable(package="own_seq2seq")
class CausalSelfAttention(BaseAttention):
    def call(self, x):
        attn_output = self.mha(query=x, value=x, key=x, use_causal_mask=True)
        x = self.add([x, attn_output])  # residual stream decoder
        return self.layernorm(x)


@keras.saving.register_keras_serializable(package="own_seq2seq")
class FeedForward(layers.Layer):
    """In the encoder and in the decoder alike."""

    def __init__(self, d_model, dff, dropout_rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.seq = keras.Sequential(
            [
                layers.Dense(dff, activation="relu"),
                layers.Dense(d_model),
                layers.Dropout(dropout_rate),
            ]
        )
        self.add = layers.Add()
        self.layer_norm = layers.LayerNormalization()

    def call(self, x):
        x = self.add([x, self.seq(x)])  # residual
        return self.layer_norm(x)


@keras.saving.register_keras_serializable(package="own_seq2seq")
class EncoderLayer(layers.Layer):
    def __init__(self, d_model, num_heads, dff, **kwargs):
        super().__init__(**kwargs)
        self.self_attention = GlobalSelfAttention(d_model, num_heads)
        self.ffn = FeedForward(d_model, dff)

    def call(self, x):
        return self.ffn(self.self_attention(x))


@keras.saving.register_keras_serializable(package="own_seq2seq")
class DecoderLayer(layers.Layer):
    def __init__(self, d_model, num_heads, dff, **kwargs):
        super().__init__(**kwargs)
        self.causal_self_attention = CausalSelfAttention(d_model, num_heads)
        self.cross_attention = CrossAttention(d_model, num_heads)
        self.ffn = FeedForward(d_model, dff)

    def call(self, x, context):
        x = self.causal_self_attention(x=x)
        x = self.cross_attention(x=x, context=context)
        return self.ffn(x)


@keras.saving.register_keras_serializable(package="own_seq2seq")
class Encoder(layers.Layer):
    def __init__(self, num_layers, d_model, **kwargs):
        super().__init__(**kwargs)
        self.pos_embedding = MaskedEmbedding(d_model)
        self.enc_layers = [
            EncoderLayer(d_model, 2, 16) for _ in range(num_layers)
        ]
        self.dropout = layers.Dropout(0.1)

    def call(self, x):
        x = self.pos_embedding(x)
        x = self.dropout(x)
        for layer in self.enc_layers:
            x = layer(x)
        return x


@keras.saving.register_keras_serializable(package="own_seq2seq")
class Decoder(layers.Layer):
    def __init__(self, num_layers, d_model, **kwargs):
        super().__init__(**kwargs)
        self.pos_embedding = MaskedEmbedding(d_model)
        self.dec_layers = [
            DecoderLayer(d_model, 2, 16) for _ in range(num_layers)
        ]

    def call(self, x, context):
        x = self.pos_embedding(x)
        for i in range(len(self.dec_layers)):
            x = self.dec_layers[i](x, context)
        return x


@keras.saving.register_keras_serializable(package="own_seq2seq")
class Transformer(keras.Model):
    def __init__(self, d_model=8, **kwargs):
        super().__init__(**kwargs)
        self.encoder = Encoder(2, d_model)
        self.decoder = Decoder(1, d_model)
        self.final_layer = layers.Dense(16)

    def call(self, inputs):
        context, x = inputs
        context = self.encoder(context)
        x = self.decoder(x, context)
        return self.final_layer(x)


def tuple_pairs(batch, length, rng):
    return tuple(pairs(batch, length, rng))


@keras.saving.register_keras_serializable(package="own_seq2seq")
class ContextBlock(layers.Layer):
    """Attends to a context where it is given one."""

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim
        self.self_attention = layers.MultiHeadAttention(2, dim // 2)
        self.norm = layers.LayerNormalization()
        self.mlp = keras.Sequential(
            [layers.Dense(16, "gelu"), layers.Dense(dim)]
        )

    def build(self, x_shape, context_shape=None):
        self.self_attention.build(x_shape, x_shape)
        self.norm.build(x_shape)
        self.mlp.build(x_shape)
        if context_shape is not None:
            self.cross_attention = layers.MultiHeadAttention(2, self.dim // 2)
            self.cross_attention.build(x_shape, context_shape)

    def call(self, x, *, context=None, training=None):
        x = x + self.self_attention(x, x, training=training)  # residual
        if context is not None:
            x = x + self.cross_attention(x, context)  # residual
        return x + self.mlp(self.norm(x), training=training)  # residual


@keras.saving.register_keras_serializable(package="own_seq2seq")
class WithContext(keras.Model):
    def __init__(self, dim=8, **kwargs):
        super().__init__(**kwargs)
        self.first = ContextBlock(dim)
        self.second = ContextBlock(dim)

    def call(self, inputs, training=None):
        x, context = inputs["x"], inputs["context"]
        x = self.first(x, training=training)
        return self.second(x, context=context, training=training)


def with_context(batch, length, rng):
    return {
        "x": sequence(batch, length, rng),
        "context": sequence(batch, 5, rng),
    }


ROWS = {
    # Two additions of the encoder, three of the decoder.
    "translation": Row(translation, pairs, ("encoder",) * 2 + ("decoder",) * 3),
    # Two encoder layers of two, one decoder layer of three, each in a layer
    # of its own. `FeedForward` serves both streams.
    "three deep": Row(
        Transformer,
        tuple_pairs,
        (
            "encoder.enc_layers.0.self_attention",
            "encoder.enc_layers.0.ffn",
            "encoder.enc_layers.1.self_attention",
            "encoder.enc_layers.1.ffn",
            "decoder.dec_layers.0.causal_self_attention",
            "decoder.dec_layers.0.cross_attention",
            "decoder.dec_layers.0.ffn",
        ),
        history=False,
    ),
    # Two without the context, three with it.
    "keyword context": Row(
        WithContext, with_context, ("first",) * 2 + ("second",) * 3
    ),
}
