"""Find the residual additions inside the layers of a model."""

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
        times: How often the layer is called in one pass.
    """

    layer: keras.layers.Layer
    path: str
    additions: dict
    axes: FeatureAxes
    times: int = 0
    carries_stream: bool = False


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was seen inside the layers of a model.

    Attributes:
        insides: List of `Inside`, in the order the layers first ran.
        failures: Dict of reasons why a layer could not be traced, by path.
        order: List of `(Inside, key)`, the additions in the order they run.
        graphs: List of functional models in the order they ran.
        called: Dict of the `(args, kwargs)` that each layer was first called
            on, by `id`.
        paths: Dict of the paths of all layers by `id`.
    """

    insides: list
    failures: dict
    order: list
    graphs: list
    called: dict
    paths: dict


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
    calls = [
        observe(model, args, {**kwargs, **mode}, is_opaque)
        for mode in _modes(model)
    ]
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
        self.order, self.called = {}, {}

    def add(self, root):
        times = {}
        for call in root.all():
            layer = call.layer
            self.called.setdefault(id(layer), (call.args, call.kwargs))
            if keras_internals.is_functional(layer):
                self.graphs.setdefault(id(layer), layer)
            if call.failure:
                path = self.paths.get(id(layer), layer.name)
                self.failures.setdefault(path, (layer, call.failure))
            if call.trace:
                self._add_inside(call)
                times[id(layer)] = times.get(id(layer), 0) + 1
        for key, count in times.items():
            inside = self.insides[key]
            inside.times = max(inside.times, count)
        self._add_order(root)

    def _add_inside(self, call):
        layer = call.layer
        path = self.paths.get(id(layer), layer.name)
        inside = self.insides.get(id(layer))
        if inside is None:
            inside = Inside(layer, path, {}, FeatureAxes(call.trace.calls))
            self.insides[id(layer)] = inside
        graph = TensorGraph(call.trace.calls, call.trace.output_tensors)
        for addition in find_additions(graph):
            inside.additions.setdefault(addition.node.key, addition)

    def _add_order(self, call):
        """Additions stand among the calls of layers of their own."""
        if call.trace is None:
            for one in call.inside:
                self._add_order(one)
            return
        inside = self.insides[id(call.layer)]
        waiting = list(call.inside)
        for step in call.trace.calls:
            if step.key in inside.additions:
                self.order.setdefault((id(call.layer), step.key))
            if waiting and waiting[0].layer is step.operation:
                self._add_order(waiting.pop(0))
        for one in waiting:
            self._add_order(one)

    def survey(self):
        order = [(self.insides[i], key) for i, key in self.order]
        failures = {
            path: (layer, reason)
            for path, (layer, reason) in self.failures.items()
            if id(layer) not in self.insides
        }
        return Survey(
            list(self.insides.values()),
            failures,
            order,
            list(self.graphs.values()),
            self.called,
            self.paths,
        )


def _how_to_give_inputs(model, inputs, errors):
    what = "the inputs given" if inputs is not None else "any guess at inputs"
    last = f" The last error: {errors[-1]}" if errors else ""
    return (
        f"`model` got {model.name!r} of class {type(model).__name__}, which "
        "has no graph, and which could not be run on "
        f"{what} to see what it computes. Pass an example of what it is "
        f"called on, `inputs=batch` or `inputs=keras.Input(...)`.{last}"
    )
