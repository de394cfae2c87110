"""The additions of a graph, and which of them are residual."""

import dataclasses

import keras

from keras_laurel.conversion.graphs.branch import Branch
from keras_laurel.conversion.graphs.shortcut import find_shortcut

L = keras.layers

_NO_SKIP = "no operand leads to the other by itself or by a linear shortcut"


@dataclasses.dataclass(frozen=True)
class Addition:
    """An addition of a graph.

    Of `x + a + b` the last call is the addition, and the earlier one a part
    of it, in `why_not`.

    Attributes:
        node: The call that computes the sum.
        operands: Tuple of the tensors that are added in it.
        skip: Which of them is the skip; `None` where it is added earlier in
            `x + a + b`, or where nothing can stand in the place of the sum.
        kind: `"identity"`, `"projection"` or `"pooled"`; `None` with no skip.
        start: The tensor from which skip and branch start.
        skip_tensor: The tensor that is the skip.
        branch_nodes: Tuple of the calls from the start to the other operands.
        terms: All that is added up, `x`, `a` and `b` of `x + a + b`, the skip
            first.
        why_not: Why this is no residual addition; `None` where it is one.
    """

    node: object
    operands: tuple
    skip: int | None = None
    kind: str | None = None
    start: object = None
    skip_tensor: object = None
    branch_nodes: tuple = ()
    terms: tuple = ()
    why_not: str | None = None

    @property
    def is_sum(self):
        """Whether the branch is a sum, `a + b` in `x + a + b`."""
        return len(self.terms) > 2


def find_additions(graph):
    """The `Addition`s of floats in a `TensorGraph`, in the order they run.

    Each is residual or says why it is not, and is then filled in as far as a
    LAuReL layer could stand there nevertheless.
    """
    found = {}
    for node in graph.nodes:
        if is_addition(node):
            found[node] = _judge(graph, node, found)
    return list(found.values())


def is_addition(node):
    """Whether a call adds, or subtracts tensors of floats."""
    operation = node.operation
    kind = type(operation)
    if isinstance(operation, L.Layer):
        adds, subtracts = kind is L.Add, kind is L.Subtract
    else:
        adds, subtracts = kind.__name__ == "Add", kind.__name__ == "Subtract"
    tensors = node.arguments.keras_tensors
    return adds or (
        subtracts and len(tensors) == 2 and all(map(_is_float, tensors))
    )


def _judge(graph, node, found):
    terms = tuple(graph.inputs(node))
    why_not = _why_no_skip(graph, node, terms)
    if why_not:
        return Addition(node, terms, why_not=why_not)
    return (
        _around_itself(graph, node, terms)
        or _longer_sum(graph, node, terms, found)
        or _around_shortcut(graph, node, terms)
        or _guess(graph, node, terms)
    )


def _why_no_skip(graph, node, terms):
    """Why no LAuReL layer can stand in the place of a sum, or `None`."""
    if type(node.operation).__name__ == "Subtract":
        return "a difference, not a sum"
    if len(terms) < 2:
        return "one operand is a constant"
    if len(set(map(id, terms))) < len(terms):
        return "a tensor added to itself"
    if not all(graph.sizes.fit(terms[0], t) for t in terms[1:]):
        return "shapes " + " and ".join(str(t.shape) for t in terms)
    if not all(map(_is_float, terms)):
        return f"dtypes {sorted({_dtype(t) for t in terms})}"
    return None


def _dtype(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


def _is_float(tensor):
    return keras.backend.is_float_dtype(_dtype(tensor))


def _around_itself(graph, node, terms):
    """An addition to a term from which all the others are computed."""
    for skip in terms:
        branch = Branch(graph, skip, _without(skip, terms))
        if branch.reaches_all():
            why_not = _why_no_identity(branch, node)
            return _made(node, skip, branch, "identity", why_not)
    return None


def _why_no_identity(branch, node):
    if not branch.learns():
        return "the branch learns nothing from the values of the skip"
    scales = branch.scales()
    if scales is None or any(scale not in (1, None) for scale in scales):
        return "the branch changes the resolution and comes back"
    if branch.is_entered() and branch.is_left(node):
        return "a sum of branches that other parts of the graph enter"
    return None


def _around_shortcut(graph, node, terms):
    """An addition to a shortcut; one that is residual where there is one."""
    made = []
    for skip in terms:
        shortcut = find_shortcut(graph, skip, _without(skip, terms))
        if shortcut is not None:
            why_not = shortcut.why_not(graph, node)
            branch, kind = shortcut.branch, shortcut.kind
            made.append(_made(node, skip, branch, kind, why_not))
    return min(made, key=lambda a: a.why_not is not None, default=None)


def _longer_sum(graph, node, terms, found):
    """The sum that goes on from `x + a` to `x + a + b`, if `b` starts at `x`.

    What has been found of `x + a` becomes a part of it.
    """
    for term in terms:
        part = found.get(graph.producer(term))
        if (
            part is None
            or part.why_not is not None
            or graph.consumers(term) != [node]
            or graph.is_output(term)
        ):
            continue
        flat = part.terms + _without(term, terms)
        longer = _around_itself(graph, node, flat) or _around_shortcut(
            graph, node, flat
        )
        if longer and longer.why_not is None and longer.start is part.start:
            name = node.operation.name
            found[part.node] = dataclasses.replace(
                part, why_not=f"a part of the sum {name!r}"
            )
            return longer
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
    """The skip, if the user knows of one, is what has been there for longer."""
    skip = min(terms, key=graph.position)
    others = _without(skip, terms)
    return dataclasses.replace(
        _made(node, skip, Branch(graph, skip, others), "identity", _NO_SKIP),
        branch_nodes=tuple(filter(None, map(graph.producer, others))),
    )
