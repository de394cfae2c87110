"""Where the weights of a model will lie, and what that takes on a device."""

import collections
import dataclasses
import math
import re

from keras_laurel.checks import check_integer
from keras_laurel.distribution.checks import check_built
from keras_laurel.distribution.checks import check_distribution
from keras_laurel.distribution.layout_maps import bytes_of
from keras_laurel.distribution.layout_maps import parts


@dataclasses.dataclass(frozen=True)
class MemoryPlan:
    """What `plan_memory` found; `str(plan)` is a table.

    Attributes:
        mesh: Dict of the sizes of the mesh by its axes, empty without one.
        groups: List of dicts, one for the weights whose paths differ in
            numbers only and that are divided alike: `"weights"`, `"count"`,
            `"elements"`, `"layout"`, `"bytes_per_device"`.
        weights: Integer, bytes of the weights on one device.
        gradients: Integer, bytes of the gradients of the trainable ones.
        optimizer: Integer, bytes of the optimizer's slots.
    """

    mesh: dict
    groups: list
    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self):
        return self.weights + self.gradients + self.optimizer

    @property
    def total_line(self):
        """The last line of the table."""
        return (
            f"A device: weights {readable(self.weights)}, gradients "
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
        return f"Mesh: {sizes}; {math.prod(self.mesh.values())} devices"

    def _table(self):
        lines = [("Weights", "Count", "Elements", "Layout", "A device")]
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


def plan_memory(model, distribution=None, optimizer_slots=2):
    """What each device keeps of a model.

    The model need not have values yet: one that is built in
    `keras.StatelessScope(initialize_variables=False)` takes no memory, so that
    a plan can be made of a model that this machine could not hold.

    Args:
        model: A built `keras.Model`.
        distribution: A `keras.distribution.Distribution`, or `None` where each
            device has all weights.
        optimizer_slots: Integer, variables that the optimizer has for each
            trainable weight: 2 for Adam, 1 for momentum, one more where
            gradients are accumulated.

    Returns:
        A `MemoryPlan`. It counts what lies on a device between steps, and
        gradients; it does not count activations.

    Raises:
        ValueError: if `model` is not built, `distribution` is none, or a
            weight does not divide evenly.

    Example:

    >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    >>> keras_laurel.distribution.plan_memory(model).total
    576
    """
    check_built(model)
    check_distribution(distribution)
    slots = check_integer("optimizer_slots", optimizer_slots, 0)
    mesh = getattr(distribution, "device_mesh", None)
    groups = collections.defaultdict(lambda: [0, 0, 0])
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
    """The layout of a variable, and the bytes of it that a device has."""
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
    """`1234567` as `1.23 MB`."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(f"{count:d}") - 1, 12) // 3
    return f"{count / 1000**power:,.{2 if power else 0}f} {units[power]}"
