"""Rows of tokens, padded to a few shapes.

XLA compiles a program for each shape, so lengths are rounded up. With at most
four lengths from one power of two to the next a task needs a few programs, and
a row gets less than a quarter more tokens, or fewer than 8.
"""

import keras
import numpy as np

SMALLEST_STEP = 8


def padded_length(length, max_length):
    """The length rounded up to a multiple of 1/8 of a power of two."""
    step = max(SMALLEST_STEP, 2 ** (length - 1).bit_length() // 8)
    return min(-(-length // step) * step, max_length)


def filled_up(batch, size):
    """The rows of a batch, the last one repeated until there are `size`."""
    return [*batch, *batch[-1:] * (size - len(batch))]


def padded_rows(rows, length, fill=0):
    """Token ids, `fill` where there are none, padding mask and positions.

    Only Gemma 4 reads the positions, which others count themselves.
    """
    token_ids = np.full((len(rows), length), fill, "int32")
    padding_mask = np.zeros((len(rows), length), "bool")
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = row
        padding_mask[i, : len(row)] = True
    return {
        "token_ids": token_ids,
        "padding_mask": padding_mask,
        "position_ids": np.tile(
            np.arange(length, dtype="int32"), (len(rows), 1)
        ),
    }


def distributed(batch):
    """The batch as `keras.distribution` divides it, if it is in use.

    `predict_on_batch` and compiled generation leave it to their caller.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return batch
    return {
        name: keras.distribution.distribute_tensor(
            x, distribution.get_data_layout(x.shape)
        )
        for name, x in batch.items()
    }
