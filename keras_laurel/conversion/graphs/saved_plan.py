"""A plan as plain data, saved beside the config of the plain model.

A tensor is written as `[node, operand]`: the index of a call that reads it,
and the index of the tensor among the inputs of that call.
"""

import itertools

import keras

from keras_laurel.checks import is_integer
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.plan import Replacement
from keras_laurel.conversion.graphs.search import functional_models


def serialize(replacements, model):
    """Return replacements as plain data, which `deserialize` reads."""
    nodes = list(_nodes(model))
    number = {node: i for i, node in enumerate(nodes)}
    readers = {}
    for i, node in enumerate(nodes):
        for operand, tensor in enumerate(keras_internals.node_inputs(node)):
            readers.setdefault(id(tensor), [i, operand])
    return [
        {
            "node": number[r.node],
            "skip": _skip(r, readers),
            "previous": [readers[id(t)] for t in r.previous],
            # These two let loading notice that the class now builds another
            # graph.
            "shape": list(r.node.outputs[0].shape),
            "nodes": len(nodes),
            "layer": keras.layers.serialize(r.layer),
        }
        for r in replacements
    ]


def deserialize(configs, model):
    """Return the replacements, with built layers, from plain data.

    Raises:
        ValueError: if the plan does not fit `model`, because its class builds
            another graph than when the plan was saved, or the file is
            damaged. The message names the model and the call.
    """
    nodes = _nodes(model)
    made = [_Reading(model, nodes, config).replacement() for config in configs]
    if len({r.node for r in made}) < len(made):
        raise ValueError(_message(model, "one call", "stands in it twice"))
    return made


def _skip(replacement, readers):
    """Return the index of the skip among the operands of the addition.

    For a sum of several branches, return `[node, operand]` of a reader.
    """
    operands = keras_internals.node_inputs(replacement.node)[:2]
    if replacement.layer.of_sum:
        return readers[id(replacement.skip)]
    return 0 if operands[0] is replacement.skip else 1


def _nodes(model):
    """Return a dict from each call to the name of its model.

    It has the calls of a model and of those nested in it.
    """
    return {
        node: functional.name
        for functional in functional_models(model)
        for node in keras_internals.nodes(functional)
    }


class _Reading:
    """Reads one replacement and checks that it fits the model."""

    def __init__(self, model, nodes, config):
        self._model = model
        self._homes = nodes
        self._nodes = list(nodes)
        self._config = config

    def replacement(self):
        node = self._node()
        # The layer is built below, on the shapes of this graph.
        layer = {**self._config["layer"], "build_config": None}
        layer = keras.layers.deserialize(layer)
        skip = self._config.get("skip")
        if not layer.of_sum:
            self._check(
                skip in (0, 1) and len(keras_internals.node_inputs(node)) == 2,
                f"is no addition of two operands, of which {skip!r} is one",
            )
            skip = [self._config["node"], skip]
        previous = self._config.get("previous", ())
        x, *previous = [self._tensor(place) for place in (skip, *previous)]
        made = Replacement(node, x, tuple(previous), layer)
        self._check_order(node, [x, *previous])
        try:
            made.build()
        except ValueError as error:
            raise self._error(f"its layer does not fit: {error}") from error
        return made

    def _node(self):
        index, count = self._config.get("node"), len(self._nodes)
        saved_count = self._config.get("nodes", count)
        self._check(
            saved_count == count,
            f"is of a graph of {saved_count} calls, where this has {count}",
        )
        self._check(
            is_integer(index, 0) and index < count,
            f"is none of its {count} calls",
        )
        node = self._nodes[index]
        self._check(
            keras_internals.is_addition(node),
            f"is {node.operation.name!r}, which is no addition",
        )
        shape = list(node.outputs[0].shape)
        saved_shape = list(self._config.get("shape", shape))
        self._check(
            shape == saved_shape, f"has the shape {shape}, not {saved_shape}"
        )
        return node

    def _tensor(self, place):
        reads = f"reads {place!r}, which is no operand of a call"
        self._check(isinstance(place, (list, tuple)) and len(place) == 2, reads)
        index, operand = place
        self._check(is_integer(index, 0) and index < len(self._nodes), reads)
        read = keras_internals.node_inputs(self._nodes[index])
        self._check(is_integer(operand, 0) and operand < len(read), reads)
        return read[operand]

    def _check_order(self, node, tensors):
        home = self._homes[node]
        before = itertools.takewhile(lambda n: n is not node, self._nodes)
        # A connection reads tensors of its own graph only, not those of a
        # model nested in it or around it.
        known = {
            id(t) for n in before if self._homes[n] == home for t in n.outputs
        }
        self._check(
            known.issuperset(map(id, tensors)),
            "reads what is not computed before it",
        )

    def _check(self, fits, why):
        if not fits:
            raise self._error(why)

    def _error(self, why):
        return ValueError(_message(self._model, self._config.get("node"), why))


def _message(model, index, why):
    return (
        f"The saved plan of {model.name!r}, a {type(model).__name__}, puts a "
        f"LAuReL layer at call {index!r}, which {why}. The class builds "
        "another graph than when the model was saved, or the file is damaged. "
        "Load it with the class as it was when it was saved."
    )
