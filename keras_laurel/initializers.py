"""Initial values for the low-rank maps."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_laurel")
class ColumnOrthogonal(keras.initializers.Initializer):
    """The column-orthogonal start of the paper's language models.

    `A[i, j] = 1 / sqrt(r * D)` where `i mod r == j`, else 0: each of the `D`
    features feeds one of the `r` codes, and the columns are orthogonal. It is
    deterministic.

    Shape: `(D, r)`, with `r <= D`.

    Raises:
        ValueError: if the shape is not of rank 2 or has more columns than
            rows.

    Example:

    >>> layer = keras_laurel.LaurelLR(
    ...     rank=32, a_initializer=keras_laurel.ColumnOrthogonal())

    Reference: arXiv 2411.07501, initialisation of A for language models.
    """

    def __call__(self, shape, dtype=None):
        if len(shape) != 2 or shape[1] > shape[0]:
            raise ValueError(
                f"`ColumnOrthogonal` got the shape {tuple(shape)}; it needs "
                "`(D, r)` with r <= D. Use another initializer for this "
                "weight."
            )
        width, rank = shape
        rows = ops.arange(width)[:, None]
        ones = ops.equal(ops.mod(rows, rank), ops.arange(rank)[None, :])
        values = ops.cast(ones, "float32") / (rank * width) ** 0.5
        return ops.cast(values, dtype or keras.config.floatx())
