"""The memory that the weights of a model will take on each device."""

import collections
import dataclasses
import math
import re
from typing import Any

import keras

from keras_laurel.checks import check_integer
from keras_laurel.distribution.checks import check_built
from keras_laurel.distribution.checks import check_distribution
from keras_laurel.distribution.layout_maps import bytes_of
from keras_laurel.distribution.layout_maps import parts


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """The result of `plan_memory`; `str(plan)` is a table.

    Attributes:
        mesh: Dict of the sizes of the mesh by its axes, empty without one.
        groups: List of dicts, one for each group of weights whose paths differ
            only in numbers and that are divided alike. The keys are
            `"weights"`, `"count"`, `"elements"`, `"layout"` and
            `"bytes_per_device"`.
        weights: Integer, bytes of the weights on one device.
        gradients: Integer, bytes of the gradients of trainable weights.
        optimizer: Integer, bytes of the optimizer's slots.
    """

    mesh: dict[str, int]
    groups: list[dict[str, Any]]
    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """Bytes of weights, gradients and optimizer slots on one device."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total_line(self) -> str:
        """The last line of the table."""
        return (
            f"Per device: weights {readable(self.weights)}, gradients "
            f"{readable(self.gradients)}, optimizer "
            f"{readable(self.optimizer)}; {readable(self.total)} without "
            "activations"
        )

    def __str__(self):
        return "\n".join(
            [self._describe_mesh(), *self._table(), self.total_line]
        )

    def _describe_mesh(self):
        if not self.mesh:
            return "Mesh: none; every device has all weights"
        sizes = ", ".join(f"{name}={size}" for name, size in self.mesh.items())
        count = math.prod(self.mesh.values())
        return f"Mesh: {sizes}; {count} device{'s' if count > 1 else ''}"

    def _table(self):
        lines = [("Weights", "Count", "Elements", "Layout", "Per device")]
        for group in self.groups:
            axes = ", ".join(axis or "-" for axis in group["layout"])
            lines.append(
                (
                    group["weights"],
                    str(group["count"]),
                    f"{group['elements']:,}",
                    f"({axes})",
                    readable(group["bytes_per_device"]),
                )
            )
        widths = [max(map(len, column)) for column in zip(*lines)]
        alignments = "<>><>"
        return [
            "  ".join(
                f"{cell:{side}{width}}"
                for cell, side, width in zip(line, alignments, widths)
            )
            for line in lines
        ]


def plan_memory(
    model: keras.Model,
    distribution: Any = None,
    optimizer_slots: int = 2,
) -> MemoryPlan:
    """Return the memory that a model takes on each device.

    Its variables need no values yet. A model that is built in
    `keras.StatelessScope(initialize_variables=False)` takes no memory, so it
    may be larger than this machine could hold.

    Args:
        model: A built `keras.Model`.
        distribution: A `keras.distribution.Distribution`, or `None` if each
            device has all weights.
        optimizer_slots: Integer, the number of variables that the optimizer
            has for each trainable weight: 2 for Adam, 1 for momentum, and one
            more if gradients are accumulated.

    Returns:
        A `MemoryPlan`. It counts the memory in use between steps, and
        gradients; it does not count activations.

    Raises:
        ValueError: if `model` is not built, `distribution` is not a
            distribution, or a weight does not divide evenly.

    Example:

    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> keras_laurel.distribution.plan_memory(model).total
    576
    """
    check_built(model)
    check_distribution(distribution)
    slots = check_integer("optimizer_slots", optimizer_slots, 0)
    mesh = getattr(distribution, "device_mesh", None)
    groups: dict[tuple, list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    weights = trainable = 0
    for variable in model.weights:
        axes, size = _on_a_device(variable, distribution, mesh)
        key = (re.sub("[0-9]+", "*", variable.path), axes)
        added = (1, math.prod(variable.shape), size)
        groups[key] = [a + b for a, b in zip(groups[key], added)]
        weights += size
        trainable += size if variable.trainable else 0
    return MemoryPlan(
        dict(zip(mesh.axis_names, mesh.shape)) if mesh else {},
        [_group(*key, *sums) for key, sums in groups.items()],
        weights,
        trainable,
        slots * trainable,
    )


def _on_a_device(variable, distribution, mesh):
    """Return the layout of a variable, and its bytes on one device."""
    layout = distribution and distribution.get_variable_layout(variable)
    counts = parts(variable, layout, mesh)
    axes = layout.axes if layout else (None,) * len(variable.shape)
    return axes, bytes_of(variable) // math.prod(counts)


def _group(weights, axes, count, elements, size):
    return {
        "weights": weights,
        "count": count,
        "elements": elements,
        "layout": axes,
        "bytes_per_device": size,
    }


def readable(count):
    """Return `1234567` as `1.23 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(f"{count:d}") - 1, 12) // 3
    return f"{count / 1000**power:,.{2 if power else 0}f} {units[power]}"
