"""Layers that add their inputs, such as `CustomScale()([x, f(x)])`.

The layer alone does not show which of its inputs is the skip: the calls that
lead from one input to the other are in the graph that calls the layer. So its
addition is judged in that graph, in which the layer's own calls replace the
call of the layer.
"""

import dataclasses

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.additions import find_additions
from keras_laurel.conversion.graphs.layer_options import FeatureAxes
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.inside.values import tensors_of

_NOT_ONE_SKIP = "its layer runs several times, and not always around a branch"


@dataclasses.dataclass(frozen=True)
class Merge:
    """An addition of a layer's inputs, judged in the surrounding graph.

    Attributes:
        trace: The `Trace` of the layer.
        addition: The `Addition`, with tensors of that trace.
        axis: The feature axis.
        step: The call of the layer.
        skip: The input of that call that is the skip.
    """

    trace: object
    addition: object
    axis: int
    step: object
    skip: object


def find_merges(root, additions):
    """Return the `Merge`s of a model, one for each call of such a layer.

    Args:
        root: The `Observed` call of the model.
        additions: Dict of the additions in each trace by its `id`: dicts of
            `Addition`s by key.
    """
    found = {}
    for outer in root.all():
        for merge in _merges(outer, additions):
            key = id(merge.trace), merge.addition.node.key
            found.setdefault(key, []).append(merge)
    return [merge for merges in found.values() for merge in _agreed(merges)]


def _agreed(merges):
    """Return the merges of one addition if all calls agree on its skip.

    Since the layer gets one connection, it is otherwise left out.
    """
    kinds = {(m.addition.why_not is None, m.addition.skip) for m in merges}
    if len(kinds) == 1:
        return merges
    left_out = dataclasses.replace(merges[0].addition, why_not=_NOT_ONE_SKIP)
    return [dataclasses.replace(merges[0], addition=left_out)]


def _merges(outer, additions):
    """Yield the `Merge`s in the graph of one call."""
    graph = outer.graph()
    calls, _ = outer.inner_calls(graph[1]) if graph else ({}, ())
    opened = {
        step: _Opened(step, call.trace)
        for step, call in calls.items()
        if _hides_a_skip(call.trace, additions)
    }
    if not opened:
        return
    _, steps, outputs = graph
    steps = [
        x
        for step in steps
        for x in (opened[step].calls if step in opened else (step,))
    ]
    axes = FeatureAxes([step for step in steps if step.outputs])
    homes = {x: home for home in opened.values() for x in home.calls}
    for addition in find_additions(TensorGraph(steps, outputs)):
        if addition.node in homes and not addition.is_sum:
            home = homes[addition.node]
            shown = additions[id(home.trace)][addition.node.key]
            if shown.why_not and shown.skip is not None:
                axis = axes.of(addition.node, addition.branch_nodes)
                yield home.merge(addition, shown, axis)


class _Opened:
    """The calls that a layer makes, on tensors of the surrounding graph."""

    def __init__(self, step, trace):
        self.step, self.trace = step, trace
        given = given_to(step, True)
        self._inside = {id(t): x for x, t in zip(trace.inputs, given)}
        outside = dict(zip(map(id, trace.inputs), given))
        outside |= dict(zip(map(id, trace.output_tensors), step.outputs))
        self.calls = [
            call.with_tensors(outside)
            for call in trace.calls
            if not isinstance(call.operation, keras.layers.InputLayer)
        ]

    def merge(self, addition, shown, axis):
        """Return the `Merge` of an addition among these calls.

        Args:
            addition: The `Addition` as judged in the surrounding graph.
            shown: The `Addition` as judged in the layer alone.
            axis: The feature axis.
        """
        skip = addition.skip_tensor
        own = dataclasses.replace(
            addition,
            node=shown.node,
            operands=shown.operands,
            skip_tensor=self._inside.get(id(skip), skip),
        )
        return Merge(self.trace, own, axis, self.step, skip)


def _hides_a_skip(trace, additions):
    """Return whether a layer may add its inputs, one of which is a skip."""
    if trace is None or len(trace.inputs) < 2 or _hands_on(trace):
        return False
    found = additions[id(trace)].values()
    return any(a.why_not and a.skip is not None for a in found)


def _hands_on(trace):
    given = set(map(id, trace.inputs))
    return any(id(t) in given for t in trace.output_tensors)


def given_to(step, is_traced):
    """Return the tensors that the call of a layer reads.

    Args:
        step: The call.
        is_traced: Boolean. Return them in the order of the inputs of a
            `Trace`.
    """
    if not is_traced:
        return keras_internals.node_inputs(step)
    return tensors_of((step.arguments.args, step.arguments.kwargs))
