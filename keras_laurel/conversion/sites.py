"""Where a LAuReL layer can stand."""

import dataclasses


@dataclasses.dataclass(frozen=True, repr=False)
class ResidualSite:
    """A residual connection `x + f(x)` in a model.

    Attributes:
        name: The name of the addition, or `residual_<n>`, the n-th of the
            model, where Keras had made the name up. It is the name of the
            LAuReL layer after conversion.
        kind: `"identity"`, where the skip is the block's input itself;
            `"projection"`, where a learned linear map stands on it;
            `"pooled"`, where a pooling stands on it; `"block"`, a block of a
            KerasHub transformer, its additions inside.
        skip: Which operand of the addition is the skip, 0 or 1.
        input_shape: Shape of the block's input, what skip and branch start
            from, as a tuple with `None` for unknown sizes.
        output_shape: Shape of the sum.
        model: Name of the functional model that holds the addition, the model
            itself or one nested in it.
        node: The call of the addition, or the block.
        branch_nodes: The calls between the block's input and the addition.
    """

    name: str
    kind: str
    skip: int
    input_shape: tuple
    output_shape: tuple
    model: str
    node: object = dataclasses.field(compare=False)
    branch_nodes: tuple = dataclasses.field(compare=False)

    def __repr__(self):
        return (
            f"<ResidualSite {self.model}/{self.name}: {self.kind}, "
            f"{self.input_shape} -> {self.output_shape}, "
            f"skip is operand {self.skip}>"
        )

    def __eq__(self, other):
        return isinstance(other, ResidualSite) and self.node is other.node

    def __hash__(self):
        return id(self.node)
