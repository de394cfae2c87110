"""Summarize the learned numbers of a model's connections."""

import dataclasses
from typing import Any

import keras

from keras_laurel.checks import check_batch
from keras_laurel.checks import check_model
from keras_laurel.conversion import laurel_layers
from keras_laurel.learned import table
from keras_laurel.learned.connection import ConnectionSummary
from keras_laurel.learned.share import shares
from keras_laurel.learned.share import without_gradients


def laurel_summary(model: keras.Model, inputs: Any = None) -> "LaurelSummary":
    """Return the learned numbers of a model's LAuReL connections.

    For each connection these are alpha, beta and gamma, the norm of each
    low-rank term and, on a batch, the share of the residual stream that it
    adds. Before training alpha and beta are `scale`, and shares are 0.

    In the table, a connection has a line for each activation that it weighs,
    that of the skip first. Below means of `per_channel` weights it has their
    range.

    Args:
        model: A built `keras.Model` with LAuReL layers.
        inputs: A batch of the model's inputs on which shares are measured:
            the model runs once, op by op, in inference. `None` leaves shares
            out.

    Returns:
        A `LaurelSummary`: print it, or use its `connections` or `to_dict()`.
        `keras_laurel.learned.ConnectionSummary` defines each number.

    Raises:
        ValueError: if `model` has no LAuReL layer, or one that is not built,
            or if `inputs` is no batch.

    Example:

    >>> x = keras.Input((8, 64))
    >>> fx = keras.layers.Dense(64, activation="relu")(x)
    >>> layer = keras_laurel.get("rw+lr", rank=4, name="residual")
    >>> model = keras.Model(x, layer([x, fx]), name="small")
    >>> print(keras_laurel.learned.laurel_summary(model))
    small: 1 x rw+lr
    <BLANKLINE>
    #  layer      alpha    beta  norm
    0  residual  1.0000  1.0000  0.00
    """
    check_model("model", model)
    check_batch("inputs", inputs)
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
    """The learned numbers of connections, from `laurel_summary`.

    Attributes:
        model: Name of the model.
        connections: Tuple of `ConnectionSummary`, in the order of
            `keras_laurel.laurel_layers`.
    """

    model: str
    connections: tuple[ConnectionSummary, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers in lists and dicts; a share may be `nan`."""
        rows = [connection.to_dict() for connection in self.connections]
        return {"model": self.model, "connections": rows}

    def __repr__(self):
        return table.draw(self)


def _check(model, layers):
    if not layers:
        raise ValueError(
            "Argument `model` must have LAuReL layers. Received: "
            f"{model.name!r}, which has no LAuReL layer. Convert it with "
            "`keras_laurel.laurelize`, or build it with one."
        )
    for layer in layers:
        if not layer.built:
            raise ValueError(
                "Argument `model` must be built. Received: "
                f"{model.name!r}, whose layer {layer.name!r} is not built: it "
                "has no weights yet. Call the model on a batch first."
            )
