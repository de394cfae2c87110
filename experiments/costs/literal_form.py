"""The connection of a block as the paper writes it, to compare costs with.

    out = alpha * f + beta * (x + sum_j gamma_j * B_j A_j x_{i-j})

with f = y - x of what the block returned. Activations travel from block to
block, each has its own products, and autodiff chooses what is kept for the
backward pass. The library computes the same otherwise: see `docs/tpu_costs.md`.
"""

import contextlib
from unittest import mock

from keras import ops

from keras_laurel import Laurel
from keras_laurel.conversion.blocks import stream


@contextlib.contextmanager
def literal_form():
    """Let decoders that are converted in this scope use the literal form."""
    with (
        mock.patch.object(Laurel, "combine_sum", _combine),
        mock.patch.object(stream.ResidualStream, "_pushed", push_activations),
    ):
        yield


def _combine(self, y, x, skip, carried=None):
    alpha, beta = self.alpha, self.beta
    f = ops.cast(y - x, "float32")
    augmented = ops.cast(skip, "float32")
    for j, activation in enumerate(carried or []):
        augmented = augmented + _augmentation(self, j, activation)
    return ops.cast(alpha * f + beta * augmented, y.dtype)


def _augmentation(layer, j, activation):
    """`gamma_j * B_j A_j x_{i-j}` in float32."""
    h = activation
    if layer.rank:
        b = ops.convert_to_tensor(layer.laurel_b)
        b = b[j * layer.rank : (j + 1) * layer.rank]
        codes = ops.matmul(activation, layer.down_projection(j))
        h = ops.matmul(codes, ops.cast(b, codes.dtype))
    h = ops.cast(h, "float32")
    return h * layer.laurel_gamma[j] if layer.num_activations else h


def push_activations(self, n, x):
    """The activation itself for each connection that reads it."""
    return {reader: [x] for reader, _ in self._readers().get(n, [])}
