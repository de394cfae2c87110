"""
Title: A ResNet-50 with learned residual connections
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Convert a ResNet-50 of Keras, train it, save it and load it.
Accelerator: GPU
"""

"""
## The model

`laurelize` finds the residual additions of a functional model and puts a layer
at each. ResNet-50 has 16. Convert before you compile. Run this after
`pip install ".[jax]" scikit-learn`, which has the images.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from sklearn.datasets import load_digits

import keras_laurel

keras.utils.set_random_seed(0)
plain = keras.applications.ResNet50(
    weights=None, input_shape=(32, 32, 3), classes=10
)
layer = keras_laurel.get("rw+lr", rank=16)
model = keras_laurel.laurelize(plain, layer)

"""
## Training

The converted model computes what the plain one did, until it is trained.
`prepare_optimizer` keeps weight decay off LAuReL's scalars.
"""

digits = load_digits()
images = np.repeat(digits.images[..., None] / 8 - 1, 3, axis=-1)
images = keras.ops.image.resize(images.astype("float32"), (32, 32))
images = keras.ops.convert_to_numpy(images)
optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.05)
model.compile(
    optimizer=keras_laurel.prepare_optimizer(optimizer),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(images[:128], digits.target[:128], epochs=1, verbose=2)

"""
## What was learned, and keeping it

The summary shows α and β of each connection; with a batch as its second
argument also what the low-rank parts add. A saved model loads wherever
`keras_laurel` is imported.
"""

print(keras_laurel.learned.laurel_summary(model))
model.save("resnet50_laurel.keras")
loaded = keras.models.load_model("resnet50_laurel.keras")
print(len(keras_laurel.laurel_layers(loaded)), "connections in the loaded one")
