"""Blocks that keep no activations for the backward pass but their inputs."""

import keras


def rematerialised(num_blocks):
    """Return a scope in which KerasHub's blocks are made rematerialized."""
    names = [f"transformer_layer_{index}" for index in range(num_blocks)]
    return keras.RematScope(mode="list_of_layers", layer_names=names)


def keep_flags(block):
    """Let a plain block of that scope see `training` as it is.

    Keras passes every argument through the backend's rematerialisation, out of
    which JAX gives a flag as a tensor, on which the block's dropout cannot
    branch; TensorFlow takes no keywords there. Here tensors alone go through.
    Blocks that `laurelize` converted do so by themselves.
    """

    def rematerialized_call(call, *args, **kwargs):
        tensors = {k: v for k, v in kwargs.items() if keras.ops.is_tensor(v)}
        flags = {k: v for k, v in kwargs.items() if k not in tensors}

        def call_on(*values):
            inputs, masks = values[: len(args)], values[len(args) :]
            return call(*inputs, **dict(zip(tensors, masks)), **flags)

        return lambda *args, **kwargs: keras.remat(call_on)(
            *args, *tensors.values()
        )

    block.rematerialized_call = rematerialized_call
