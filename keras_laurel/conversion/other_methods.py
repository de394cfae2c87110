"""Find the methods that add where no LAuReL layer runs.

Conversion changes the `call` of a layer. Its other methods, such as a
`decode_step` with a cache, use the sublayers as before: where they compute
`x + f(x)` themselves, it stays plain. They cannot be traced, since their
arguments are not known. Instead, their code is searched for additions and for
the names of sublayers.
"""

import functools

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.function_code import closed_over
from keras_laurel.conversion.function_code import function_of
from keras_laurel.conversion.function_code import functions_used
from keras_laurel.conversion.function_code import has_addition
from keras_laurel.conversion.function_code import names_in
from keras_laurel.conversion.function_code import places_of
from keras_laurel.conversion.inside.layer_paths import layer_paths
from keras_laurel.conversion.inside.layer_paths import layers_in
from keras_laurel.conversion.inside.trace import innermost
from keras_laurel.conversion.sites import LeftOut

_LIBRARIES = ("keras", "keras_cv", "keras_hub", "keras_laurel", "keras_nlp")
_BASES = frozenset(keras.Model.__mro__)
# Keras runs these itself, and losses are added in some of them.
_OF_KERAS = frozenset(
    name
    for base in _BASES
    if base.__module__.startswith("keras.")
    for name in vars(base)
)


def other_methods(model, sites, stacks=None):
    """Return a `LeftOut` for each method that adds without LAuReL.

    Args:
        model: The model or layer.
        sites: List of its `ResidualSite`s.
        stacks: List of `Stack`s if the sites are blocks.
    """
    kinds = _kinds(model, sites, stacks or ())
    holders = [kind for kind in kinds if kind.has_sites]
    paths = layer_paths(model)
    return [
        _left_out(paths[id(kind.layers[0])] or "the model", kind, name)
        for kind in kinds
        for name in kind.plain_methods(holders)
    ]


def calls_add(layer):
    """Return whether the code of a user's `call` adds."""
    return any(map(has_addition, _Kind([layer], ("call",), False, ()).in_call))


def _left_out(path, kind, name):
    code = kind.methods[name].__code__
    method = f"{type(kind.layers[0]).__name__}.{name}"
    entry_points = " and ".join(f"`{x}`" for x in kind.entry_points)
    return LeftOut(
        reason=f"it adds without LAuReL, which runs in {entry_points} only: "
        "compute this through that, put a LAuReL layer where it adds, or, if "
        "it runs a whole block, name it in the `entry_points` of "
        "`register_blocks`",
        where=f"{path}: {code.co_filename}:{code.co_firstlineno}, in {method}",
        method=method,
    )


def _kinds(model, sites, stacks):
    """Return the `_Kind`s of the layers in a model, itself included."""
    entry_points = {
        type(block): (*stack.row.entry_points, *stack.row.delegating)
        for stack in stacks
        for block in stack.blocks
    }
    holders = {id(x.node[0] if x.is_inside else x.node) for x in sites}
    graphs = {x.model for x in sites if not x.is_inside and x.kind != "block"}
    places = {innermost(x.node[1])[:3] for x in sites if x.is_inside}
    layers, with_sites = {}, set()
    for layer in (model, *keras_internals.flatten_layers(model)):
        layers.setdefault(type(layer), []).append(layer)
        is_graph = keras_internals.is_functional(layer)
        if id(layer) in holders or (is_graph and layer.name in graphs):
            with_sites.add(type(layer))
    return [
        _Kind(same, entry_points.get(cls, ("call",)), cls in with_sites, places)
        for cls, same in layers.items()
    ]


class _Kind:
    """The layers of one class, and the methods that users wrote for it.

    Args:
        layers: List of the layers.
        entry_points: Names of the methods in which LAuReL layers run.
        has_sites: Boolean, true if one of the layers has sites itself.
        places: Set of `(file, line, function)` of the sites inside layers.

    Attributes:
        methods: Dict of the functions by name.
    """

    def __init__(self, layers, entry_points, has_sites, places):
        self.layers, self.entry_points = layers, entry_points
        self.has_sites, self._places = has_sites, places
        order = type(layers[0]).__mro__
        self._classes = [cls for cls in order if cls not in _BASES]
        # From the bases up, so that the method of a subclass replaces theirs.
        of_users = {
            name: value
            for cls in reversed(self._classes)
            if cls.__module__.partition(".")[0] not in _LIBRARIES
            for name, value in vars(cls).items()
        }
        self.methods = {
            name: function_of(value)
            for name, value in of_users.items()
            if _is_method(value)
        }

    @functools.cached_property
    def sublayers(self):
        """Lists of layers by the attribute that holds them."""
        found = {}
        for layer in self.layers:
            held = keras_internals.attributes_with_layers(layer)
            for name, value in held.items():
                layers = [x for _, x in layers_in(value, name)]
                if layers:
                    found[name] = found.get(name, []) + layers
        return found

    @functools.cached_property
    def helpers(self):
        """Names of the methods that the entry points run and that add."""
        return {
            name
            for name in self.methods.keys() - {*self.entry_points}
            if self._runs_in_call(name) and self._adds(name, self.sublayers)
        }

    def plain_methods(self, holders):
        """Return the names of the methods that add without LAuReL.

        Args:
            holders: List of the `_Kind`s that have sites.
        """
        known = set(dir(self.layers[0]))
        sublayers = dict(self.sublayers) if self.has_sites else {}
        helpers = set()
        for kind in holders:
            for name in kind.sublayers.keys() - known:
                sublayers[name] = kind.sublayers[name]
            # What the layer has under these names itself is not the holder's.
            helpers |= kind.helpers - known
        return [
            name
            for name in self.methods
            if self._is_for_users(name)
            and (
                self._has_a_site(name)
                if self._runs_in_call(name)
                else self._adds(name, sublayers, helpers)
            )
        ]

    def _is_for_users(self, name):
        return not (
            name in _OF_KERAS
            or name in self.entry_points
            or name.startswith("__")
            or self.methods[name] in self._run_to_build
        )

    def _has_a_site(self, name):
        """Return whether a part of `call` is likely to be used alone.

        Models have such methods for their users, as `encode`; layers have
        them for themselves.
        """
        return (
            isinstance(self.layers[0], keras.Model)
            and not name.startswith("_")
            and any(self._places & places_of(x) for x in self._functions(name))
        )

    def _adds(self, name, sublayers, helpers=frozenset()):
        """Return whether a method adds, and uses one of these layers.

        A method of another class that is one of `helpers` does both.
        """
        functions = self._functions(name)
        functions += [x for f in functions for x in functions_used(f)]
        names = {x for function in functions for x in names_in(function)}
        used = [x for key in names & sublayers.keys() for x in sublayers[key]]
        adds = any(map(has_addition, functions))
        adds = adds or any(type(x) is keras.layers.Add for x in used)
        return (adds and bool(used)) or bool(names & helpers)

    def _runs_in_call(self, name):
        return self.methods[name] in self.in_call

    @functools.cached_property
    def in_call(self):
        """The functions that the entry points run."""
        return self._functions(*self.entry_points, stop=())

    @functools.cached_property
    def _run_to_build(self):
        return self._functions("__init__", "build")

    def _functions(self, *names, stop=None):
        """Return the functions that methods run, themselves included.

        Methods of any object count if the layer has one of that name.

        Args:
            *names: Names of the methods.
            stop: Names of methods that are left out, by default those in
                which LAuReL layers run.
        """
        stop = {*(self.entry_points if stop is None else stop)}
        found = []
        waiting = [x for name in names for x in self._definitions(name)]
        while waiting:
            function = waiting.pop()
            if function not in found:
                found.append(function)
                waiting += closed_over(function)
                for name in names_in(function) - stop:
                    waiting += self._definitions(name)
        return found

    def _definitions(self, name):
        """Yield the function of a method, and those that it has by `super`."""
        for cls in self._classes:
            function = function_of(vars(cls).get(name))
            if function is not None:
                yield function
                if name not in names_in(function):
                    return


def _is_method(value):
    kinds = property, staticmethod, classmethod
    return function_of(value) is not None and not isinstance(value, kinds)
