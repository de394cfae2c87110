"""Follow the resolution from the start of a branch to its end.

Resolution is what strides did, not what sizes are: it is the same where sizes
are unknown, and the scores of an attention, which grow with the square of the
tokens, are none. A tensor has a scale, the number of its positions per
position of the start. A stride divides it, and what comes back to the size of
another tensor with a smaller scale than that was up-sampled on the way, by
whatever means.
"""

import math

import keras

from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.graphs.insides import unwrapped
from keras_laurel.conversion.graphs.steps import CONVOLUTION
from keras_laurel.conversion.graphs.steps import POOLING
from keras_laurel.conversion.graphs.steps import slice_steps

L = keras.layers

_TRANSPOSED = (L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)
_REPEATING = (L.UpSampling1D, L.UpSampling2D, L.UpSampling3D)
_STRIDED_OPS = frozenset("Conv DepthwiseConv SeparableConv".split())
_POOLING_OPS = frozenset("AveragePool MaxPool".split())
_RESIZING_OPS = frozenset(
    "AdaptiveAveragePool AdaptiveMaxPool Resize ScaleAndTranslate".split()
)

# Divides by the number of windows that an image may have.
_BATCH = 2**8 * 3**2 * 5 * 7

_BLOCK_OPS = {"DepthToSpace": 2, "SpaceToDepth": -2}
_ELEMENTWISE = frozenset(
    "Add Average Maximum Minimum Multiply Subtract".split()
)


class UpSampled(Exception):
    """Raised where a branch comes back from a lower resolution."""


def scale_at(nodes, start, end, graph):
    """The scale of `end` where `start` has 1, after the calls `nodes`.

    Returns:
        Float, or `None` where `end` has no positions of its own, as a gate
        pooled over the whole image.

    Raises:
        UpSampled: if the branch comes back from a lower resolution.
    """
    scales = {id(start): 1.0}
    _follow(nodes, scales, graph)
    return scales.get(id(end))


def _follow(nodes, scales, graph):
    for node in nodes:
        inside = graph.insides.of_model(node)
        if inside is not None:
            _follow_inside(node, inside, scales, graph)
            continue
        scale = _scale_after(node, scales, graph)
        scales.update((id(t), scale) for t in node.outputs)


def _follow_inside(node, inside, scales, graph):
    inputs, inner = inside
    given = graph.operands(node)
    within = {
        id(x): scales[id(t)] for x, t in zip(inputs, given) if id(t) in scales
    }
    _follow([n for n in inner.nodes if not n.is_input], within, inner)
    ends = keras.tree.flatten(unwrapped(node.operation).outputs)
    scales.update(
        (id(t), within.get(id(x))) for t, x in zip(node.outputs, ends)
    )


def _scale_after(node, scales, graph):
    """The finest of the operands: a coarse one may be keys and values."""
    operands = [t for t in graph.operands(node) if scales.get(id(t))]
    if not operands:
        return None
    finest = max(scales[id(t)] for t in operands)
    if _joins_sizes(node, operands):
        if any(scales[id(t)] < finest for t in operands):
            raise UpSampled
    elif _is_outer(node, operands):
        return None
    factor = scale_factor(node, graph, operands)
    if factor > 1:
        raise UpSampled
    if factor < 1 and _positions(node, node.outputs[0]) == 1:
        return None
    return finest * factor


def _joins_sizes(node, operands):
    """Whether a call needs operands of one size, with no broadcast."""
    name = type(node.operation).__name__
    shapes = [list(t.shape) for t in operands]
    if name == "Concatenate":
        axis = node.operation.axis
        if axis not in (-1, len(shapes[0]) - 1):
            return False
        shapes = [shape[:-1] for shape in shapes]
    elif name not in _ELEMENTWISE:
        return False
    return all(shape == shapes[0] for shape in shapes)


def _is_outer(node, operands):
    """Whether rows and columns are multiplied to an image."""
    shape = node.outputs[0].shape
    elementwise = type(node.operation).__name__ in _ELEMENTWISE
    return elementwise and all(t.shape != shape for t in operands)


def scale_factor(node, graph, operands=None):
    """By how much a call changes the number of positions.

    Args:
        node: The call.
        graph: The `TensorGraph`.
        operands: List of those tensors that it is given whose positions
            count; by default all. An attention has the positions of its
            queries, whatever else it looks at.
    """
    operation = unwrapped(node.operation)
    if isinstance(operation, L.Layer):
        operands = operands or graph.operands(node)
        return _layer_factor(operation, node, graph, operands)
    name = type(operation).__name__
    if name in _STRIDED_OPS:
        return 1 / _product(operation.strides, node)
    if name in _POOLING_OPS:
        strides = operation.strides or operation.pool_size
        return 1 / _product(strides, node)
    if name == "ConvTranspose":
        return _unless_single(_product(operation.strides, node), node)
    if name in _RESIZING_OPS:
        return _unless_single(_ratio(node, unknown=2), node)
    if name in _BLOCK_OPS:
        return operation.block_size ** _BLOCK_OPS[name]
    return 1 / math.prod(slice_steps(node))


def _layer_factor(operation, node, graph, operands):
    if isinstance(operation, _TRANSPOSED):
        return _unless_single(_product(operation.strides, node), node)
    if isinstance(operation, _REPEATING):
        return _unless_single(_product(operation.size, node), node)
    if isinstance(operation, L.Resizing):
        return _unless_single(_ratio(node, unknown=2), node)
    if isinstance(operation, (*CONVOLUTION, *POOLING)):
        strides = getattr(operation, "strides", None)
        if strides is None:
            return _ratio(node, unknown=0.5)
        return 1 / _product(strides, node)
    if is_opaque(node.operation):
        return _opaque_factor(node, graph, operands)
    return 1


def _product(strides, node):
    if isinstance(strides, int):
        return strides ** max(len(node.outputs[0].shape) - 2, 1)
    return math.prod(strides)


def _unless_single(factor, node):
    """A single position that is repeated is no image."""
    return (
        1 if _positions(node, node.arguments.keras_tensors[0]) == 1 else factor
    )


def _positions(node, tensor):
    """How many positions an image has; `None` if that is unknown."""
    data_format = getattr(unwrapped(node.operation), "data_format", None)
    first = data_format == "channels_first"
    sizes = tensor.shape[2:] if first else tensor.shape[1:-1]
    return None if None in sizes else math.prod(sizes)


def _ratio(node, unknown):
    before = _positions(node, node.arguments.keras_tensors[0])
    after = _positions(node, node.outputs[0])
    return after / before if before and after else unknown


def _opaque_factor(node, graph, sources):
    """Of a layer that changes all the sizes of an image or of a sequence."""
    if len(node.outputs) != 1 or not sources:
        return 1
    before, after = map(graph.sizes.of, (sources[0], node.outputs[0]))
    rank = len(before)
    if rank != len(after) or rank < 3:
        return 1
    layouts = [range(1, rank - 1)] + [range(2, rank)] * (rank > 3)
    factors = [_factor([(before[i], after[i]) for i in s]) for s in layouts]
    factor = next((f for f in factors if f != 1), 1)
    return 1 if factor != 1 and _moves_to_batch(node, graph) else factor


def _moves_to_batch(node, graph):
    """Whether windows of an image become images of their own."""
    shapes = graph.sizes.after(node, _BATCH)
    return shapes is not None and shapes[0][0] != _BATCH


def _factor(pairs):
    """How many times as many positions, where each size is scaled."""
    if any(None in pair for pair in pairs):
        return 1
    changed = all(a >= 2 * b or b >= 2 * a for b, a in pairs)
    before, after = map(math.prod, zip(*pairs))
    return after / before if changed and min(before, after) > 1 else 1
