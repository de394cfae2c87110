"""Initializers for the low-rank weights of LAuReL layers."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_laurel import checks

__all__ = ["ColumnOrthogonal"]


@keras.saving.register_keras_serializable(package="keras_laurel")
class ColumnOrthogonal(keras.initializers.Initializer):
    """Column-orthogonal initializer of A in the paper's language models.

    `A[i, j] = 1 / sqrt(r * D)` where `i mod r == j`, else 0. Each of the `D`
    features contributes to one of the `r` numbers of the low-rank
    projection, and the columns are orthogonal. The values are deterministic.

    Shape: `(D, r)`, with `r <= D`.

    Raises:
        ValueError: if the shape does not have two dimensions, or has more
            columns than rows, or if `dtype` is not a floating point dtype.

    Example:

    >>> layer = keras_laurel.LaurelLR(
    ...     rank=32, a_initializer=keras_laurel.initializers.ColumnOrthogonal())

    Reference: arXiv 2411.07501, initialisation of A for language models.
    """

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Any:
        if not _is_tall_matrix(shape):
            raise ValueError(
                "Argument `shape` must be `(D, r)` with 1 <= r <= D. "
                f"Received: shape={shape!r}. Use another initializer for "
                "this weight."
            )
        dtype = keras.backend.standardize_dtype(dtype)
        if not keras.backend.is_float_dtype(dtype):
            raise ValueError(
                "Argument `dtype` must be a floating point dtype, since the "
                "values are fractions. Received: "
                f"dtype={dtype!r}. Use 'float32', or leave it out."
            )
        width, rank = shape
        rows = ops.arange(width)[:, None]
        ones = ops.equal(ops.mod(rows, rank), ops.arange(rank)[None, :])
        values = ops.cast(ones, "float32") / (rank * width) ** 0.5
        return ops.cast(values, dtype)


def _is_tall_matrix(shape):
    is_pair = isinstance(shape, (tuple, list)) and len(shape) == 2
    return (
        is_pair
        and checks.is_integer(shape[1], 1)
        and checks.is_integer(shape[0], shape[1])
    )
