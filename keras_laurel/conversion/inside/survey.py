"""Find the residual additions inside the layers of a model."""

import contextlib
import dataclasses
import inspect

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.additions import find_additions
from keras_laurel.conversion.graphs.layer_options import FeatureAxes
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from keras_laurel.conversion.inside.example import examples
from keras_laurel.conversion.inside.layer_paths import layer_paths
from keras_laurel.conversion.inside.observe import observe
from keras_laurel.conversion.inside.run_order import RunOrder
from keras_laurel.conversion.inside.trace import why
from keras_laurel.layers import Laurel


@dataclasses.dataclass(eq=False)
class Inside:
    """A layer that was opened, and the additions in its `call`.

    Attributes:
        layer: The layer.
        path: Where it is in the model, such as `"encoder/blocks_3"`.
        additions: Dict of `Addition`s by key, in the order they run; those
            that run in training only come last.
        axes: The `FeatureAxes` of the calls of its `call`.
        carries_stream: Whether it computes x + f(x) of its first input.
        always: Set of the keys of those that every call comes to.
        times: How often the layer is called in one pass.
        stack: What previous activations do not leave, where that is known.
    """

    layer: keras.layers.Layer
    path: str
    additions: dict
    axes: FeatureAxes
    times: int = 0
    always: set = None
    carries_stream: bool = False
    stack: int = None


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was seen inside the layers of a model.

    Attributes:
        insides: List of `Inside`, in the order the layers first ran.
        failures: Dict of reasons why a layer could not be traced, by path.
        order: The `RunOrder` of the additions.
        runs: List of the layers in the order of their calls in one pass.
        graphs: List of functional models in the order they ran.
        called: Dict of the `(args, kwargs)` that each layer was first called
            on, by `id`.
        paths: Dict of the paths of all layers by `id`.
    """

    insides: list
    failures: dict
    order: RunOrder
    runs: list
    graphs: list
    called: dict
    paths: dict

    def rename(self, pairs):
        """Models have been rebuilt: `(old, new)`, called on the same."""
        for old, new in pairs:
            if id(old) in self.called:
                self.called[id(new)] = self.called[id(old)]

    def in_order(self):
        """`(Inside, key)` of each addition inside a layer."""
        insides = {inside.layer: inside for inside in self.insides}
        return [
            (insides[place[0]], place[1])
            for place in self.order
            if isinstance(place, tuple)
        ]


def is_opaque(layer):
    """Whether what a layer computes stands in its `call` only."""
    return not (
        isinstance(layer, Laurel)
        or keras_internals.is_public_layer(layer)
        or keras_internals.has_graph(layer)
    )


def survey_inside(model, inputs=None):
    """The `Survey` of a built model, or of one that `inputs` builds.

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
    """The `Survey` of a model that is called on these arguments."""
    first, *others = _modes(model)
    calls = [observe(model, args, {**kwargs, **first}, is_opaque)]
    for mode in others:
        # On shapes alone not every layer trains. What is missed here and
        # comes to light in training raises then.
        with contextlib.suppress(Exception):
            calls.append(observe(model, args, {**kwargs, **mode}, is_opaque))
    found = _Found(layer_paths(model))
    for call in calls:
        found.add(call)
    found.called[id(model)] = args, kwargs
    return found.survey()


def _modes(model):
    parameters = inspect.signature(model.call).parameters
    if "training" in parameters:
        return {"training": False}, {"training": True}
    return ({},)


class _Found:
    def __init__(self, paths):
        self.paths = paths
        self.insides, self.failures, self.graphs = {}, {}, {}
        self.order, self.runs, self.called = RunOrder(), [], {}

    def add(self, root):
        times, additions = {}, {}
        for call in root.all():
            layer = call.layer
            self.called.setdefault(id(layer), (call.args, call.kwargs))
            if keras_internals.is_functional(layer):
                self.graphs.setdefault(id(layer), layer)
            if call.failure:
                path = self.paths.get(id(layer), layer.name)
                self.failures.setdefault(path, (layer, call.failure))
            if call.trace:
                self._add_inside(call, additions)
                times[id(layer)] = times.get(id(layer), 0) + 1
        for key, count in times.items():
            inside = self.insides[key]
            inside.times = max(inside.times, count)
        self.runs = self.runs or [call.layer for call in root.all()]
        self.order.add(root, additions)

    def _add_inside(self, call, additions):
        layer = call.layer
        path = self.paths.get(id(layer), layer.name)
        inside = self.insides.get(id(layer))
        if inside is None:
            axes = FeatureAxes([c for c in call.trace.calls if c.outputs])
            inside = Inside(layer, path, {}, axes)
            self.insides[id(layer)] = inside
        found = additions.get(id(call.trace))
        if found is None:
            found = _additions(call.trace)
            additions[id(call.trace)] = found
        for key, addition in found.items():
            known = inside.additions.get(key)
            if known is None or known.why_not == _NOT_USED:
                inside.additions[key] = addition
        if inside.always is None:
            inside.always = set(found)
        inside.always &= set(found)
        inside.carries_stream = _carries_stream(call.trace, found.values())

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
            self.runs,
            list(self.graphs.values()),
            self.called,
            self.paths,
        )


_NOT_USED = "its sum is not used"


def _additions(trace):
    """The `Addition`s of a trace by key."""
    graph = TensorGraph(trace.calls, trace.output_tensors)
    needed = set(trace.needed_calls())
    found = {}
    for addition in find_additions(graph):
        if addition.why_not is None and addition.node not in needed:
            addition = dataclasses.replace(addition, why_not=_NOT_USED)
        found[addition.node.key] = addition
    return found


def _carries_stream(trace, additions):
    """Whether a layer hands on its first input with something added to it:
    one and the other have a shape, and residual additions lead from the one
    to the other, one after the other.

    Norms may stand between, as in a transformer that normalises after it adds.
    """
    residual = [a for a in additions if a.why_not is None]
    if not residual or not trace.inputs or not trace.output_tensors:
        return False
    x, y = trace.inputs[0], trace.output_tensors[0]
    if tuple(x.shape) != tuple(y.shape):
        return False
    made_by = {id(t): c for c in trace.calls for t in c.outputs}
    skips = {a.node: a.skip_tensor for a in residual}
    while y is not x:
        call = made_by[id(y)]
        tensors = call.arguments.keras_tensors
        if call in skips:
            y = skips[call]
        elif len(tensors) == 1 and isinstance(call.operation, _PASSING):
            (y,) = tensors
        else:
            return False
    return True


_PASSING = (
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.Dropout,
    keras.layers.Identity,
)


def _how_to_give_inputs(model, inputs, errors):
    what = "the inputs given" if inputs is not None else "any guess at inputs"
    last = f" The last error: {why(errors[-1])}." if errors else ""
    return (
        f"`model` got {model.name!r} of class {type(model).__name__}, which "
        "has no graph, and which could not be run on "
        f"{what} to see what it computes. Pass an example of what it is "
        "called on, `inputs=batch` or `inputs=keras.Input(...)`, or name the "
        f"blocks that compute `x + f(x)` with `blocks=[...]`.{last}"
        + _parts(model)
    )


def _parts(model):
    """What can be converted by itself: models with graphs."""
    paths = layer_paths(model)
    parts = [
        f"{layer.name!r} at `{paths[id(layer)]}`"
        for layer in keras_internals.flatten_layers(model)
        if keras_internals.has_graph(layer)
    ]
    if not parts:
        return ""
    return (
        " Or convert the models in it one by one, as in `model.part = "
        f"laurelize(model.part, layer)`: {', '.join(parts[:5])}."
    )
