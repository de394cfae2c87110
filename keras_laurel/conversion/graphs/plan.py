"""Decide which LAuReL layer goes where, before anything is changed."""

import dataclasses
import itertools

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.prototype import copy_of
from keras_laurel.layers import Laurel


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A built LAuReL layer and the addition whose place it takes.

    Attributes:
        node: The call of the addition.
        skip: Which of its operands is the skip, 0 or 1.
        previous: Previous activations as `(node, operand)` pairs of earlier
            additions, newest first.
        layer: The `Laurel` layer.
    """

    node: object
    skip: int
    previous: tuple
    layer: Laurel

    def inputs(self):
        """`[x, fx, *previous]`, the tensors of the graph as it was."""
        operands = keras_internals.node_inputs(self.node)
        history = [keras_internals.node_inputs(n)[i] for n, i in self.previous]
        return [operands[self.skip], operands[1 - self.skip], *history]

    def serialize(self, model):
        """A config that `deserialize` reads with the same `model`."""
        index = _node_index(model)
        return {
            "node": index[self.node],
            "skip": self.skip,
            "previous": [[index[n], i] for n, i in self.previous],
            "layer": keras.layers.serialize(self.layer),
        }

    @classmethod
    def deserialize(cls, config, model):
        nodes = list(_node_index(model))
        layer = keras.layers.deserialize(config["layer"])
        previous = tuple((nodes[n], i) for n, i in config["previous"])
        made = cls(nodes[config["node"]], config["skip"], previous, layer)
        made.build()
        return made

    def build(self):
        if not self.layer.built:
            self.layer.build([tuple(t.shape) for t in self.inputs()])


def by_node(replacements):
    return {replacement.node: replacement for replacement in replacements}


def plan_replacements(model, sites, prototype):
    """A built copy of `prototype` for each site.

    Raises:
        ValueError: if the prototype does not fit a site, which is named.
    """
    chosen = {site.node: site for site in sites}
    numbers = itertools.count()
    plan = []
    for functional in functional_models(model):
        plan += _plan_one(functional, chosen, prototype, numbers)
    return list(by_node(plan).values())


def _plan_one(model, chosen, prototype, numbers):
    graph = TensorGraph.of(model)
    here = [chosen[node] for node in graph.nodes if node in chosen]
    kept = {o.name for o in model.operations} - {
        site.node.operation.name for site in here
    }
    made = []
    for i, site in enumerate(here):
        previous = _previous(graph, here[:i], site, prototype.num_activations)
        layer = _copy_for(prototype, next(numbers), site, kept)
        kept.add(layer.name)
        replacement = Replacement(site.node, site.skip, previous, layer)
        _build_at(site, replacement)
        made.append(replacement)
    return made


def _build_at(site, replacement):
    try:
        replacement.build()
    except ValueError as error:
        raise ValueError(
            f"The layer does not fit the site {site!r}: {error} Or leave the "
            "site out with `sites=[...]`."
        ) from error


def _previous(graph, earlier, site, num_activations):
    """The skips that lead to this one, of its shape, newest first."""
    skip = _skip_tensor(site)
    found = {
        id(_skip_tensor(other)): (other.node, other.skip)
        for other in earlier
        if graph.is_ancestor(_skip_tensor(other), skip)
        and _skip_tensor(other).shape == skip.shape
    }
    newest_first = sorted(
        found.values(),
        key=lambda pair: -graph.position(_operand(*pair)),
    )
    return tuple(newest_first[: max(num_activations - 1, 0)])


def _skip_tensor(site):
    return _operand(site.node, site.skip)


def _operand(node, index):
    return keras_internals.node_inputs(node)[index]


def _copy_for(prototype, number, site, taken):
    axis = feature_axis(site) if prototype.axis == -1 else prototype.axis
    name = free_name(site.name, taken)
    return copy_of(prototype, number, name, _dtype_policy(site), axis=axis)


def free_name(name, taken):
    """`name`, with an ending where another operation has it."""
    while name in taken:
        name += "_laurel"
    return name


def _dtype_policy(site):
    """The policy of the `Add` layer, or of what computes its operands."""
    operation = site.node.operation
    if isinstance(operation, keras.layers.Layer):
        return operation.dtype_policy
    dtype = keras.backend.standardize_dtype(site.node.outputs[0].dtype)
    for node in reversed(site.branch_nodes):
        policy = getattr(node.operation, "dtype_policy", None)
        if getattr(policy, "compute_dtype", None) == dtype:
            return policy
    return keras.dtype_policies.get(dtype)


def feature_axis(site):
    """The channel axis of the convolution or norm nearest to the addition."""
    for node in reversed(site.branch_nodes):
        data_format = getattr(node.operation, "data_format", None)
        if data_format is not None:
            return 1 if data_format == "channels_first" else -1
        if isinstance(node.operation, keras.layers.BatchNormalization):
            ndim = len(site.output_shape)
            axis = node.operation.axis
            return -1 if axis in (-1, ndim - 1) else axis
    return -1


def _node_index(model):
    """The calls of a model and of the models nested in it, numbered."""
    nodes = {
        node: None
        for functional in functional_models(model)
        for node in keras_internals.nodes(functional)
    }
    return {node: i for i, node in enumerate(nodes)}
