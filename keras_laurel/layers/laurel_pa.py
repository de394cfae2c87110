from typing import Any

import keras

from keras_laurel.layers.laurel import Laurel


@keras.saving.register_keras_serializable(package="keras_laurel")
class LaurelPA(Laurel):
    """Residual connection with previous activations (LAuReL-PA).

        out = f(x) + x + sum_{j<k} gamma_j * h_j(x_{i-j})

    `h` is the identity, or a low-rank map if `rank` is given. The sum starts
    at j = 0, the skip itself.

    Args:
        num_activations: Integer k, the largest number of activations that
            are weighed, the skip included. In the paper 3 was enough.
        rank: Integer r or `None`. Learn one low-rank pair for each
            activation, or one for all with `share_low_rank=True`.
        **kwargs: Further arguments of `keras_laurel.Laurel`.

    Input shape:
        List of 2 to k + 1 tensors `[x, fx, *previous]` of shape
        `(batch, ..., D)`, newest first. The first blocks of a network have
        fewer; the number of inputs determines the shapes of the weights.

    Output shape:
        The shape of each input.

    Raises:
        ValueError: as `keras_laurel.Laurel` does.

    Example:

    >>> x0 = keras.Input((64,))
    >>> x1 = keras_laurel.LaurelPA()([x0, keras.layers.Dense(64)(x0)])
    >>> x2 = keras_laurel.LaurelPA()([x1, keras.layers.Dense(64)(x1), x0])

    Reference: arXiv 2411.07501, equation (4); with `rank`, unless
    `share_low_rank`, equation (6).
    """

    def __init__(
        self,
        num_activations: int | str = 3,
        rank: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_activations=num_activations, rank=rank, **kwargs)
