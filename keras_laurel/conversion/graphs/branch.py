"""The branch of an addition: the calls between its start and its ends."""

from keras_laurel.conversion.graphs.resolution import UpSampled
from keras_laurel.conversion.graphs.resolution import scale_at
from keras_laurel.conversion.graphs.steps import learns
from keras_laurel.conversion.graphs.steps import steps_of

# What is read from inside a branch on the side, as an auxiliary classifier, is
# small; what is larger is the network.
_SIDE_CALLS = 64


class Branch:
    """All ways from one tensor to some others.

    Args:
        graph: A `TensorGraph`.
        start: A tensor.
        ends: Tensors, each of which the branch may lead to.

    Attributes:
        nodes: The calls on the ways, in order.
    """

    def __init__(self, graph, start, ends):
        self._graph = graph
        self.start = start
        self.ends = ends
        self.nodes = graph.between(start, *ends)
        self._computed = {id(t) for node in self.nodes for t in node.outputs}

    def reaches_all(self):
        return all(id(end) in self._computed for end in self.ends)

    def learns(self):
        return any(learns(node) for node in self.nodes)

    def steps(self):
        """The `Steps` to each end."""
        return [
            steps_of(self._graph.between(self.start, end), self._graph)
            for end in self.ends
        ]

    def scales(self):
        """The scale of each end; `None` if the branch up-samples."""
        try:
            return [
                scale_at(self.nodes, self.start, end, self._graph)
                for end in self.ends
            ]
        except UpSampled:
            return None

    def is_entered(self):
        """Whether anything else than the start comes in."""
        inside = self._computed | {id(self.start)}
        return any(
            id(t) not in inside
            for node in self.nodes
            for t in self._graph.operands(node)
        )

    def is_bypassed(self):
        """Whether a stream comes in again of which the start is a part.

        So it does in a sum of what each block of a network gave: between one
        block and the next stands the addition around the first.
        """
        graph = self._graph
        return any(
            id(tensor) not in self._computed
            and tensor.shape == node.outputs[0].shape
            and graph.between(tensor, self.start)
            for node in self.nodes
            if type(node.operation).__name__ in ("Add", "Subtract")
            for tensor in graph.operands(node)
            if tensor is not self.start
        )

    def is_left(self, sums):
        """Whether other parts of the network go on from inside the branch.

        Args:
            sums: The additions that the branch ends in, the last one first.
        """
        inside = {*self.nodes, *sums}
        read = {id(t) for n in inside for t in self._graph.operands(n)}
        for tensor in [t for n in self.nodes for t in n.outputs]:
            if id(tensor) not in read:
                continue
            outside = set(self._graph.consumers(tensor)) - inside
            if outside and not self._is_side(outside, sums[0]):
                return True
        return False

    def _is_side(self, nodes, addition):
        """Whether these calls lead nowhere that the sum leads to.

        Outputs may gather what they have: the last calls may join tensors
        that are computed from the sum, though not the sum itself.
        """
        side = self._all_after(nodes)
        if side is None:
            return False
        total = addition.outputs[0]
        computed = {id(t) for n in side for t in n.outputs}
        for node in side:
            others = [
                t
                for t in self._graph.operands(node)
                if id(t) not in computed
                and self._graph.position(t) >= self._graph.position(total)
            ]
            if any(t is total for t in others):
                return False
            last = not any(map(self._graph.consumers, node.outputs))
            if not last and any(self._graph.between(total, t) for t in others):
                return False
        return True

    def _all_after(self, nodes):
        found, waiting = set(), list(nodes)
        while waiting:
            node = waiting.pop()
            if node in found:
                continue
            found.add(node)
            if len(found) > _SIDE_CALLS:
                return None
            for tensor in node.outputs:
                waiting += self._graph.consumers(tensor)
        return found

    def ends_in(self, sums):
        """Whether nothing else in the graph reads the ends."""
        return all(
            {*sums}.issuperset(self._graph.consumers(end)) for end in self.ends
        )
