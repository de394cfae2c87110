"""Save converted layers as the plain config and a plan of the connections.

The user's class does not know the connections in its layers. So each
converted layer, and each that holds one, gets a subclass whose config
consists of the config of the plain layer and a plan. Loading makes the plain
layer, traces it again, and attaches the connections of the plan.
"""

import functools
import re

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.stream import loaded_stream
from keras_laurel.conversion.graphs import saved_plan
from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.graphs.rebuild import rebuild
from keras_laurel.conversion.inside import opened
from keras_laurel.conversion.inside.connection import Connection
from keras_laurel.conversion.inside.layer_paths import layer_paths
from keras_laurel.conversion.inside.survey import survey_calls
from keras_laurel.conversion.keras_internals import build_inside
from keras_laurel.conversion.keras_internals import flatten_layers
from keras_laurel.conversion.pickling import PickledAsSaved
from keras_laurel.conversion.prototype import plain_policy
from keras_laurel.layers import Laurel


class LaurelInside(PickledAsSaved):
    """Mixin for layers with connections in them or in layers inside."""

    def get_config(self):
        base, cls = type(self)._laurel_plain_class, type(self)
        # For a class without a `get_config` Keras makes one up from the
        # arguments of its constructor, so the class must be the plain one.
        self.__class__ = base
        try:
            config = self.get_config()
        finally:
            self.__class__ = cls
        source = {
            "module": base.__module__,
            "class_name": base.__name__,
            "config": config,
            "registered_name": keras.saving.get_registered_name(base),
        }
        build_config = self.get_build_config()
        if build_config:
            source["build_config"] = build_config
        return {"source": source, "inside": plan_of(self)}

    @classmethod
    def from_config(cls, config):
        layer = keras.saving.deserialize_keras_object(config["source"])
        convert_by_plan(layer, config["inside"])
        return layer


class InsideRecipe:
    """The plan of a model with connections in its layers.

    It is for an owner that saves this plan in its own config.

    Args:
        owner: The model.
    """

    def __init__(self, owner):
        self._owner = owner

    @property
    def has_history(self):
        opened = _with(self._owner, "_laurel_opened")
        layers = [x for y in opened for x in y._laurel_opened.all_layers]
        return any(layer.has_history for layer in layers)

    def get_config(self):
        return {"inside": plan_of(self._owner)}


_register = keras.saving.register_keras_serializable(
    package="keras_laurel", name="LaurelInside"
)
_register(LaurelInside)


@functools.cache
def owner_class(base):
    """Return the subclass of `base` for a layer that holds converted ones.

    All these classes share one registered name, which keeps naming
    `LaurelInside`.
    """
    names = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "_laurel_plain_class": getattr(base, "_laurel_plain_class", base),
    }
    cls = _register(type(base.__name__, (LaurelInside, base), names))
    _register(LaurelInside)
    return cls


def plan_of(owner):
    """Return the plan by which `convert_by_plan` converts a plain layer."""
    numbers = {id(x): i for i, x in enumerate(_can_be_opened(owner))}
    # An owner that was not called itself may hold layers that were.
    parts = [] if owner._laurel_called else _called_parts(owner)
    inside_parts = {id(x) for p in parts for x in (p, *flatten_layers(p))}
    graphs = [
        {"index": numbers[id(graph)], "sites": graph._laurel_sites}
        for graph in _with(owner, "_laurel_sites")
        if id(graph) not in inside_parts
    ]
    plan = _plan_of_call(owner, numbers) if owner._laurel_called else {}
    parts = [[numbers[id(part)], plan_of(part)] for part in parts]
    return {**plan, "parts": parts, "graphs": graphs}


def _called_parts(owner):
    """Return the outermost converted layers in `owner`."""
    parts, inside = [], set()
    for layer in flatten_layers(owner):
        if id(layer) not in inside and vars(layer).get("_laurel_called"):
            parts.append(layer)
            inside.update(map(id, flatten_layers(layer)))
    return parts


def _plan_of_call(owner, numbers):
    layers, streams = [], {}
    for layer in _with(owner, "_laurel_opened"):
        connections = layer._laurel_opened.connections
        streams |= {x.stream.id: x.stream for x in connections.values()}
        layers.append(
            {
                "index": numbers[id(layer)],
                "class_name": type(layer).__name__,
                "connections": [
                    {
                        "addition": layer._laurel_opened.index(key),
                        "skip": connection.skip,
                        "layer": _unbuilt(connection.layer),
                        "shape": list(connection.shape),
                        "activations": connection.layer.num_inputs - 1,
                        "stream": connection.stream.id,
                        "number": connection.number,
                    }
                    for key, connection in connections.items()
                ],
            }
        )
    return {
        "called": keras.saving.serialize_keras_object(owner._laurel_called),
        "layers": layers,
        "streams": [stream.get_config() for stream in streams.values()],
    }


def _unbuilt(layer):
    """Return the config of a layer without that of its build.

    `_built` builds it again, with the right paths of its weights.
    """
    config = keras.layers.serialize(layer)
    return {k: v for k, v in config.items() if k != "build_config"}


def _with(owner, attribute):
    layers = owner, *flatten_layers(owner)
    return [layer for layer in layers if attribute in layer.__dict__]


def convert_by_plan(owner, plan):
    """Convert a plain layer by the plan of a saved one.

    Raises:
        ValueError: if the layer differs from the saved one.
    """
    layers = _can_be_opened(owner)
    for index, part in plan["parts"]:
        convert_by_plan(layers[index], part)
    survey, planned, graphs = None, {}, []
    if "called" in plan:
        called = keras.saving.deserialize_keras_object(plan["called"])
        survey = survey_calls(owner, *called)
        planned = _planned(owner, plan, survey)
    for entry in plan["graphs"]:
        graph = layers[entry["index"]]
        # If the config of its owner has the whole graph, it has its LAuReL
        # layers already.
        if not _has_connections(graph):
            replacements = saved_plan.deserialize(entry["sites"], graph)
            graphs.append((graph, replacements))
    attach_all(owner, planned, survey, graphs)
    if plan["parts"]:
        own(owner, survey)


def _has_connections(graph):
    return "_laurel_sites" in vars(graph) or any(
        isinstance(node.operation, Laurel)
        for node in keras_internals.nodes(keras_internals.functional(graph))
    )


def _can_be_opened(owner):
    """Return a layer and those inside it that may be converted.

    They are sorted by path, so the order is the same before and after
    conversion and in another process. The order in which a graph lists its
    layers depends on its edges, and generated names depend on the counters of
    the process.
    """
    paths = layer_paths(owner)
    layers = [
        layer
        for layer in (owner, *flatten_layers(owner))
        if is_opaque(layer) or keras_internals.has_graph(layer)
    ]
    return sorted(layers, key=lambda layer: _in_order(paths[id(layer)]))


def _in_order(path):
    parts = [re.fullmatch(r"(.*?)(?:_(\d+))?", x) for x in path.split("/")]
    return [(part[1], int(part[2] or 0)) for part in parts]


def _planned(owner, plan, survey):
    insides = {id(inside.layer): inside for inside in survey.insides}
    layers = dict(enumerate(_can_be_opened(owner)))
    made, in_streams = [], {x["id"]: {} for x in plan["streams"]}
    for entry in plan["layers"]:
        inside = insides.get(id(layers.get(entry["index"])))
        for config in entry["connections"]:
            key = _key(owner, entry, config, inside)
            stream, number = in_streams[config["stream"]], config["number"]
            if number not in stream:
                stream[number] = _built(inside.layer, config)
            layer = stream[number]
            made.append((inside, key, layer, config))
    streams = {
        x["id"]: loaded_stream(x, in_streams[x["id"]]) for x in plan["streams"]
    }
    planned = {}
    for inside, key, layer, config in made:
        planned.setdefault(inside, {})[key] = Connection(
            layer,
            config["skip"],
            streams[config["stream"]],
            config["number"],
            tuple(config["shape"]),
        )
    return planned


def _key(owner, entry, config, inside):
    keys = list(inside.additions) if inside else []
    if not 0 <= config["addition"] < len(keys):
        raise ValueError(
            f"The saved plan of {owner.name!r} has a LAuReL layer at "
            f"addition {config['addition']} of a layer of class "
            f"{entry['class_name']}, which has {len(keys)} additions now. The "
            "code of the class has changed since the model was saved. Load it "
            "with the class as it was when it was saved."
        )
    return keys[config["addition"]]


def _built(holder, config):
    # The precision of the holder may have changed since it was saved.
    policy = plain_policy(holder.variable_dtype, holder.compute_dtype)
    settings = config["layer"]["config"]
    settings = {**settings, "dtype": keras.dtype_policies.serialize(policy)}
    layer = keras.layers.deserialize({**config["layer"], "config": settings})
    shapes = [tuple(config["shape"])] * (1 + max(config["activations"], 1))
    build_inside(holder, layer, shapes)
    return layer


def attach_all(owner, planned, survey, graphs=()):
    """Attach all planned connections or, if one fails, none of them.

    Args:
        owner: The layer that contains all of them.
        planned: Dict of dicts of `Connection`s, by `Inside` and key.
        survey: The `Survey` of `owner`.
        graphs: List of `(model, replacements)`, functional models inside
            `owner` and the replacements in them.
    """
    rebuilt = [
        (graph, rebuild(graph, replacements), replacements)
        for graph, replacements in graphs
    ]
    # Connections of the parts of `owner`, loaded before it, are attached
    # again with those of `owner`.
    for layer in _with(owner, "_laurel_opened") if survey else ():
        opened.detach(layer)
    done = []
    all_layers = _in_run_order(planned, survey)
    try:
        for inside, connections in planned.items():
            done.append((inside.layer, type(inside.layer)))
            opened.attach(
                inside.layer,
                connections,
                list(inside.additions),
                inside.always,
                all_layers,
            )
        parts = [inside.layer for inside in planned]
        parts += [graph for graph, *_ in rebuilt]
        for layer in _owners(owner, parts):
            done.append((layer, type(layer)))
            own(layer, survey)
    except BaseException:
        for layer, cls in reversed(done):
            opened.detach(layer, cls)
        raise
    for graph, other, replacements in rebuilt:
        sites = saved_plan.serialize(replacements, graph)
        keras_internals.become(graph, other)
        graph.__dict__["_laurel_sites"] = sites


def own(layer, survey):
    """Let `layer` save the connections inside it."""
    called = survey.called.get(id(layer)) if survey else None
    layer.__dict__["_laurel_called"] = called
    # A part that was loaded before its owner has the class already.
    if not isinstance(layer, LaurelInside):
        layer.__class__ = owner_class(type(layer))


def detach(layer):
    """Remove the connections in a layer, if there are any."""
    if not {"_laurel_called", "_laurel_opened"}.isdisjoint(vars(layer)):
        opened.detach(layer)


def _in_run_order(planned, survey):
    return [
        planned[inside][key].layer
        for inside, key in (survey.in_order() if survey else ())
        if key in planned.get(inside, ())
    ]


def _owners(root, parts):
    """Yield the layers whose config would lose the connections.

    These are the layers that are, or contain, one of `parts`.
    """
    converted = {id(layer) for layer in parts}
    for layer in (root, *flatten_layers(root)):
        inner = {id(layer), *(id(x) for x in flatten_layers(layer))}
        loses = not keras_internals.config_has_layers(layer)
        if "_laurel_opened" in vars(layer) or (converted & inner and loses):
            yield layer
