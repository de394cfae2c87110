"""From a model to what its connections have learned."""

import dataclasses

from keras_laurel.checks import check_model
from keras_laurel.conversion import laurel_layers
from keras_laurel.learned import table
from keras_laurel.learned.connection import ConnectionSummary
from keras_laurel.learned.share import shares
from keras_laurel.learned.share import without_gradients


def laurel_summary(model, inputs=None):
    """What the LAuReL connections of a model have learned.

    For each connection alpha, beta and gamma, the norm of each low-rank term
    and, on a batch, what share of the residual stream it adds. Before training
    alpha and beta are `scale`, and shares 0.

    In the table a connection has a line for each activation that it weighs,
    the skip's first, and below means `per_channel` their range.

    Args:
        model: A built `keras.Model` with LAuReL layers.
        inputs: A batch as `model` is called on, to measure the shares on:
            the model runs once, op by op, in inference. `None` for no shares.

    Returns:
        A `LaurelSummary`: print it, or use its `connections` or `to_dict()`.
        `keras_laurel.learned.ConnectionSummary` defines each number.

    Raises:
        ValueError: if `model` has no LAuReL layer, or one that is not built.

    Example:

    >>> x = keras.Input((8, 64))
    >>> fx = keras.layers.Dense(64, activation="relu")(x)
    >>> layer = keras_laurel.get("rw+lr", rank=4, name="residual")
    >>> model = keras.Model(x, layer([x, fx]), name="small")
    >>> print(keras_laurel.laurel_summary(model))
    small: 1 x rw+lr
    <BLANKLINE>
    #  layer      alpha    beta  norm
    0  residual  1.0000  1.0000  0.00
    """
    check_model("model", model)
    layers = laurel_layers(model)
    _check(model, layers)
    share = {} if inputs is None else shares(model, inputs)
    with without_gradients():
        connections = tuple(
            ConnectionSummary.of(layer, share.get(layer)) for layer in layers
        )
    return LaurelSummary(model.name, connections)


@dataclasses.dataclass(frozen=True, repr=False)
class LaurelSummary:
    """What connections have learned, made by `keras_laurel.laurel_summary`.

    Attributes:
        model: Name of the model.
        connections: Tuple of `ConnectionSummary`, in the order of
            `keras_laurel.laurel_layers`.
    """

    model: str
    connections: tuple

    def to_dict(self):
        """All numbers in lists and dicts; a share may be `nan`."""
        rows = [connection.to_dict() for connection in self.connections]
        return {"model": self.model, "connections": rows}

    def __repr__(self):
        return table.draw(self)


def _check(model, layers):
    if not layers:
        raise ValueError(
            f"`model` got {model.name!r}, which has no LAuReL layer. Convert "
            "it by `keras_laurel.laurelize`, or build it with one."
        )
    for layer in layers:
        if not layer.built:
            raise ValueError(
                f"`model` got {model.name!r}, whose layer {layer.name!r} is "
                "not built: it has no weights yet. Call the model on a batch "
                "first."
            )
