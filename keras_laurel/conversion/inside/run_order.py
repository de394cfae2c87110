"""The order in which additions run, and which of them lead to which."""

import functools
import operator

from keras_laurel.conversion.inside.across_layers import given_to


class RunOrder:
    """The additions of a model in the order they run.

    An addition is identified by its `ResidualSite.node`. The set of skips
    from which a tensor is computed is an integer, with a bit for each
    addition.
    """

    def __init__(self):
        self._leading = {}
        self._skips = {}
        self._in_training_only = set()
        self._bits = {}
        self._place_of = None

    def __iter__(self):
        return iter(self._leading)

    def leading_to(self, place):
        """Return the additions from whose skips this one's skip is computed.

        They are in the order they run. An addition that runs in training only
        has none, and leads to none: the others run without it otherwise.
        """
        found, bits = [], self._leading[place]
        if place in self._in_training_only:
            return found
        for other in self:
            if other == place:
                break
            if other not in self._in_training_only and bits & self._bit(other):
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
        self._follow(root, [(0, None)], additions)

    def skip_of(self, place):
        """Return what identifies the skip of an addition in all layers."""
        return self._skips[place]

    def add_training(self, root, additions, place_of):
        """Follow a pass in training, after one without; see `add`."""
        before = set(self)
        self.add(root, additions, place_of)
        self._in_training_only = set(self) - before

    def _follow(self, call, given, additions, made_by=None):
        """Return `(leading, origin)` of each output of a call.

        `leading` is the set of skips that lead to a tensor. `origin`
        identifies it, inside a layer as outside of it: layers that are given
        one tensor have one skip.

        Args:
            call: The `Observed` call.
            given: List of `(leading, origin)` of its inputs.
            additions: As `add` takes them.
            made_by: The step of the surrounding graph that is this call, if
                it is known. The result has the order of its outputs.

        Returns:
            A list, with one entry if the outputs are not known. The origin is
            `None` for a tensor that is none of the inputs.
        """
        layer, trace = call.layer, call.trace
        graph = call.graph(made_by)
        if graph is None:
            leading = _union(given)
            return [(self._follow_all(call.inside, leading, additions), None)]
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
        own = self._own(places.values())
        known = dict(zip(map(id, inputs), _for_each(inputs, given)))
        inner_calls, others = call.inner_calls(steps)
        for step in steps:
            if step in places:
                self._note(*places[step], known)
            inner = inner_calls.get(step)
            is_traced = inner is not None and inner.trace is not None
            read = []
            for t in given_to(step, is_traced):
                leading, origin = known.get(id(t), (0, None))
                read.append((leading | own.get(id(t), 0), origin or id(t)))
            if inner is not None:
                returned = self._follow(inner, read, additions, step)
            else:
                returned = [(_union(read), None)]
            for t, one in zip(step.outputs, _for_each(step.outputs, returned)):
                known.setdefault(id(t), one)
        self._follow_all(others, _union(known.values()), additions)
        origins = {origin for _, origin in given}
        found = [known.get(id(t), (0, None)) for t in outputs]
        return [(x, o if o in origins else None) for x, o in found]

    def _note(self, place, addition, known):
        """Note which skips lead to the skip of an addition, and which it is."""
        skip = addition.skip_tensor if addition else None
        leading, origin = known.get(id(skip), (0, None))
        self._leading[place] = self._leading.get(place, 0) | leading
        self._skips.setdefault(place, origin or id(skip))

    def _follow_all(self, calls, leading, additions):
        """Follow calls whose tensors are unknown: each may lead to the next."""
        for call in calls:
            leading |= _union(self._follow(call, [(leading, None)], additions))
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


def _union(tensors):
    return functools.reduce(operator.or_, (x for x, _ in tensors), 0)


def _for_each(tensors, known):
    """Return what is known of each tensor, or else of all together."""
    if len(tensors) == len(known):
        return known
    return [(_union(known), None)] * len(tensors)
