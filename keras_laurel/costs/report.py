"""The figures of a footprint, as attributes, a table, a dict or a file."""

import csv
import dataclasses
import os
from typing import Any

from keras_laurel.checks import check_file_path
from keras_laurel.costs import table
from keras_laurel.layers import Laurel
from keras_laurel.layers.cost import ConnectionCost

_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclasses.dataclass(frozen=True)
class ConnectionFootprint:
    """The cost of one LAuReL layer at all positions of its inputs.

    Attributes:
        layer: Path of the layer, which shows the block it is in.
        variant: The paper's name of the variant, such as `"rw+lr"`.
        width: D, the size of the feature axis.
        rank: r, or `None`.
        activations: The number of activations it reads, the skip included.
        positions: Tokens or pixels of the batch, over all its calls.
        parameters, forward_flops, training_flops, activation_bytes,
            history_bytes: As in `Footprint`, for this layer.
    """

    layer: str
    variant: str
    width: int
    rank: int | None
    activations: int
    positions: int
    parameters: int
    forward_flops: int
    training_flops: int
    activation_bytes: int
    history_bytes: int

    @classmethod
    def of(
        cls, layer: Laurel, cost: ConnectionCost, positions: int
    ) -> "ConnectionFootprint":
        """Return the footprint of a layer whose `ConnectionCost` is `cost`."""
        size = positions * _BYTES[layer.compute_dtype]
        return cls(
            layer=layer.path,
            variant=layer.variant,
            width=cost.width,
            rank=cost.rank,
            activations=cost.activations,
            positions=positions,
            parameters=cost.parameters,
            forward_flops=positions * cost.forward_flops,
            training_flops=positions * cost.training_flops,
            activation_bytes=size * cost.kept,
            history_bytes=size * cost.history,
        )


@dataclasses.dataclass(frozen=True)
class Footprint:
    """The cost of a model, from `keras_laurel.costs.footprint`.

    `print` it for a table. `footprint` describes what is counted.

    Attributes:
        model: Name of the model.
        batch_size: Integer.
        sequence_length: Integer, or `None` if the model defines it.
        parameters: The number of weights of the model.
        forward_flops: Floating point operations of a forward pass.
        training_flops: Floating point operations of a forward and a backward
            pass.
        connections: Tuple of `ConnectionFootprint`, in the order they run.
        baseline: The `Footprint` of the model it is compared with, or `None`.
    """

    model: str
    batch_size: int
    sequence_length: int | None
    parameters: int
    forward_flops: int
    training_flops: int
    connections: tuple[ConnectionFootprint, ...]
    baseline: "Footprint | None" = None

    @property
    def laurel_parameters(self) -> int:
        """The number of weights of all LAuReL connections."""
        return self._sum("parameters")

    @property
    def laurel_forward_flops(self) -> int:
        """FLOPs of LAuReL connections in a forward pass.

        The plain addition is left out.
        """
        return self._sum("forward_flops")

    @property
    def laurel_training_flops(self) -> int:
        """FLOPs of LAuReL connections in a forward and a backward pass."""
        return self._sum("training_flops")

    @property
    def activation_bytes(self) -> int:
        """Bytes that LAuReL keeps for the backward pass."""
        return self._sum("activation_bytes")

    @property
    def history_bytes(self) -> int:
        """The most bytes of history held at once in a forward pass."""
        # Connections hold the same activations, so their bytes do not add up.
        return max((row.history_bytes for row in self.connections), default=0)

    def added(self, quantity: str) -> tuple[int, float]:
        """Return the cost added to the baseline, in number and in percent.

        Args:
            quantity: `"parameters"`, `"forward_flops"` or
                `"training_flops"`.

        Returns:
            `(number, percent)`. Without a baseline, this is the cost of the
            LAuReL connections, compared with that of the rest of the model.

        Raises:
            ValueError: if `quantity` is not one of these.
        """
        if quantity not in table.QUANTITIES:
            raise ValueError(
                f"Argument `quantity` must be one of {table.QUANTITIES}. "
                f"Received: quantity={quantity!r}."
            )
        total = getattr(self, quantity)
        if self.baseline is None:
            plain = total - self._sum(quantity)
        else:
            plain = getattr(self.baseline, quantity)
        percent = 100 * (total - plain) / plain if plain else float("inf")
        return total - plain, percent

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as a dict that JSON can store."""
        figures = {
            name: getattr(self, name)
            for name in ("model", "batch_size", "sequence_length")
        }
        for quantity in table.QUANTITIES:
            added, percent = self.added(quantity)
            figures[quantity] = getattr(self, quantity)
            figures[f"laurel_{quantity}"] = self._sum(quantity)
            figures[f"added_{quantity}"] = added
            figures[f"added_{quantity}_percent"] = percent
        figures["activation_bytes"] = self.activation_bytes
        figures["history_bytes"] = self.history_bytes
        figures["connections"] = [
            dataclasses.asdict(row) for row in self.connections
        ]
        baseline = self.baseline
        figures["baseline"] = baseline.to_dict() if baseline else None
        return figures

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV file with a row per connection, and one for the total.

        Raises:
            ValueError: if `path` is not the path of a file.
        """
        check_file_path("path", path)
        names = [f.name for f in dataclasses.fields(ConnectionFootprint)]
        total = {"layer": "total", "history_bytes": self.history_bytes}
        for name in names[names.index("parameters") : -1]:
            total[name] = self._sum(name)
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(dataclasses.asdict(x) for x in self.connections)
            writer.writerow(total)

    def __str__(self):
        return table.draw(self)

    def _sum(self, name):
        return sum(getattr(row, name) for row in self.connections)
