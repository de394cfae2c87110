from typing import Any

import keras

from keras_laurel.layers.laurel import Laurel


@keras.saving.register_keras_serializable(package="keras_laurel")
class LaurelLR(Laurel):
    """Residual connection with a learned low-rank map (LAuReL-LR).

        out = f(x) + B A x + x

    It adds `2 * r * D` parameters per connection, applied as two thin matrix
    products.

    Args:
        rank: Integer r. 16 to 32 was best on ResNet-50; 32 to 64 works well
            for language models.
        **kwargs: Further arguments of `keras_laurel.Laurel`, such as
            `a_initializer` or `residual_weights="softmax"`.

    Input shape:
        List of two tensors `[x, fx]` of shape `(batch, ..., D)`.

    Output shape:
        The shape of each input.

    Raises:
        ValueError: as `keras_laurel.Laurel` does.

    Example:

    >>> x = keras.Input((64,))
    >>> fx = keras.layers.Dense(64, activation="relu")(x)
    >>> y = keras_laurel.LaurelLR(rank=16)([x, fx])

    Reference: arXiv 2411.07501, equation (3).
    """

    def __init__(self, rank: int | None = 16, **kwargs: Any) -> None:
        super().__init__(rank=rank, **kwargs)
