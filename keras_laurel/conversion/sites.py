"""Where a LAuReL layer can stand, and where not."""

import dataclasses


@dataclasses.dataclass(frozen=True, repr=False)
class ResidualSite:
    """A residual connection `x + f(x)` in a model.

    Attributes:
        name: The name of the addition, or `residual_<n>`, the n-th of the
            model, where Keras had made the name up. Inside a layer the path
            to it comes first, as in `"blocks_3/residual_1"`.
        kind: `"identity"`, where the skip is the block's input itself;
            `"projection"`, where a learned linear map stands on it;
            `"pooled"`, where a pooling stands on it; `"block"`, a block with
            its additions inside.
        skip: Which operand of the addition is the skip, 0 or 1.
        input_shape: Shape of the block's input, what skip and branch start
            from, as a tuple with `None` for unknown sizes.
        output_shape: Shape of the sum.
        model: Name of the functional model that holds the addition, the model
            itself or one nested in it; or the class of the layer.
        node: What stands for the addition, or the block.
        branch_nodes: The calls between the block's input and the addition.
        where: The line of code of an addition inside a layer, or `None`.
        skip_tensor: The tensor that is the skip; `None` of a block.
        is_sum: Whether several branches are added to the skip, and the
            connection goes around all of them.
    """

    name: str
    kind: str
    skip: int
    input_shape: tuple
    output_shape: tuple
    model: str
    node: object = dataclasses.field(compare=False)
    branch_nodes: tuple = dataclasses.field(compare=False)
    where: str = None
    skip_tensor: object = dataclasses.field(compare=False, default=None)
    is_sum: bool = False

    @property
    def is_inside(self):
        """Whether the addition stands in the `call` of a layer."""
        return isinstance(self.node, tuple)

    def __repr__(self):
        return (
            f"<ResidualSite {self.model}/{self.name}: {self.kind}, "
            f"{self.input_shape} -> {self.output_shape}, "
            f"skip is operand {self.skip}>"
        )

    def __eq__(self, other):
        return isinstance(other, ResidualSite) and self.node == other.node

    def __hash__(self):
        return hash(self.node)


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """An addition that `residual_sites` does not take for residual.

    Attributes:
        reason: String, why not; or why a layer could not be looked into.
        where: String, where it stands.
        site: The `ResidualSite` it would be, which `laurelize` takes in
            `sites=` all the same; `None` where its shapes do not allow it.
    """

    reason: str
    where: str
    site: ResidualSite = None


class ResidualSites(list):
    """A list of `ResidualSite` that prints as a table.

    Attributes:
        left_out: List of `LeftOut`, the other additions of the model.
    """

    def __init__(self, sites, left_out=()):
        super().__init__(sites)
        self.left_out = list(left_out)

    def __repr__(self):
        rows = [("site", "kind", "input", "output", "skip")]
        rows += [
            (
                site.name,
                site.kind,
                _shape(site.input_shape),
                _shape(site.output_shape),
                str(site.skip),
            )
            for site in self
        ]
        lines = _table(rows)
        if self.left_out:
            lines += ["", f"{len(self.left_out)} left out:"]
            lines += [f"- {x.where}: {x.reason}" for x in self.left_out]
        return "\n".join(lines)

    __str__ = __repr__


def _shape(shape):
    return "(" + ", ".join(str(d) for d in shape) + ")"


def _table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(x.ljust(w) for x, w in zip(row, widths)).rstrip()
        for row in rows
    ]
