from typing import Any

import keras

from keras_laurel.layers.laurel import Laurel


@keras.saving.register_keras_serializable(package="keras_laurel")
class LaurelRW(Laurel):
    """Residual connection with learned weights on both terms (LAuReL-RW).

        out = alpha * f(x) + beta * x

    This is the cheapest variant, with two scalars per connection, and the
    first one to try.

    Args:
        residual_weights: The form of `alpha` and `beta`. `"softmax"`,
            `"sigmoid"` and `"complement"` (one parameter) are bounded.
        **kwargs: Further arguments of `keras_laurel.Laurel`, such as
            `per_channel=True`. With `rank` the layer is the variant `rw+lr`,
            with `num_activations` `rw+pa`, as `keras_laurel.get` names them.

    Input shape:
        List of two tensors `[x, fx]` of shape `(batch, ..., D)`.

    Output shape:
        The shape of each input.

    Raises:
        ValueError: as `keras_laurel.Laurel` does.

    Example:

    >>> x = keras.Input((64,))
    >>> fx = keras.layers.Dense(64, activation="relu")(x)
    >>> y = keras_laurel.LaurelRW()([x, fx])

    Reference: arXiv 2411.07501, section 2.1.
    """

    def __init__(
        self, residual_weights: str | None = "softmax", **kwargs: Any
    ) -> None:
        super().__init__(residual_weights=residual_weights, **kwargs)
