"""Save converted layers: the config before conversion, and what was put in.

A class knows nothing of the connections in its layers. So each converted
layer, and each that holds one, is of a subclass whose config is that of the
plain layer and a plan. Loading makes the plain layer, looks into it again,
and attaches what the plan says.
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


class LaurelInside(PickledAsSaved):
    """What a layer with connections in it, or in layers of its, adds to its
    class."""

    def get_config(self):
        base, cls = type(self)._laurel_plain_class, type(self)
        # Keras makes configs up for classes without a `get_config`.
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
    """What a model with connections in its layers was converted with, for an
    owner that saves this by itself.

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
    """The subclass of `base` for a layer that holds converted ones.

    All go by one registered name, under which `LaurelInside` stays.
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
    """What `convert_by_plan` needs to convert a layer like `owner`."""
    numbers = {id(x): i for i, x in enumerate(_can_be_opened(owner))}
    # Who holds the blocks need not be who runs them.
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
    """The converted layers in `owner`, those inside one another once."""
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
    """Its config; it is built where the weights get their paths."""
    config = keras.layers.serialize(layer)
    return {k: v for k, v in config.items() if k != "build_config"}


def _with(owner, attribute):
    layers = owner, *flatten_layers(owner)
    return [layer for layer in layers if attribute in layer.__dict__]


def convert_by_plan(owner, plan):
    """Convert a plain layer as the one was that `plan` is of.

    Raises:
        ValueError: if the layer is not like that one.
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
        # One that its owner saves as it is has its LAuReL layers already.
        if "_laurel_sites" not in vars(graph):
            replacements = saved_plan.deserialize(entry["sites"], graph)
            graphs.append((graph, replacements))
    attach_all(owner, planned, survey, graphs)
    if plan["parts"]:
        own(owner, survey)


def _can_be_opened(owner):
    """A layer and those inside it that may be converted, in an order that is
    the same before conversion, after it and in another process.

    By path: a graph lists its layers in an order that depends on its edges,
    and Keras counts the names that it makes up on and on.
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
            f"{entry['class_name']}, which "
            f"has {len(keys)} additions now. The code of the class has "
            "changed since the model was saved."
        )
    return keys[config["addition"]]


def _built(holder, config):
    # Of the holder's precision, which may be another than when it was saved.
    policy = plain_policy(holder.variable_dtype, holder.compute_dtype)
    settings = config["layer"]["config"]
    settings = {**settings, "dtype": keras.dtype_policies.serialize(policy)}
    layer = keras.layers.deserialize({**config["layer"], "config": settings})
    shapes = [tuple(config["shape"])] * (1 + max(config["activations"], 1))
    build_inside(holder, layer, shapes)
    return layer


def attach_all(owner, planned, survey, graphs=()):
    """Attach what was planned; all of it or, where it fails, nothing.

    Args:
        owner: The layer that holds all of it.
        planned: Dict of dicts of `Connection`s, by `Inside` and key.
        survey: The `Survey` of `owner`.
        graphs: List of `(model, replacements)`, functional models inside
            `owner` and what is to stand in them.
    """
    rebuilt = [
        (graph, rebuild(graph, replacements), replacements)
        for graph, replacements in graphs
    ]
    # What was put in with the parts of `owner` is put in with it again.
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
    """Let `layer` save what is converted inside it."""
    called = survey.called.get(id(layer)) if survey else None
    layer.__dict__["_laurel_called"] = called
    # A part that was loaded before its owner does so already.
    if not isinstance(layer, LaurelInside):
        layer.__class__ = owner_class(type(layer))


def detach(layer):
    """Take out what was put into a layer, and into layers of its."""
    if not {"_laurel_called", "_laurel_opened"}.isdisjoint(vars(layer)):
        opened.detach(layer)


def _in_run_order(planned, survey):
    return [
        planned[inside][key].layer
        for inside, key in (survey.in_order() if survey else ())
        if key in planned.get(inside, ())
    ]


def _owners(root, parts):
    """The layers whose config would lose what is converted: those that are,
    or hold, one of `parts`."""
    converted = {id(layer) for layer in parts}
    for layer in (root, *flatten_layers(root)):
        inner = {id(layer), *(id(x) for x in flatten_layers(layer))}
        if converted & inner and not keras_internals.config_has_layers(layer):
            yield layer
