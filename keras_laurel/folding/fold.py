"""Fold the weights of connections into a model of Keras' own layers."""

import copy
import dataclasses

import keras
from keras import ops

from keras_laurel.checks import check_model
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion import laurel_layers
from keras_laurel.conversion.graphs.rebuild import rebuild
from keras_laurel.folding.neighbours import Neighbours
from keras_laurel.folding.neighbours import multiply_weights
from keras_laurel.folding.terms import added_terms
from keras_laurel.folding.terms import multiplied
from keras_laurel.folding.terms import skip_weight
from keras_laurel.folding.terms import why_not
from keras_laurel.layers import Laurel


@dataclasses.dataclass(frozen=True)
class FoldedConnection:
    """The result of `keras_laurel.fold` for one LAuReL layer.

    Attributes:
        layer: Path of the layer.
        folded: Tuple of strings, one for each weight that was folded, with
            the neighbour into which it went.
        left: Tuple of strings, one for each part that still has to be
            computed, with the reason.
        is_replaced: True if Keras' own layers have replaced the layer.
    """

    layer: str
    folded: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    is_replaced: bool = True


@dataclasses.dataclass(frozen=True, repr=False)
class FoldedModel:
    """A folded model and a report, from `keras_laurel.fold`.

    Attributes:
        model: The new `keras.Model`, for inference.
        connections: Tuple of `keras_laurel.folding.FoldedConnection`.
    """

    model: keras.Model
    connections: tuple[FoldedConnection, ...]

    def __repr__(self):
        lines = []
        for one in self.connections:
            plain = "" if one.folded or one.left else ": a plain addition"
            lines.append(one.layer + plain)
            lines += [f"  folded: {x}" for x in one.folded]
            lines += [f"  left: {x}" for x in one.left]
        return "\n".join(lines)


def fold(model: keras.Model) -> FoldedModel:
    """Fold LAuReL connections into their neighbours, for inference.

    The result is a new model of Keras' own layers that computes the same
    function up to rounding; `model` is not changed. For each connection:

    - alpha is folded into the layer that makes f(x), if that is a dense
      layer, a convolution or a batch normalisation, has no activation, and
      f(x) is not used elsewhere.
    - beta is folded in the same way into the layer that makes the skip, as at
      a projection shortcut, if no low-rank map reads the skip. It cannot be
      folded into a layer that reads the sum, since in residual networks the
      next skip reads the sum too.
    - If both are folded, `keras.layers.Add` remains. A weight that cannot be
      folded becomes a constant factor in the addition.
    - B A x cannot be folded, since it is a separate matrix product. `A` and
      `B` become two dense layers, with beta and gamma in `B`.

    Args:
        model: A built functional `keras.Model` with LAuReL layers in its
            graph, in float32 or float64. Batch normalisation is folded in its
            form for inference, so do not train the result.

    Returns:
        A `keras_laurel.folding.FoldedModel` with the new `model`, and with
        `connections`, a report for each LAuReL layer of the folded weights,
        of those that are left, and of the reasons. `print` it.

    Raises:
        ValueError: if `model` is not a functional model, or has no LAuReL
            layer in its own graph. Connections around blocks and inside
            layers cannot be folded, since f(x) is not visible outside the
            block.

    Example:

    >>> x = keras.Input((8,))
    >>> fx = keras.layers.Dense(8, name="dense")(x)
    >>> layer = keras_laurel.LaurelRW(name="residual")
    >>> model = keras.Model(x, layer([x, fx]))
    >>> layer.set_weights([keras.ops.array([0.5, -0.5])])  # as if trained
    >>> folded = keras_laurel.fold(model)
    >>> folded.connections[0].folded
    ("alpha, into 'dense'",)
    >>> len(keras_laurel.laurel_layers(folded.model))
    0
    """
    check_model("model", model)
    _check(model)
    # Factors are multiplied into the weights in place.
    result = copy.deepcopy(model)
    neighbours = Neighbours(result)
    done = [
        _fold_one(node, neighbours)
        for node in keras_internals.nodes(result)
        if isinstance(node.operation, Laurel)
    ]
    result = rebuild(result, [replacement for replacement, _ in done])
    # A user's class, whose constructor makes the layers, would not save the
    # new ones.
    result = keras.Model(result.input, result.output, name=model.name)
    return FoldedModel(result, tuple(connection for _, connection in done))


def _check(model):
    layers = laurel_layers(model)
    if not layers:
        raise ValueError(
            "Argument `model` must have LAuReL layers. Received: "
            f"model={model.name!r}, without any. Convert it with "
            "`keras_laurel.laurelize`."
        )
    is_graph = keras_internals.is_functional(model)
    graph = keras_internals.nodes(model) if is_graph else []
    here = {id(node.operation) for node in graph}
    inside = [layer.path for layer in layers if id(layer) not in here]
    if len(inside) == len(layers):
        raise ValueError(
            "Argument `model` must be a functional model with LAuReL layers "
            f"in its own graph. Received: model={model.name!r}, whose LAuReL "
            f"layers are around blocks or inside layers ({inside[0]!r} and "
            "others), where f(x) is computed inside a block that does not "
            "return it, so there is no layer to fold into. Export the model "
            "as it is, or fold a nested functional model by itself."
        )


@dataclasses.dataclass(frozen=True)
class _Replacement:
    """The calls that replace a LAuReL layer in the rebuilt graph.

    The layer stays if `alpha` is `None`.
    """

    node: object
    alpha: object
    beta: object

    @property
    def layer(self):
        return self.node.operation

    def call(self, tensors, again):
        if self.alpha is None:
            return again()
        inputs = keras_internals.node_inputs(self.node)
        x, fx, *previous = [tensors[id(t)] for t in inputs]
        terms = [_times(x, self.beta), _times(fx, self.alpha)]
        terms += added_terms(self.layer, x, previous)
        # On PyTorch the order decides the memory layout of the sum.
        if self.layer.branch_first:
            terms[:2] = terms[1::-1]
        return keras.layers.Add(name=self.layer.name)(terms)


def _times(x, weight):
    return x if (weight == 1).all() else multiplied(x, weight)


def _fold_one(node, neighbours):
    layer = node.operation
    reason = why_not(node)
    if reason:
        left = FoldedConnection(layer.path, (), (reason,), False)
        return _Replacement(node, None, None), left
    x, fx = keras_internals.node_inputs(node)[:2]
    weights = {
        "alpha": (fx, ops.convert_to_numpy(layer.alpha), "f(x)"),
        "beta": (x, skip_weight(layer), "the skip"),
    }
    folded, left = [], []
    for name, (tensor, weight, of) in weights.items():
        if (weight == 1).all():
            continue
        maker, reason = neighbours.maker(tensor, weight)
        if name == "beta" and layer.rank:
            maker, reason = None, "the low-rank map reads the skip too"
        if maker is None:
            left.append(f"{name}, a factor of {of}: {reason}")
            continue
        multiply_weights(maker, weight)
        folded.append(f"{name}, into {maker.name!r}")
        # A factor of 1 is left, in the same shape.
        weights[name] = (tensor, weight**0, of)
    if layer.rank:
        left.append("B A x: a low-rank map has products of its own")
    elif layer.num_activations and len(keras_internals.node_inputs(node)) > 2:
        left.append("gamma, factors of the previous activations")
    replacement = _Replacement(node, weights["alpha"][1], weights["beta"][1])
    return replacement, FoldedConnection(layer.path, tuple(folded), tuple(left))
