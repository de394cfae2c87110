"""Measure the share of the residual stream that connections add."""

import contextlib

import keras
from keras import ops

from keras_laurel.costs.replacing import replaced
from keras_laurel.layers.laurel import observed


def shares(model, inputs):
    """Measure `ConnectionSummary.share` of each layer on a batch.

    The model runs op by op, in inference. Keras decides whether a layer is
    rematerialized when the layer is made, and has no way to suspend this. A
    rematerialized call is traced, so its tensors have no values to measure.
    Hence the public `Layer.rematerialized_call` is replaced during the run:
    `replaced` puts it back, and does not affect other threads.

    Returns:
        Dict from layer to float, without layers that add nothing to the skip.
    """
    squares = {}

    def note(layer, terms, carried):
        if carried:
            skip = terms[1]
            added = layer.augmentation(skip, carried)
            pairs = squares.setdefault(layer, [])
            pairs.append((_mean_square(added), _mean_square(skip)))

    values = [(keras.layers.Layer, "rematerialized_call", _without_remat)]
    with without_gradients(), replaced(values), observed(note):
        model(inputs, training=False)
    return {layer: _share(pairs) for layer, pairs in squares.items()}


def without_gradients():
    """Return a scope in which PyTorch keeps nothing for a backward pass."""
    if keras.config.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def _without_remat(method):
    return lambda layer, layer_call, *args, **kwargs: layer_call


def _mean_square(x):
    # Squares of large activations overflow in float16.
    return float(ops.mean(ops.square(ops.cast(x, "float32"))))


def _share(pairs):
    added, skip = map(sum, zip(*pairs))
    return (added / skip) ** 0.5 if skip else float("nan")
