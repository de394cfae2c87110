"""The additions of a graph, and which of them are residual."""

import dataclasses

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.branch import Branch
from keras_laurel.conversion.graphs.shortcut import find_shortcut

L = keras.layers

_LEARNS_NOTHING = "the branch learns nothing from the values of the skip"
_OF_BRANCHES = "a sum of the branches of other residual additions"
_NO_SKIP = "no operand leads to the other by itself or by a linear shortcut"


@dataclasses.dataclass(frozen=True)
class Addition:
    """An addition of a graph.

    In `x + a + b` the last call is the addition. The `why_not` of the earlier
    call says that it is a part of this sum.

    Attributes:
        node: The call that computes the sum.
        operands: Tuple of the tensors that this call adds.
        skip: Index of the operand that is the skip; `None` if the skip is
            added earlier in `x + a + b`, or if no LAuReL layer can replace
            the sum.
        kind: `"identity"`, `"projection"` or `"resampled"`; `None` if there is
            no skip.
        start: The tensor from which skip and branch start.
        skip_tensor: The tensor that is the skip.
        branch_nodes: Tuple of the calls from the start to the other operands.
        parts: Tuple of the calls that add up `x + a` in `x + a + b`.
        terms: Tuple of all terms, `x`, `a` and `b` in `x + a + b`, the skip
            first.
        why_not: String, the reason why this is not a residual addition;
            `None` if it is one.
    """

    node: object
    operands: tuple
    skip: int | None = None
    kind: str | None = None
    start: object = None
    skip_tensor: object = None
    branch_nodes: tuple = ()
    parts: tuple = ()
    terms: tuple = ()
    why_not: str | None = None

    @property
    def is_sum(self):
        """True if the branch is itself a sum, `a + b` in `x + a + b`."""
        return len(self.terms) > 2


def find_additions(graph):
    """Return the `Addition`s in a `TensorGraph`, in the order they run.

    An addition that is not residual has the reason in `why_not`. Its other
    attributes are set if a LAuReL layer could replace it nevertheless.
    """
    found = {}
    for node in graph.nodes:
        if is_addition(node):
            found[node] = _judge(graph, node, found)
        else:
            why_not = _is_written_otherwise(graph, node)
            if why_not:
                terms = tuple(graph.inputs(node))
                found[node] = Addition(node, terms, why_not=why_not)
    return list(found.values())


def is_addition(node):
    """Return whether a call adds, or subtracts two tensors of floats."""
    operation = node.operation
    kind = type(operation)
    if isinstance(operation, L.Layer):
        adds, subtracts = kind is L.Add, kind is L.Subtract
    else:
        adds, subtracts = kind.__name__ == "Add", kind.__name__ == "Subtract"
    tensors = node.arguments.keras_tensors
    # A difference of two tensors is listed with its reason, as the stream of
    # N-BEATS. `1 - x` is no addition at all.
    return adds or (
        subtracts and len(tensors) == 2 and all(map(_is_float, tensors))
    )


def _is_written_otherwise(graph, node):
    """Return why a call that adds in another way is left out, or `None`."""
    operation = node.operation
    if type(operation) is L.Average:
        return "an average, not a sum"
    if type(operation).__name__ not in ("Sum", "Mean"):
        return None
    stack = graph.producer(graph.inputs(node)[0])
    if stack is None or type(stack.operation).__name__ != "Stack":
        return None
    rank = len(stack.outputs[0].shape)
    axis = operation.axis
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    # Over another axis it sums features or positions, not branches.
    if None in axes or {a % rank for a in axes} != {
        stack.operation.axis % rank
    }:
        return None
    return "a sum or mean over a stack: write it with `+` or `Add`"


def _judge(graph, node, found):
    terms = tuple(graph.inputs(node))
    why_not = _why_no_skip(graph, node, terms)
    if why_not:
        return Addition(node, terms, why_not=why_not)
    return (
        _around_itself(graph, node, terms, found)
        or _longer_sum(graph, node, terms, found)
        or _around_shortcut(graph, node, terms)
        or _guess(graph, node, terms)
    )


def _why_no_skip(graph, node, terms):
    """Return why no LAuReL layer can replace a sum, or `None`."""
    if type(node.operation).__name__ == "Subtract":
        return "a difference, not a sum"
    if len(terms) < 2:
        return "one operand is a constant"
    if len(set(map(id, terms))) < len(terms):
        return "a tensor added to itself"
    if not all(graph.sizes.fit(terms[0], t) for t in terms[1:]):
        shapes = [str(t.shape) for t in terms]
        if len(set(shapes)) == 1 and len(terms[0].shape) < 2:
            return f"shape {shapes[0]}, without an axis of features"
        return f"shapes {' and '.join(shapes)}"
    if not all(map(_is_float, terms)):
        return f"dtypes {sorted({keras_internals.dtype_of(t) for t in terms})}"
    return None


def _is_float(tensor):
    return keras.backend.is_float_dtype(keras_internals.dtype_of(tensor))


def _around_itself(graph, node, terms, found, parts=()):
    """Return an addition to a term from which all others are computed."""
    for skip in terms:
        branch = Branch(graph, skip, _without(skip, terms))
        if branch.reaches_all():
            sums = (node, *parts)
            why_not = _why_no_identity(branch, sums)
            if why_not is None and _adds_branches(graph, branch, sums, found):
                why_not = _OF_BRANCHES
            return _made(node, skip, branch, "identity", why_not)
    return None


def _why_no_identity(branch, sums):
    if not branch.learns():
        return _LEARNS_NOTHING
    scales = branch.scales()
    if scales is None or any(scale not in (1, None) for scale in scales):
        return "the branch changes the resolution and comes back"
    if branch.is_entered() and branch.is_another_stream(sums):
        return "a sum of branches that other parts of the graph enter"
    if branch.replaces_start():
        return "the sum passes on another tensor's values in place of the skip"
    return None


def _adds_branches(graph, branch, sums, found):
    """Return whether a sum gathers branches that were added elsewhere too.

    In a WaveNet without convolutions of its own for the skips, the branches
    are added to the stream one by one, and once more all together.
    """
    earlier = [found.get(n) for n in graph.consumers(branch.start)]
    return any(
        a is not None
        and a.why_not is None
        and any(t is branch.start for t in a.terms[1:])
        for a in earlier
    ) and any(
        node not in sums and is_addition(node)
        for end in branch.ends
        for node in graph.consumers(end)
    )


def _around_shortcut(graph, node, terms, parts=()):
    """Return an addition to a shortcut, a residual one if there is one."""
    made = []
    for skip in terms:
        shortcut = find_shortcut(graph, skip, _without(skip, terms))
        if shortcut is not None:
            why_not = shortcut.why_not(graph, (node, *parts))
            branch, kind = shortcut.branch, shortcut.kind
            made.append(_made(node, skip, branch, kind, why_not))
    # If each operand looks like a shortcut around the other, the reading that
    # is residual counts.
    return min(made, key=lambda a: a.why_not is not None, default=None)


def _longer_sum(graph, node, terms, found):
    """Return the sum `x + a + b` that continues an earlier `x + a`.

    It is returned if `b` starts at `x` too. The `Addition` of `x + a` in
    `found` is then marked as a part of it.
    """
    for term in terms:
        part = found.get(graph.producer(term))
        if (
            part is None
            or part.why_not is not None
            # A sum that something else reads is a connection of its own.
            or graph.consumers(term) != [node]
            or graph.is_output(term)
        ):
            continue
        flat = part.terms + _without(term, terms)
        parts = (*part.parts, part.node)
        longer = _around_itself(graph, node, flat, found, parts)
        longer = longer or _around_shortcut(graph, node, flat, parts)
        # The end of a block inside another one is no part of a sum of three:
        # the outer skip starts elsewhere.
        if longer and longer.why_not is None and longer.start is part.start:
            name = node.operation.name
            found[part.node] = dataclasses.replace(
                part, why_not=f"a part of the sum {name!r}"
            )
            return dataclasses.replace(longer, parts=parts)
    return None


def _without(skip, terms):
    return tuple(t for t in terms if t is not skip)


def _made(node, skip, branch, kind, why_not):
    operands = tuple(node.arguments.keras_tensors)
    index = [i for i, t in enumerate(operands) if t is skip]
    return Addition(
        node=node,
        operands=operands,
        skip=index[0] if index else None,
        kind=kind,
        start=branch.start,
        skip_tensor=skip,
        branch_nodes=tuple(branch.nodes),
        terms=(skip, *branch.ends),
        why_not=why_not,
    )


def _guess(graph, node, terms):
    """Return an addition that is not residual, with its most likely skip.

    The user may select it nevertheless. The skip is the operand that is
    computed first.
    """
    skip = min(terms, key=graph.position)
    others = _without(skip, terms)
    why_not = _NO_SKIP
    if any(_takes_shape(graph, skip, other) for other in others):
        why_not = _LEARNS_NOTHING
    return dataclasses.replace(
        _made(node, skip, Branch(graph, skip, others), "identity", why_not),
        # Nothing leads from the skip to the others. From these calls the layer
        # still gets its dtype and feature axis.
        branch_nodes=tuple(filter(None, map(graph.producer, others))),
    )


def _takes_shape(graph, skip, other):
    """Return whether `other` is computed from the skip's shape alone.

    Position embeddings are.
    """
    inputs = [other]
    while len(inputs) == 1 and graph.producer(inputs[0]) is not None:
        inputs = graph.inputs(graph.producer(inputs[0]))
        if any(t is skip for t in inputs):
            return True
    return False
