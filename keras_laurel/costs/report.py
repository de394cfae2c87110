"""The figures of a footprint, as attributes, a table, a dict or a file."""

import csv
import dataclasses

from keras_laurel.costs import table

_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclasses.dataclass(frozen=True)
class ConnectionFootprint:
    """What one LAuReL layer costs at all positions that it is called on.

    Attributes:
        layer: Path of the layer, which tells the block it is in.
        variant: The paper's name of what is learned, such as `"rw+lr"`.
        width: D, the size of the feature axis.
        rank: r, or `None`.
        activations: How many it reads, the skip included.
        positions: Tokens or pixels of the batch, over all its calls.
        parameters, forward_flops, training_flops, activation_bytes,
            history_bytes: As in `Footprint`, of this layer.
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
    def of(cls, layer, cost, positions):
        """Of a layer whose `ConnectionCost` is `cost`."""
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
    """What a model costs, made by `keras_laurel.costs.footprint`.

    `print` it for a table. Of what is counted, and how, see there.

    Attributes:
        model: Name of the model.
        batch_size: Integer.
        sequence_length: Integer, or `None` where the model defines it.
        parameters: All weights of the model.
        forward_flops: Floating point operations of a forward pass.
        training_flops: Those of a forward and a backward pass.
        connections: Tuple of `ConnectionFootprint`, in the order they run.
        baseline: The `Footprint` of the model it is compared with, or `None`.
    """

    model: str
    batch_size: int
    sequence_length: int | None
    parameters: int
    forward_flops: int
    training_flops: int
    connections: tuple
    baseline: "Footprint | None" = None

    @property
    def laurel_parameters(self):
        """Parameters of all LAuReL connections."""
        return self._sum("parameters")

    @property
    def laurel_forward_flops(self):
        """What LAuReL connections do beyond a plain addition."""
        return self._sum("forward_flops")

    @property
    def laurel_training_flops(self):
        """The same with the backward pass."""
        return self._sum("training_flops")

    @property
    def activation_bytes(self):
        """What LAuReL keeps for the backward pass."""
        return self._sum("activation_bytes")

    @property
    def history_bytes(self):
        """The most that previous activations take at once, going forward."""
        return max((row.history_bytes for row in self.connections), default=0)

    def added(self, quantity):
        """How much more than the baseline, in number and in percent.

        Args:
            quantity: `"parameters"`, `"forward_flops"` or
                `"training_flops"`.

        Returns:
            `(number, percent)`. Without a baseline, of what LAuReL has, to
            the rest.

        Raises:
            ValueError: for another quantity.
        """
        if quantity not in table.QUANTITIES:
            raise ValueError(
                f"`quantity` got {quantity!r}; it needs one of "
                f"{table.QUANTITIES}."
            )
        total = getattr(self, quantity)
        if self.baseline is None:
            plain = total - self._sum(quantity)
        else:
            plain = getattr(self.baseline, quantity)
        percent = 100 * (total - plain) / plain if plain else float("inf")
        return total - plain, percent

    def to_dict(self):
        """All figures, as JSON takes them."""
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

    def to_csv(self, path):
        """Write a row for each connection, and one for all of them."""
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
