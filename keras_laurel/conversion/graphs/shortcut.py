"""Shortcuts: skips that are computed from the start of the branch."""

import dataclasses

from keras_laurel.conversion.graphs.branch import Branch
from keras_laurel.conversion.graphs.resolution import CameBack
from keras_laurel.conversion.graphs.resolution import scale_at
from keras_laurel.conversion.graphs.steps import Steps
from keras_laurel.conversion.graphs.steps import steps_of

# Bounds the way back, so that the search stays linear in the model.
_LONGEST = 40


@dataclasses.dataclass(frozen=True)
class Shortcut:
    """The calls that lead from the start of a branch to the skip.

    Attributes:
        nodes: The calls, in order.
        steps: Their `Steps`.
        branch: The `Branch` with the same start.
    """

    nodes: tuple
    steps: Steps
    branch: Branch

    @property
    def kind(self):
        if self.steps.learned:
            return "projection"
        return "resampled" if self.steps.resamples else "identity"

    def why_not(self, graph, sums):
        """Return why the addition to this shortcut is not residual, or `None`.

        Args:
            graph: The `TensorGraph`.
            sums: The additions in which the branch ends, the last one first.
        """
        branch = self.branch
        if not branch.learns():
            return "the branch learns nothing from the values of the skip"
        # One heavier branch is enough. The sum of three convolutions has none,
        # whichever of them is taken for the shortcut.
        if not any(self._is_lighter(graph, s) for s in branch.steps()):
            return "a sum of branches of which none is a shortcut"
        if (
            not branch.ends_in(sums)
            or branch.is_left(sums)
            or branch.is_bypassed()
        ):
            return "a sum of branches that other parts of the graph enter"
        if self._changes_resolution(graph):
            return "the branch changes the resolution and comes back"
        return None

    def _is_lighter(self, graph, branch):
        """Return whether the shortcut is clearly simpler than a branch.

        Otherwise it would be in doubt which of the two is the shortcut.
        """
        if branch.linear and self.steps.kernels:
            # Two linear maps of one tensor, such as a layer and its LoRA.
            return False
        if self.steps.linear:
            return (
                branch.kernels > self.steps.kernels
                # One convolution with its ReLU has no more kernels than a
                # projection, but is no shortcut.
                or branch.is_activated
                or not (self.steps.learned or branch.linear)
            )
        # With an activation it may be a branch as well as a shortcut, so more
        # is asked of it: a closed 1 x 1 layer beside several kernels.
        return (
            self.steps.learned
            and self.steps.pointwise
            and self._is_shut(graph)
            and branch.kernels >= max(self.steps.kernels, 2)
        )

    def _is_shut(self, graph):
        """Return whether only the shortcut reads what it computes."""
        return all(
            {*self.nodes}.issuperset(graph.consumers(tensor))
            for node in self.nodes[:-1]
            for tensor in node.outputs
        )

    def _changes_resolution(self, graph):
        scales = self.branch.scales()
        if scales is None:
            return True
        try:
            own = self._own_scale(graph)
        except CameBack:
            return True
        # Above both, the branch was finer on the way and has come back by other
        # means than strides.
        return own is not None and any(
            s and not own <= s <= max(own, 1) for s in scales
        )

    def _own_scale(self, graph):
        """Return the scale of the skip.

        It is `None` if a `reshape` may have moved positions to other axes.
        """
        if any(type(n.operation).__name__ == "Reshape" for n in self.nodes):
            return None
        skip = self.nodes[-1].outputs[0]
        return scale_at(self.nodes, self.branch.start, skip, graph)


def find_shortcut(graph, skip, ends):
    """Return the `Shortcut` that ends in `skip`, around a branch to `ends`.

    Go back from the skip through linear steps, and through activations like
    ReLU before and after one layer of them, to the first tensor from which
    all of `ends` are computed. Return `None` if there is none.
    """
    waiting, nodes, steps = [skip], [], Steps()
    while len(nodes) < _LONGEST:
        node = _last_producer(graph, waiting)
        if node is None:
            return None
        made = {id(t) for t in node.outputs}
        operands = graph.operands(node)
        if operands:  # else a constant, such as zeros to pad with
            steps = steps_of([node], graph, open_layers=True) + steps
            nodes.insert(0, node)
        if not (steps.linear or steps.one_layer):
            return None
        waiting = [t for t in waiting if id(t) not in made]
        # A shortcut may consist of parts, such as the two shifted halves of a
        # factorized reduction, which it concatenates.
        waiting += [t for t in operands if not any(t is w for w in waiting)]
        if not waiting:
            return None
        if len(waiting) == 1:
            branch = Branch(graph, waiting[0], ends)
            if branch.reaches_all():
                return Shortcut(tuple(nodes), steps, branch)
    return None


def _last_producer(graph, tensors):
    # Going back from the latest tensor, no call is met before all calls that
    # read from it.
    node = graph.producer(max(tensors, key=graph.position))
    return None if node is None or node.is_input else node
