"""The order in which additions run, and which of them lead to which."""

import functools
import operator

from keras import KerasTensor

from keras_laurel.conversion.inside.across_layers import given_to
from keras_laurel.conversion.inside.values import flatten


class RunOrder:
    """The additions of a model in the order they run.

    An addition is identified by its `ResidualSite.node`. The set of skips
    from which a tensor is computed is an integer, with a bit for each
    addition.
    """

    def __init__(self):
        self._leading = {}
        self._bits = {}
        self._place_of = None

    def __iter__(self):
        return iter(self._leading)

    def leading_to(self, place):
        """Return the additions from whose skips this one's skip is computed.

        They are in the order they run.
        """
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
            place_of: Function of a layer and a key that returns the
                `ResidualSite.node` of the addition.
        """
        self._place_of = place_of
        self._follow(root, [0], additions)

    def _follow(self, call, leading, additions, by_keras=True):
        """Return the sets of skips that lead to the outputs of a call.

        Args:
            call: The `Observed` call.
            leading: The sets of skips that lead to its inputs.
            additions: As `add` takes them.
            by_keras: Boolean. Flatten the outputs as Keras does, which sorts
                the keys of dicts, and not as traces do.

        Returns:
            List with a set for each output, or with one set for all.
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
        """Follow calls whose tensors are unknown: each may lead to the next."""
        for call in calls:
            leading |= _union(self._follow(call, [leading], additions))
        return leading

    def _own(self, places):
        """Return the bits of the tensors that are skips, by their `id`."""
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
    """Return a set for each tensor: its own or, if unknown, the union."""
    if len(tensors) == len(sets):
        return sets
    return [_union(sets)] * len(tensors)
