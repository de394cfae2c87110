"""The branch of an addition: the calls between its start and its ends."""

from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.graphs.resolution import CameBack
from keras_laurel.conversion.graphs.resolution import scale_at
from keras_laurel.conversion.graphs.steps import learns
from keras_laurel.conversion.graphs.steps import multiplies
from keras_laurel.conversion.graphs.steps import steps_of

# A side output that reads from inside a branch, such as an auxiliary
# classifier, has few calls. With more calls it is the main network.
_SIDE_CALLS = 64
# Between the layer that computes keys and the product with queries.
_NEAR = 8


class Branch:
    """All paths from one tensor to some others.

    Args:
        graph: A `TensorGraph`.
        start: A tensor.
        ends: Tensors to which the branch may lead.

    Attributes:
        nodes: The calls on these paths, in order.
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
        return any(learns(n) or self._mixes_learned(n) for n in self.nodes)

    def _mixes_learned(self, node):
        """Return whether a call is a product with a learned tensor.

        Attention to another sequence is, where the queries have no weights
        behind the start.
        """
        if not multiplies(node.operation):
            return False
        waiting = self._from_outside(node)
        for _ in range(_NEAR):
            if not waiting:
                return False
            producer = self._graph.producer(waiting.pop(0))
            if producer is not None:
                if learns(producer):
                    return True
                waiting += self._graph.operands(producer)
        return False

    def steps(self):
        """Return the `Steps` to each end."""
        return [
            steps_of(self._graph.between(self.start, end), self._graph)
            for end in self.ends
        ]

    def scales(self):
        """Return the scale of each end, or `None` if the branch comes back."""
        try:
            return [
                scale_at(self.nodes, self.start, end, self._graph)
                for end in self.ends
            ]
        except CameBack:
            return None

    def is_entered(self):
        """Return whether the branch also reads tensors from outside."""
        return any(map(self._from_outside, self.nodes))

    def _from_outside(self, node):
        """Return the tensors that a call reads and the branch has not made."""
        return [
            t
            for t in self._graph.operands(node)
            if t is not self.start and id(t) not in self._computed
        ]

    def is_bypassed(self):
        """Return whether the branch adds a tensor from before its start.

        This is so in a network that sums the outputs of all its blocks: the
        tensor goes around the start, which is computed from it.
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
        """Return whether other parts of the network read from inside.

        Side outputs do not count.

        Args:
            sums: The additions in which the branch ends, the last one first.
        """
        return any(self._left(sums))

    def is_another_stream(self, sums):
        """Return whether all paths lead through the sums of another stream.

        Such a path passes an addition, and then a tensor that other parts
        read. Two streams that update each other also read from each other's
        branches, but before they add.
        """
        graph, left = self._graph, set(self._left(sums))
        # Tensors that are the start itself, rearranged, sums of it included.
        same = {id(self.start)}
        # For each tensor that is reached, if each path to it has an addition.
        added = {id(self.start): False}
        for node in self.nodes:
            operands = graph.operands(node)
            before = [added[id(t)] for t in operands if id(t) in added]
            if not before:
                continue
            made = [id(t) for t in node.outputs]
            if not learns(node) and all(id(t) in same for t in operands):
                same.update(made)
            is_added = all(before) or (
                _may_add(node) and not same.issuperset(made)
            )
            if not (is_added and node in left):
                added |= dict.fromkeys(made, is_added)
        return not all(id(end) in added for end in self.ends)

    def _left(self, sums):
        """Yield the calls from which other parts of the network read."""
        inside = {*self.nodes, *sums}
        read = {id(t) for n in inside for t in self._graph.operands(n)}
        for node in self.nodes:
            for tensor in node.outputs:
                # Nothing inside reads it: it is the scores of an attention, or
                # the end state of an LSTM, that the model returns too.
                if id(tensor) not in read:
                    continue
                outside = set(self._graph.consumers(tensor)) - inside
                if outside and not self._is_side(outside, sums[0]):
                    yield node

    def replaces_start(self):
        """Return whether an end is `stop_gradient(y - start)`.

        `x + stop_gradient(y - x)` has the values of `y` and the gradient of
        `x`, as in vector quantization.
        """
        graph = self._graph
        for end in self.ends:
            stop = graph.producer(end)
            if type(stop.operation).__name__ == "StopGradient":
                (stopped,) = graph.operands(stop)
                difference = graph.producer(stopped)
                operands = graph.operands(difference) if difference else ()
                name = difference and type(difference.operation).__name__
                if name == "Subtract" and operands[-1] is self.start:
                    return True
        return False

    def _is_side(self, nodes, addition):
        """Return whether these calls only lead to an output of their own.

        They must not join the tensors that are computed from the sum. Only
        their last calls may, since an output may gather several tensors, but
        those may not read the sum itself.
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
        """Return whether only the additions `sums` read the ends."""
        return all(
            {*sums}.issuperset(self._graph.consumers(end)) for end in self.ends
        )


def _may_add(node):
    name = type(node.operation).__name__
    # The graph does not show whether a user's layer adds inside.
    return name == "Add" or is_opaque(node.operation)
