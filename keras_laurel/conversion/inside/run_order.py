"""In which order the additions of a model run, and which lead to which."""

import functools
import operator

from keras import KerasTensor

from keras_laurel.conversion.inside.merges import given_to
from keras_laurel.conversion.inside.values import flatten


class RunOrder:
    """What stands for the additions, `ResidualSite.node`, as they run.

    Which skips a tensor is computed from is a bit set, an integer with a bit
    for each addition.
    """

    def __init__(self):
        self._leading = {}
        self._bits = {}
        self._place_of = None

    def __iter__(self):
        return iter(self._leading)

    def leading_to(self, place):
        """The places before this one whose skips its skip is computed from,
        in the order they run."""
        found, bits = [], self._leading[place]
        for other in self:
            if other == place:
                break
            if bits & self._bit(other):
                found.append(other)
        return found

    def add(self, root, additions, place_of):
        """Follow the tensors through one pass of a model.

        Args:
            root: The `Observed` call of the model.
            additions: Dict of the additions in each trace by its `id`: dicts
                of `Addition`s by key.
            place_of: Function of a layer and a key, what stands for it.
        """
        self._place_of = place_of
        self._follow(root, [0], additions)

    def _follow(self, call, leading, additions, by_keras=True):
        """Which skips lead to what a call returns: a set for each tensor, or
        one for all; `leading` says it of the tensors that it is given.

        Keras sorts the keys of dicts where it flattens what is returned, which
        is asked for with `by_keras`, and traces do not.
        """
        layer, trace = call.layer, call.trace
        graph = call.graph()
        if graph is None:
            return [self._follow_all(call.inside, _union(leading), additions)]
        inputs, steps, outputs = graph
        if trace is None:
            places = {node: (node, None) for node in steps}
        else:
            judged = additions[id(trace)]
            places = {
                step: (self._place_of(layer, step.key), judged[step.key])
                for step in steps
                if step.key in judged
            }
            if not by_keras:
                leaves = flatten(trace.outputs)
                outputs = [x for x in leaves if isinstance(x, KerasTensor)]
        own = self._own(places.values())
        known = dict(zip(map(id, inputs), _for_each(inputs, leading)))
        inner_calls, others = call.inner_calls(steps)
        for step in steps:
            if step in places:
                place, addition = places[step]
                skip = id(addition.skip_tensor) if addition else None
                before = self._leading.get(place, 0)
                self._leading[place] = before | known.get(skip, 0)
            inner = inner_calls.get(step)
            is_traced = inner is not None and inner.trace is not None
            tensors = given_to(step, is_traced)
            given = [known.get(id(t), 0) | own.get(id(t), 0) for t in tensors]
            if inner is not None:
                returned = self._follow(inner, given, additions, trace is None)
            else:
                returned = [_union(given)]
            for t, bits in zip(step.outputs, _for_each(step.outputs, returned)):
                known.setdefault(id(t), bits)
        self._follow_all(others, _union(known.values()), additions)
        return [known.get(id(t), 0) for t in outputs]

    def _follow_all(self, calls, leading, additions):
        """Of calls whose tensors are not known: each may lead to the next."""
        for call in calls:
            leading |= _union(self._follow(call, [leading], additions))
        return leading

    def _own(self, places):
        """The bits of the tensors that are skips, by their `id`."""
        own = {}
        for place, addition in places:
            if addition is not None and addition.skip_tensor is not None:
                key = id(addition.skip_tensor)
                own[key] = own.get(key, 0) | self._bit(place)
        return own

    def _bit(self, place):
        return self._bits.setdefault(place, 1 << len(self._bits))


def _union(sets):
    return functools.reduce(operator.or_, sets, 0)


def _for_each(tensors, sets):
    """A set for each tensor: its own, or where it is not known which, all."""
    if len(tensors) == len(sets):
        return sets
    return [_union(sets)] * len(tensors)
