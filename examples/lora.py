"""
Title: LAuReL beside LoRA
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Tune a trained Llama by LoRA, with learned residual connections.
Accelerator: GPU
"""

"""
## A trained model

LoRA learns a low-rank change of weights that stay as they are; LAuReL learns
how blocks add to the stream. They go together. A tiny Llama is trained here to
count up; `keras_hub.models.CausalLM.from_preset(...)` gives you a larger one.
Run this after `pip install ".[jax,hub]"`.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import keras_hub
import numpy as np

import keras_laurel


def sequences(step):
    """64 rows of tokens, each counting up by `step`."""
    rows = np.arange(17)[None] * step + np.arange(64)[:, None]
    rows = rows % 60 + 1
    mask = np.ones((64, 16), "int32")
    return {"token_ids": rows[:, :-1], "padding_mask": mask}, rows[:, 1:]


def compiled(model, rate):
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


keras.utils.set_random_seed(0)
backbone = keras_hub.models.Llama3Backbone(
    vocabulary_size=64,
    num_layers=3,
    num_query_heads=4,
    num_key_value_heads=4,
    hidden_dim=32,
    intermediate_dim=64,
)
model = keras_hub.models.Llama3CausalLM(backbone, preprocessor=None)
x, y = sequences(step=1)
compiled(model, 0.01).fit(x, y, epochs=20, shuffle=False, verbose=0)

"""
## Convert, then enable LoRA

The other order works too. `enable_lora` freezes the backbone; LAuReL layers
stay trainable. `compile` comes last, so that the optimizer knows what learns.
"""

keras_laurel.laurelize(model, keras_laurel.get("rw+lr", rank=4))
model.backbone.enable_lora(rank=4)
compiled(model, 0.01)
trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
print(f"{trainable:,} of {model.count_params():,} parameters learn")

"""
## Tune it on something new

The converted model starts where the plain one was: it counts by one, and now
learns to count by two.
"""

x, y = sequences(step=2)
history = model.fit(x, y, epochs=20, shuffle=False, verbose=0).history
print(
    f"loss {history['loss'][0]:.3f} at first, {history['loss'][-1]:.3f} at last"
)

"""
## Keep what was learned

`save_laurel_weights` writes LAuReL and LoRA weights into one small file. It
fits the same model, converted and with LoRA enabled in the same way. KerasHub's
own `.lora.h5` files fit before and after conversion.
"""

keras_laurel.save_laurel_weights(model, "counting.laurel.h5")
print(f"{os.path.getsize('counting.laurel.h5') / 1024:.0f} KiB")
