"""Additions whose skip or branch shows only in other layers.

The `call` of `CustomScale()([x, f(x)])` does not show which of its inputs is
the skip: the calls that lead from one to the other are in the graph that calls
the layer. And in `h, residual = block(h, residual)` it is the insides of the
block that show how its two outputs depend on each other. Such additions are
judged in a graph in which the calls that these layers make replace the layers.
"""

import dataclasses

import keras
from keras.src.ops.symbolic_arguments import SymbolicArguments

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.additions import find_additions
from keras_laurel.conversion.graphs.layer_options import FeatureAxes
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.inside.trace import Call
from keras_laurel.conversion.inside.values import tensors_of

_NOT_ONE_SKIP = "its layer runs several times, and not always around a branch"


@dataclasses.dataclass(frozen=True)
class Rejudged:
    """An addition, judged in a graph that shows the insides of layers.

    Attributes:
        home: The `Trace` or functional model in which the addition is.
        addition: The `Addition`, with tensors of its home.
        axis: The feature axis.
        step: The call that the addition is in the surrounding graph: its own,
            or that of its layer.
        skip: The skip, among the tensors that this call reads.
    """

    home: object
    addition: object
    axis: int
    step: object
    skip: object


def rejudge(root, additions):
    """Return a list of `Rejudged`, one for each time that an addition runs.

    Args:
        root: The `Observed` call of the model.
        additions: Dict of the additions in each trace by its `id`: dicts of
            `Addition`s by key.
    """
    found = {}
    for outer in root.all():
        for run, one in _rejudged(outer, additions):
            node = one.addition.node
            key = node.key if isinstance(node, Call) else node
            runs = found.setdefault((id(one.home), key), {})
            # The graphs around a layer show more, or less, than one another.
            if run not in runs or runs[run].addition.why_not is not None:
                runs[run] = one
    return [one for runs in found.values() for one in _agreed([*runs.values()])]


def _agreed(runs):
    """Return the results for one addition if all of its runs have one skip.

    Since the layer gets one connection, it is otherwise left out.
    """
    kinds = {(m.addition.why_not is None, m.addition.skip) for m in runs}
    if len(kinds) == 1:
        return runs
    left_out = dataclasses.replace(runs[0].addition, why_not=_NOT_ONE_SKIP)
    return [dataclasses.replace(runs[0], addition=left_out)]


def _rejudged(outer, additions):
    """Yield pairs of the `Observed` call that adds and the `Rejudged`.

    All of them are judged in the graph of the call `outer`.
    """
    graph = outer.graph()
    calls = list(_spliced(outer, additions)) if graph else []
    layers = {call: layers for call, layers in calls if layers}
    if not layers:
        return
    steps, own = [call for call, _ in calls], set(graph[1])
    axes = FeatureAxes([step for step in steps if step.outputs])
    for addition in find_additions(TensorGraph(steps, graph[2])):
        node = addition.node
        is_own = node in own and addition.why_not is None
        if addition.is_sum or not (is_own or node in layers):
            continue
        where = layers.get(node, ())
        run = where[-1].observed if where else outer
        if run.trace and not _is_open(additions, run.trace, node):
            continue
        axis = axes.of(node, addition.branch_nodes)
        if where:
            yield run, _inside(addition, additions, axis, where)
        else:
            yield run, _own(outer, addition, axis, own)


def _inside(addition, additions, axis, layers):
    """Return the `Rejudged` of an addition in a layer.

    Args:
        addition: The `Addition` as judged in the surrounding graph.
        additions: Those that are judged in their layers alone.
        axis: The feature axis.
        layers: Tuple of the `_Opened` layers around it, the innermost last.
    """
    *outer, last = layers
    skip = addition.skip_tensor
    for layer in outer:
        skip = layer.inside(skip)
    trace = last.observed.trace
    shown = additions[id(trace)][addition.node.key]
    own = dataclasses.replace(
        addition,
        node=shown.node,
        operands=shown.operands,
        skip_tensor=last.inside(skip),
    )
    return Rejudged(trace, own, axis, last.step, skip)


def _own(outer, addition, axis, steps):
    """Return the `Rejudged` of an addition in the surrounding graph itself."""
    branch = tuple(step for step in addition.branch_nodes if step in steps)
    addition = dataclasses.replace(addition, branch_nodes=branch)
    node, skip = addition.node, addition.skip_tensor
    return Rejudged(outer.trace or outer.layer, addition, axis, node, skip)


def _is_open(additions, trace, node):
    """Return whether more than its layer may show an addition as residual."""
    shown = additions[id(trace)][node.key]
    return shown.why_not is not None and shown.skip is not None


def _spliced(outer, additions):
    """Yield the calls of a graph, with those of layers in their place.

    With each is a tuple of the `_Opened` layers around it, the outermost
    first.
    """
    _, steps, _ = outer.graph()
    inner, _ = outer.inner_calls(steps)
    for step in steps:
        call = inner.get(step)
        if call is None or not _is_opened(step, call.trace, additions):
            yield step, ()
            continue
        opened = _Opened(step, call)
        for one, layers in _spliced(call, additions):
            if not isinstance(one.operation, keras.layers.InputLayer):
                yield opened.outside(one), (opened, *layers)
        for one in opened.handed_on:
            yield one, (opened,)


def _is_opened(step, trace, additions):
    """Return whether the calls of a layer are to replace it.

    They are if it has several outputs, or adds inputs of which one may be a
    skip.
    """
    if (
        trace is None
        or len(trace.inputs) != len(given_to(step, True))
        or len(trace.output_tensors) != len(step.outputs)
    ):
        return False
    if len(trace.output_tensors) > 1:
        return True
    return len(trace.inputs) > 1 and any(
        _is_open(additions, trace, addition.node)
        for addition in additions[id(trace)].values()
    )


class Copy(keras.Operation):
    """The step from an input of a layer to an output that is the same."""

    def call(self, x):
        return x


class _Opened:
    """A layer whose calls replace it in the surrounding graph.

    Attributes:
        step: The call of the layer there.
        observed: The same as an `Observed` call.
        handed_on: List of a `Call` of `Copy` for each output that is an input,
            or another output too.
    """

    def __init__(self, step, observed):
        self.step, self.observed = step, observed
        self.handed_on = []
        self._inside, self._outside = {}, {}
        inputs, _, outputs = observed.graph(step)
        for inner, outer in zip(inputs, given_to(step, True)):
            self._pair(inner, outer)
        for inner, outer in zip(outputs, step.outputs):
            if id(inner) in self._outside:
                arguments = SymbolicArguments(self._outside[id(inner)])
                self.handed_on.append(Call(Copy(), arguments, [outer]))
            else:
                self._pair(inner, outer)

    def _pair(self, inner, outer):
        self._outside[id(inner)] = outer
        self._inside.setdefault(id(outer), inner)

    def inside(self, tensor):
        """Return the layer's own tensor for one of the surrounding graph."""
        return self._inside.get(id(tensor), tensor)

    def outside(self, call):
        """Return a call of the layer on tensors of the surrounding graph.

        Two calls of a layer have one trace, so that what is computed inside
        needs tensors of its own.
        """
        for inner in call.outputs:
            if id(inner) not in self._outside:
                self._pair(inner, keras.KerasTensor(inner.shape, inner.dtype))
        return call.with_tensors(self._outside)


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
