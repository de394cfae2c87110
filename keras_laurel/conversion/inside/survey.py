"""Find the residual additions inside the layers of a model."""

import contextlib
import dataclasses

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.additions import find_additions
from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.graphs.insides import runs_graph
from keras_laurel.conversion.graphs.layer_options import FeatureAxes
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.graphs.search import search_one
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.inside.across_layers import rejudge
from keras_laurel.conversion.inside.blocks import find_blocks
from keras_laurel.conversion.inside.callers import NOT_USED
from keras_laurel.conversion.inside.callers import Callers
from keras_laurel.conversion.inside.example import examples
from keras_laurel.conversion.inside.known_outputs import KnownOutputs
from keras_laurel.conversion.inside.layer_paths import layer_paths
from keras_laurel.conversion.inside.observe import observe
from keras_laurel.conversion.inside.run_order import RunOrder
from keras_laurel.conversion.inside.trace import innermost
from keras_laurel.conversion.inside.trace import why


@dataclasses.dataclass(eq=False)
class Inside:
    """A layer that was opened, and the additions in its `call`.

    Attributes:
        layer: The layer.
        path: Its path in the model, such as `"encoder/blocks_3"`.
        additions: Dict of `Addition`s by key, in the order they run; those
            that run in training only come last.
        axes: Dict by key of the feature axis of each addition that a layer
            can replace.
        always: Set of the keys of those additions that run in every call.
        instead_of: Dict of keys by key. For an addition that runs in training
            only, it has the one that runs in its place otherwise.
        times: The number of calls of the layer in one pass.
        stack: The number of the stack of blocks that contains the layer, if
            it is known. History does not cross stacks.
        hidden: Dict of calls by key, of operations such as `fori_loop` that
            run a function with an addition.
    """

    layer: keras.layers.Layer
    path: str
    additions: dict
    axes: dict
    times: int = 0
    always: set | None = None
    stack: int | None = None
    hidden: dict = dataclasses.field(default_factory=dict)
    instead_of: dict = dataclasses.field(default_factory=dict)

    def add(self, additions, axes):
        """Add the additions of one trace of the layer."""
        for key, addition in additions.items():
            known = self.additions.get(key)
            if known is None or known.why_not == NOT_USED:
                self.additions[key] = addition
                self.axes[key] = axes.get(key)
        keys = set(additions)
        self.always = keys if self.always is None else self.always & keys

    def pair(self, before, now):
        """Pair additions in training with those that run otherwise.

        Code that branches on `training` may add in both branches; the two
        additions get one connection. Those of the same line, in a method that
        both branches call, are paired first.

        Args:
            before: Set of the keys of those that run outside of training.
            now: Set of the keys of those that run in training.
        """
        residual = [k for k, a in self.additions.items() if a.why_not is None]
        plain = [k for k in residual if k in before - now]
        new = [k for k in residual if k in now - before]
        for line in {innermost(key) for key in new}:
            self._pair_alike(
                [k for k in plain if innermost(k) == line],
                [k for k in new if innermost(k) == line],
            )
        paired = {*self.instead_of, *self.instead_of.values()}
        self._pair_alike(
            [k for k in plain if k not in paired],
            [k for k in new if k not in paired],
        )

    def _pair_alike(self, plain, new):
        """Pair two lists of keys if their additions are of the same kinds."""
        if [*map(self._kind, plain)] == [*map(self._kind, new)]:
            self.instead_of |= dict(zip(new, plain))

    def _kind(self, key):
        addition = self.additions[key]
        return tuple(addition.skip_tensor.shape), addition.is_sum

    def key_of(self, key):
        """Return the key of the connection at an addition."""
        return self.instead_of.get(key, key)


@dataclasses.dataclass(frozen=True)
class Survey:
    """The additions found inside the layers of a model.

    Attributes:
        insides: List of `Inside`, in the order the layers first ran.
        failures: Dict of reasons why a layer could not be traced, by path.
        order: The `RunOrder` of the additions.
        blocks: List of the layers that are blocks, in the order of their calls
            in one pass.
        graphs: List of functional models in the order they ran.
        in_graphs: Dict of dicts of `Addition`s by call, by `id` of the
            functional model: those that only the insides of its layers show to
            be residual.
        called: Dict of the `(args, kwargs)` of the first call of each layer,
            by `id`.
        paths: Dict of the paths of all layers by `id`.
        callers: `Callers` of its graphs.
    """

    insides: list
    failures: dict
    order: RunOrder
    blocks: list
    graphs: list
    in_graphs: dict
    called: dict
    paths: dict
    callers: Callers

    def rename(self, pairs):
        """Note that models were rebuilt, as pairs `(old, new)`."""
        for old, new in pairs:
            if id(old) in self.called:
                self.called[id(new)] = self.called[id(old)]

    def in_order(self):
        """Return `(Inside, key)` of each addition inside a layer, in order."""
        insides = {inside.layer: inside for inside in self.insides}
        return [
            (insides[place[0]], place[1])
            for place in self.order
            if isinstance(place, tuple)
        ]


def survey_inside(model, inputs=None):
    """Return the `Survey` of a model that is built, or built by `inputs`.

    Raises:
        ValueError: if the model cannot be run on any example of its inputs.
    """
    errors = []
    for args in examples(model, inputs):
        try:
            return survey_calls(model, args, {})
        except Exception as error:  # noqa: BLE001 (any layer may refuse)
            errors.append(error)
    raise ValueError(_how_to_give_inputs(model, inputs, errors)) from (
        errors[0] if errors else None
    )


def survey_calls(model, args, kwargs):
    """Return the `Survey` of a model called on these arguments."""
    found, known = _Found(layer_paths(model)), KnownOutputs()
    plain = {**kwargs, "training": False}
    found.add(observe(model, args, plain, is_opaque, known))
    # Not every layer can run in training mode on shapes alone. An addition
    # that is missed here raises an error when it runs in training.
    with contextlib.suppress(Exception):
        training = {**kwargs, "training": True}
        observed = observe(model, args, training, is_opaque, known)
        found.add_training(observed)
    found.called[id(model)] = args, kwargs
    return found.survey()


class _Found:
    def __init__(self, paths):
        self.paths = paths
        self.insides, self.failures, self.graphs = {}, {}, {}
        self.order, self.blocks, self.called = RunOrder(), [], {}
        self._skips, self._axes, self.in_graphs = {}, {}, {}
        self.callers = Callers()

    def add(self, root):
        """Add the additions in a pass of the model."""
        additions = self._add(root)
        self.blocks = find_blocks(root, self._skips)
        self.order.add(root, additions, self._place)

    def add_training(self, root):
        """Add the additions in a training pass, after one without training."""
        before = {key: {*x.additions} for key, x in self.insides.items()}
        additions = self._add(root)
        now = {}
        for call in filter(lambda call: call.trace, root.all()):
            keys = now.setdefault(id(call.layer), set())
            keys.update(additions[id(call.trace)])
        for key, keys in now.items():
            self.insides[key].pair(before.get(key, keys), keys)
        self.order.add_training(root, additions, self._place)

    def _place(self, layer, key):
        return layer, self.insides[id(layer)].key_of(key)

    def _add(self, root):
        times, additions = {}, self._additions(root)
        for call in root.all():
            layer = call.layer
            self.called.setdefault(id(layer), (call.args, call.kwargs))
            if keras_internals.is_functional(layer) and runs_graph(layer):
                self.graphs.setdefault(id(layer), layer)
            if call.failure:
                path = self.paths.get(id(layer), layer.name)
                self.failures.setdefault(path, (layer, call.failure))
            if call.trace:
                self._add_inside(call, additions[id(call.trace)])
                times[id(layer)] = times.get(id(layer), 0) + 1
        for key, count in times.items():
            inside = self.insides[key]
            inside.times = max(inside.times, count)
        return additions

    def _additions(self, root):
        """Return the `Addition`s by `id` of the trace, then by key."""
        traces = {id(x.trace): x.trace for x in root.all() if x.trace}
        found = {key: _additions(trace) for key, trace in traces.items()}
        for key, additions in found.items():
            axes = FeatureAxes([c for c in traces[key].calls if c.outputs])
            self._axes[key] = {
                k: axes.of(a.node, a.branch_nodes)
                for k, a in additions.items()
                if a.skip_tensor is not None
            }
        steps = self._rejudge(root, found)
        self.callers.add(root)
        for trace, additions in found.items():
            for key, one in additions.items():
                if one.why_not is None:
                    why_not = self.callers.why_not(one.node)
                    one = dataclasses.replace(one, why_not=why_not)
                    additions[key] = one
                if one.why_not is None:
                    own = {one.node: one.skip_tensor}
                    self._skips |= steps.get((trace, key), own)
        return found

    def _rejudge(self, root, found):
        """Replace additions that only a larger graph shows to be residual.

        Returns:
            Dict of their steps in that graph and of the skips there, by `id`
            of the trace and key.
        """
        steps = {}
        for one in rejudge(root, found):
            trace, addition = id(one.home), one.addition
            if trace not in found:
                graph = self.in_graphs.setdefault(trace, {})
                graph[addition.node] = addition
                continue
            key = addition.node.key
            found[trace][key] = addition
            self._axes[trace][key] = one.axis
            steps.setdefault((trace, key), {})[one.step] = one.skip
        return steps

    def _add_inside(self, call, additions):
        layer, trace = call.layer, call.trace
        if id(layer) not in self.insides:
            path = self.paths.get(id(layer), layer.name)
            self.insides[id(layer)] = Inside(layer, path, {}, {})
        inside = self.insides[id(layer)]
        inside.add(additions, self._axes[id(trace)])
        inside.hidden |= {x.key: x for x in trace.hidden_additions()}

    def survey(self):
        failures = {
            path: (layer, reason)
            for path, (layer, reason) in self.failures.items()
            if id(layer) not in self.insides
        }
        return Survey(
            list(self.insides.values()),
            failures,
            self.order,
            self.blocks,
            list(self.graphs.values()),
            self.in_graphs,
            self.called,
            self.paths,
            self.callers,
        )


def _additions(trace):
    """Return the `Addition`s of a trace by key."""
    graph = TensorGraph(trace.calls, trace.output_tensors)
    return {x.node.key: x for x in find_additions(graph)}


def _how_to_give_inputs(model, inputs, errors):
    what = "the inputs given" if inputs is not None else "any guess at inputs"
    has_graph = keras_internals.has_graph(model)
    lacks = "layers without a graph" if has_graph else "no graph"
    last = f" The last error: {why(errors[-1])}." if errors else ""
    return (
        "Argument `model` must have a graph, or run on example inputs. "
        f"Received: {model.name!r} of class {type(model).__name__}, which has "
        f"{lacks}, and could not be run on {what}. Pass an example of its "
        "inputs, `inputs=batch` or `inputs=keras.Input(...)`, or name the "
        f"blocks that compute `x + f(x)` with `blocks=[...]`.{last}"
        + _parts(model)
    )


def _parts(model):
    """Return a sentence that names the parts that can be converted alone.

    These are the models with graphs that have residual additions.
    """
    paths = layer_paths(model)
    parts = [
        f"{layer.name!r} at `{paths[id(layer)]}`"
        for layer in keras_internals.flatten_layers(model)
        if runs_graph(layer)
        and any(search_one(graph)[0] for graph in functional_models(layer))
    ]
    if not parts:
        return ""
    return (
        " Or convert the models in it one by one, as in `model.part = "
        f"laurelize(model.part, layer)`: {', '.join(parts[:5])}."
    )
