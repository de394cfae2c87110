"""The dependencies between the tensors of a graph."""

import collections

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.insides import Insides
from keras_laurel.conversion.graphs.sizes import Sizes


class TensorGraph:
    """The tensors of a graph and the calls that compute them.

    Ancestry is kept per tensor, not per call: the two outputs of a split are
    different tensors.

    Args:
        nodes: The calls, each after the calls it depends on.
        outputs: List of the output tensors of the graph.
        insides: The `Insides`, if it is shared with another graph that
            contains this one.

    Attributes:
        sizes: The `Sizes` of the tensors.
        visited: The number of calls that `between` has visited.
    """

    def __init__(self, nodes, outputs, insides=None):
        self.nodes = list(nodes)
        self.visited = 0
        self.insides = Insides(type(self)) if insides is None else insides
        self.sizes = Sizes(self)
        self._index = {node: i for i, node in enumerate(self.nodes)}
        self._position, self._producer = {}, {}
        self._consumers = collections.defaultdict(list)
        self._calls = collections.defaultdict(list)
        # Filled when asked, since a user's layer may have to be traced for it.
        self._operands = {}
        self._outputs = {id(t) for t in outputs}
        for node in self.nodes:
            self._add(node)

    @classmethod
    def of(cls, model, insides=None):
        """Return the graph of a functional model."""
        nodes = keras_internals.nodes(model)
        return cls(nodes, model.outputs, insides)

    def _add(self, node):
        for tensor in keras_internals.values(node):
            self._consumers[id(tensor)].append(node)
        for tensor in node.outputs:
            # 0 is the position of tensors from outside the graph.
            self._position[id(tensor)] = len(self._position) + 1
            self._producer[id(tensor)] = node
        self._calls[id(node.operation)].append(node)

    def inputs(self, node):
        """Return the input tensors of a call, including masks."""
        return keras_internals.node_inputs(node)

    def operands(self, node):
        """Return the tensors whose values a call reads, except masks."""
        if node not in self._operands:
            self._operands[node] = self.insides.tensors_read(node)
        return self._operands[node]

    def calls(self, operation):
        """Return the calls of an operation, several if it is shared."""
        return self._calls[id(operation)]

    def producer(self, tensor):
        """Return the call that computes `tensor`; `None` outside the graph."""
        return self._producer.get(id(tensor))

    def consumers(self, tensor):
        return self._consumers[id(tensor)]

    def is_output(self, tensor):
        return id(tensor) in self._outputs

    def position(self, tensor):
        """Return the index of a tensor in the order of computation."""
        return self._position.get(id(tensor), 0)

    def between(self, start, *ends):
        """Return the calls between `start` and any of `ends`, in order.

        The search goes back from the ends and stops at `start`, so its cost
        depends on the size of the branch and not of the graph.
        """
        behind = self._behind(ends, self.position(start))
        reached, nodes = {id(start)}, []
        for node in sorted(behind, key=self._index.get):
            if any(id(t) in reached for t in self.operands(node)):
                reached.update(id(t) for t in node.outputs)
                nodes.append(node)
        return nodes

    def _behind(self, ends, first):
        found, waiting = set(), list(ends)
        while waiting:
            tensor = waiting.pop()
            node = self.producer(tensor)
            if node in found or self.position(tensor) <= first:
                continue
            self.visited += 1
            found.add(node)
            waiting += self.operands(node)
        return found
