"""Trains models with LAuReL on eight virtual devices and prints the losses.

    python train_on_mesh.py MODEL FOLDER

Prints JSON: for each distribution the losses of three steps, the size of B
after them and the layouts of the LAuReL weights. What was saved to FOLDER after
two steps on the mesh 4 x 2 goes on, as "restored", on eight devices by FSDP.
"""

import json
import os
import sys

# Compiling takes most of the time here, so let XLA optimise little.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 "
    "--xla_backend_optimization_level=0"
)

import keras
import numpy as np

import keras_laurel
from keras_laurel import distribution
from tests.small_models import llama_language_model
from tests.small_models import residual_mlp

BATCH, STEPS = 16, 3
LAUREL = keras_laurel.get("rw+lr+pa", rank=4, num_activations=2)


def llama():
    return keras_laurel.laurelize(llama_language_model(), LAUREL)


def llama_batches(steps):
    tokens = np.random.default_rng(0).integers(0, 64, (steps, BATCH, 9))
    return [
        ({"token_ids": x[:, :-1], "padding_mask": x[:, :-1] >= 0}, x[:, 1:])
        for x in tokens
    ]


def resnet():
    x = inputs = keras.Input((8, 8, 3))
    for block, filters in enumerate((16, 16, 32)):
        shortcut = x
        if block != 1:
            shortcut = keras.layers.Conv2D(filters, 1)(x)
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Add()([shortcut, x])
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    return keras_laurel.laurelize(model, LAUREL)


def resnet50():
    """With the last scale of each block at 0, as they are trained. At 1 the
    first steps turn a change of 1e-6 in the images into per cents of loss, on
    one device too."""
    model = keras.applications.ResNet50(
        weights=None,
        input_shape=(32, 32, 3),
        classes=10,
        classifier_activation=None,
    )
    for layer in model.layers:
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(keras.ops.zeros(layer.gamma.shape))
    return keras_laurel.laurelize(model, LAUREL)


def images(size):
    def batches(steps):
        generator = np.random.default_rng(0)
        return [
            (
                generator.normal(size=(BATCH, size, size, 3)).astype("float32"),
                generator.integers(0, 10, BATCH),
            )
            for _ in range(steps)
        ]

    return batches


def adamw():
    return keras.optimizers.AdamW(1e-2, weight_decay=0.1)


def sgd():
    """Adam's first steps are as large for a gradient that is only rounding."""
    return keras.optimizers.SGD(1e-2, momentum=0.9)


CONVOLUTIONS = distribution.convolution_layout_map
MODELS = {
    "llama": (llama, llama_batches, distribution.llama_layout_map, adamw),
    "resnet": (resnet, images(8), CONVOLUTIONS, adamw),
    "resnet50": (resnet50, images(32), CONVOLUTIONS, sgd),
}


def distributions(layout_map):
    mesh = keras.distribution.DeviceMesh((8,), ("batch",))
    return {
        "data": distribution.make_distribution("data", (8,)),
        "tensor": distribution.make_distribution(
            "tensor", (4, 2), layout_map=layout_map
        ),
        "fsdp": distribution.FullyShardedDataParallel(mesh, minimum_size=64),
    }


def start(build, optimizer):
    """The same model every time."""
    keras.utils.set_random_seed(0)
    model = build()
    model.compile(
        keras_laurel.prepare_optimizer(optimizer()),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
    )
    return model


def train(model, batches):
    return [float(model.train_on_batch(*batch)) for batch in batches]


def save(model, folder):
    checkpoints = keras.callbacks.OrbaxCheckpoint(
        folder, save_on_background=False
    )
    checkpoints.set_model(model)
    checkpoints.on_epoch_end(0)


def laurel_weights(model):
    return [v for v in model.weights if v.name.startswith("laurel_")]


def specs(model):
    """Return the layouts of LAuReL's weights and of the first one's slots."""
    slots = [v for v in model.optimizer.variables if "laurel_a" in v.path]
    return {
        v.path: list(v.value.sharding.spec)
        for v in [*laurel_weights(model), *slots[:2]]
    }


def up_projections(model):
    """The mean size of B, which begins at 0: how far LAuReL has trained."""
    sizes = [
        np.abs(keras.ops.convert_to_numpy(v)).mean()
        for v in laurel_weights(model)
        if v.name == "laurel_b"
    ]
    return float(np.mean(sizes))


def converted_elsewhere(build, distributed):
    """The error of a conversion outside the scope that the model is of."""
    with distributed.scope():
        model = build()
    try:
        keras_laurel.laurelize(model, LAUREL)
    except ValueError as error:
        return str(error)


def large_weight(distributed):
    """Return whether A is the same, and divided, if Keras makes it in parts.

    It does so from 250 MiB, times the number of devices.
    """
    shape = (1, 2**17)

    def build():
        draw = keras.initializers.GlorotUniform(seed=0)
        layer = keras_laurel.LaurelLR(rank=64, a_initializer=draw)
        layer.build([shape, shape])
        return layer.laurel_a.value

    expected = build()
    with distributed.scope():
        a = build()
    parts = {part.data.shape for part in a.addressable_shards}
    return bool(np.allclose(a, expected)), sorted(parts)


def main(name, folder):
    build, make_batches, layout_map, optimizer = MODELS[name]
    batches = make_batches(STEPS)
    model = start(build, optimizer)
    seen = {"one device": {"losses": train(model, batches)}}
    seen["one device"]["b"] = up_projections(model)
    for kind, distributed in distributions(layout_map).items():
        # Not in the scope: it clears that too.
        keras.utils.clear_session()
        with distributed.scope():
            model = start(build, optimizer)
            losses = train(model, batches[:2])
            if kind == "tensor":
                save(model, folder)
            losses += train(model, batches[2:])
            seen[kind] = {"losses": losses, "b": up_projections(model)}
            seen[kind]["specs"] = specs(model)
    # Still in mind: the last model, on another mesh than the checkpoint's.
    with distributed.scope():
        model.load_weights(folder)
        losses = seen["tensor"]["losses"][:2] + train(model, batches[2:])
    seen["restored"] = {"losses": losses, "b": up_projections(model)}
    if name == "llama":
        seen["one device"]["refused"] = [
            converted_elsewhere(build, distributed)
            for build in (llama_language_model, residual_mlp)
        ]
        seen["one device"]["large"] = large_weight(distributed)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
