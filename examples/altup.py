"""
Title: LAuReL under AltUp
Author: keras_laurel
Date created: 2026/11/24
Last modified: 2026/11/28
Description: Blocks with LAuReL on a stream twice as wide, at one block's cost.
Accelerator: GPU

Alternating Updates (Baykal et al., arXiv 2301.13310) keep two streams. A block
runs on one of them, a = 0, 1, 0, 1, ...; both are predicted and corrected:

    p_i = sum_j P_ij x_j,    y = block(p_a),    x_i = p_i + g_i (y - p_a)

P starts as the identity, g as ones, both streams as the embeddings; the output
is their sum. That is "recycled" AltUp with K = 2. Run this after
`pip install ".[jax,hub]"`, with `KERAS_BACKEND=jax`.
"""

import keras
import keras_hub
import numpy as np
from keras import ops
from keras_hub.src.models.llama.llama_decoder import LlamaTransformerDecoder

import keras_laurel

"""## A block on two streams, which lie side by side in one tensor"""


class AltUp(keras.layers.Layer):
    """A block that runs on one of the streams."""

    def __init__(self, block, index, num_blocks):
        super().__init__()
        self.block, self.active = block, index % 2
        self.is_first, self.is_last = index == 0, index == num_blocks - 1
        self.prediction = self.add_weight(shape=(2, 2), initializer="identity")
        self.correction = self.add_weight(shape=(2,), initializer="ones")

    def call(
        self,
        x,
        decoder_padding_mask=None,
        self_attention_cache=None,
        self_attention_cache_update_index=None,
    ):
        x = [x, x] if self.is_first else ops.split(x, 2, axis=-1)
        p = ops.cast(self.prediction, x[0].dtype)
        g = ops.cast(self.correction, x[0].dtype)
        predicted = [p[i, 0] * x[0] + p[i, 1] * x[1] for i in range(2)]
        y = self.block(
            predicted[self.active],
            decoder_padding_mask=decoder_padding_mask,
            self_attention_cache=self_attention_cache,
            self_attention_cache_update_index=self_attention_cache_update_index,
        )
        y, *cache = y if isinstance(y, tuple) else (y,)
        error = y - predicted[self.active]
        x = [predicted[i] + g[i] * error for i in range(2)]
        y = x[0] + x[1] if self.is_last else ops.concatenate(x, axis=-1)
        return (y, *cache) if cache else y


"""## A decoder of such blocks, with connections around the blocks inside"""


@keras.saving.register_keras_serializable(package="altup")
class AltUpLlama(keras_hub.models.Backbone):
    """KerasHub's Llama with its blocks under AltUp."""

    def __init__(self, vocabulary_size, num_layers, hidden_dim, num_heads):
        self.token_embedding = keras_hub.layers.ReversibleEmbedding(
            vocabulary_size, hidden_dim, tie_weights=False
        )
        self.transformer_layers = [
            AltUp(
                LlamaTransformerDecoder(4 * hidden_dim, num_heads, num_heads),
                i,
                num_layers,
            )
            for i in range(num_layers)
        ]
        self.layer_norm = keras.layers.RMSNormalization()
        tokens = keras.Input((None,), dtype="int32", name="token_ids")
        mask = keras.Input((None,), dtype="int32", name="padding_mask")
        x = self.token_embedding(tokens)
        for layer in self.transformer_layers:
            x = layer(x, decoder_padding_mask=mask)
        inputs = {"token_ids": tokens, "padding_mask": mask}
        super().__init__(inputs=inputs, outputs=self.layer_norm(x))
        self.vocabulary_size, self.num_layers = vocabulary_size, num_layers
        self.hidden_dim, self.num_heads = hidden_dim, num_heads
        self.num_query_heads = self.num_key_value_heads = num_heads

    def get_config(self):
        names = "vocabulary_size", "num_layers", "hidden_dim", "num_heads"
        return {name: getattr(self, name) for name in names}


def make_task(layer=None, **sizes):
    task = keras_hub.models.LlamaCausalLM(AltUpLlama(**sizes))
    if layer is not None:
        blocks = [x.block for x in task.backbone.transformer_layers]
        keras_laurel.laurelize(task, layer, blocks=blocks)
    return task


"""## Train and generate"""

keras.utils.set_random_seed(0)
sizes = dict(vocabulary_size=64, num_layers=4, hidden_dim=32, num_heads=4)
task = make_task(keras_laurel.get("rw+lr+pa", rank=4), **sizes)
text = np.arange(9)[None].repeat(16, 0) % 8 + np.arange(16)[:, None]
x = {"token_ids": text[:, :-1], "padding_mask": np.ones((16, 8), "int32")}
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
task.compile(keras.optimizers.Adam(0.01), loss, sampler="greedy")
task.fit(x, text[:, 1:], epochs=20, shuffle=False, verbose=0)
prompt = {**x, "padding_mask": x["padding_mask"] * (np.arange(8) < 4)}
print(task.generate(prompt, stop_token_ids=None)["token_ids"][:2])
