import keras

from keras_laurel.layers.laurel import Laurel


@keras.saving.register_keras_serializable(package="keras_laurel")
class LaurelRW(Laurel):
    """Residual connection with learned weights on both terms (LAuReL-RW).

        out = alpha * f(x) + beta * x

    The cheapest variant, two scalars for each connection, and the first to
    try.

    Args:
        residual_weights: `"softmax"`, `"sigmoid"` or `"complement"` (one
            parameter), the bounded forms of `alpha` and `beta`.
        **kwargs: Further arguments of `keras_laurel.Laurel`, such as
            `per_channel=True`.

    Input shape:
        List of two tensors `[x, fx]` of shape `(batch, ..., D)`.

    Output shape:
        That same shape.

    Raises:
        ValueError: for what `keras_laurel.Laurel` refuses.

    Example:

    >>> x = keras.Input((64,))
    >>> fx = keras.layers.Dense(64, activation="relu")(x)
    >>> y = keras_laurel.LaurelRW()([x, fx])

    Reference: arXiv 2411.07501, section 2.1.
    """

    def __init__(self, residual_weights="softmax", **kwargs):
        super().__init__(residual_weights=residual_weights, **kwargs)
