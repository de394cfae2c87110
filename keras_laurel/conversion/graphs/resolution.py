"""Follow the resolution from the start of a branch to its end.

A tensor has a scale, the number of its positions per position of the start. A
stride divides the scale. A tensor that is combined with another one of the
same size but of a larger scale was up-sampled on the way, by whatever means.
A branch may change the resolution as its shortcut does, one way, as in the
blocks of an encoder or of a generator.

Scales are derived from strides and not from sizes. So they are known where
sizes are unknown, and the scores of an attention, whose number grows with the
square of the tokens, are not mistaken for an up-sampled tensor.
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

# Divisible by the numbers of windows into which an image may be divided.
_BATCH = 2**8 * 3**2 * 5 * 7

# The number of positions changes by these powers of the block size.
_BLOCK_OPS = {"DepthToSpace": 2, "SpaceToDepth": -2}
_ELEMENTWISE = frozenset(
    "Add Average Maximum Minimum Multiply Subtract".split()
)


class CameBack(Exception):
    """Raised if a branch comes back from another resolution."""


def scale_at(nodes, start, end, graph):
    """Return the scale of `end` after the calls `nodes`; `start` has 1.

    Returns:
        Float, or `None` if `end` has no positions, as a gate that is pooled
        over the whole image.

    Raises:
        CameBack: if the branch comes back from another resolution.
    """
    scales = {id(start): 1.0}
    _follow(nodes, scales, graph)
    return scales.get(id(end))


def _follow(nodes, scales, graph):
    for node in nodes:
        inside = _inside(node, graph)
        if inside is not None:
            _follow_inside(node, inside, scales, graph)
            continue
        scale = _scale_after(node, scales, graph)
        scales.update((id(t), scale) for t in node.outputs)


def _inside(node, graph):
    """Return `(inputs, graph, outputs)` of a model or a user's layer.

    A layer whose output has another size tells its factor by that.
    """
    model = graph.insides.of_model(node)
    if model is not None:
        ends = keras.tree.flatten(unwrapped(node.operation).outputs)
        return *model, ends
    if not is_opaque(node.operation) or scale_factor(node, graph) != 1:
        return None
    return graph.insides.of_layer(node)


def _follow_inside(node, inside, scales, graph):
    inputs, inner, ends = inside
    given = graph.operands(node)
    within = {
        id(x): scales[id(t)] for x, t in zip(inputs, given) if id(t) in scales
    }
    _follow([n for n in inner.nodes if not n.is_input], within, inner)
    scales.update(
        (id(t), within.get(id(x))) for t, x in zip(node.outputs, ends)
    )


def _scale_after(node, scales, graph):
    """Return the scale after a call: that of its finest operand, changed.

    Coarser operands may be the keys and values of an attention.
    """
    operands = [t for t in graph.operands(node) if scales.get(id(t))]
    if not operands:
        return None
    finest = max(scales[id(t)] for t in operands)
    if _joins_sizes(node, operands):
        if any(scales[id(t)] < finest for t in operands):
            raise CameBack
    # The strips of a gate, one per row and one per column, have no common
    # scale, and their product is no up-sampled image.
    elif _is_outer(node, operands):
        return None
    factor = scale_factor(node, graph, operands)
    # Pooled to one position it is a gate, as in squeeze-and-excite, which
    # multiplies an image of any size.
    if factor < 1 and _positions(node, node.outputs[0]) == 1:
        return None
    # A branch may change the resolution one way, as its shortcut does, but not
    # come back.
    if factor > 1 > finest or factor < 1 < finest:
        raise CameBack
    return finest * factor


def _joins_sizes(node, operands):
    """Return whether a call combines operands of equal sizes."""
    name = type(node.operation).__name__
    shapes = [list(t.shape) for t in operands]
    if name == "Concatenate":
        axis = node.operation.axis
        # Along an axis of positions, the parts may have different sizes.
        if axis not in (-1, len(shapes[0]) - 1):
            return False
        shapes = [shape[:-1] for shape in shapes]
    elif name not in _ELEMENTWISE:
        return False
    return all(shape == shapes[0] for shape in shapes)


def _is_outer(node, operands):
    """Return whether a call broadcasts rows and columns to an image."""
    shape = node.outputs[0].shape
    elementwise = type(node.operation).__name__ in _ELEMENTWISE
    return elementwise and all(t.shape != shape for t in operands)


def scale_factor(node, graph, operands=None):
    """Return the factor by which a call changes the number of positions.

    Args:
        node: The call.
        graph: The `TensorGraph`.
        operands: List of the operands whose positions count; by default all.
            The output of an attention has the positions of its queries only.
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
    """Return 1 if the input has a single position, otherwise `factor`.

    A single position that is repeated is not an up-sampled image.
    """
    return (
        1 if _positions(node, node.arguments.keras_tensors[0]) == 1 else factor
    )


def _positions(node, tensor):
    """Return the number of positions of an image, or `None` if unknown."""
    data_format = getattr(unwrapped(node.operation), "data_format", None)
    first = data_format == "channels_first"
    sizes = tensor.shape[2:] if first else tensor.shape[1:-1]
    return None if None in sizes else math.prod(sizes)


def _ratio(node, unknown):
    before = _positions(node, node.arguments.keras_tensors[0])
    after = _positions(node, node.outputs[0])
    return after / before if before and after else unknown


def _opaque_factor(node, graph, sources):
    """Return the factor of a layer whose strides are not known.

    It is other than 1 only if the layer changes every size of an image, or
    the length of a sequence.
    """
    if len(node.outputs) != 1 or not sources:
        return 1
    before, after = map(graph.sizes.of, (sources[0], node.outputs[0]))
    rank = len(before)
    if rank != len(after) or rank < 3:
        return 1
    # The sizes are those of a channels_last tensor or, for images, of a
    # channels_first one.
    layouts = [range(1, rank - 1)] + [range(2, rank)] * (rank > 3)
    factors = [_factor([(before[i], after[i]) for i in s]) for s in layouts]
    factor = next((f for f in factors if f != 1), 1)
    # The windows of a Swin transformer are smaller, but there are more.
    return 1 if factor != 1 and _moves_to_batch(node, graph) else factor


def _moves_to_batch(node, graph):
    """Return whether windows of an image are moved to the batch axis."""
    shapes = graph.sizes.after(node, _BATCH)
    return shapes is not None and shapes[0][0] != _BATCH


def _factor(pairs):
    """Return the factor of the number of positions if each size changes.

    Sizes that change by less than a factor of 2 do not count.
    """
    if any(None in pair for pair in pairs):
        return 1
    changed = all(a >= 2 * b or b >= 2 * a for b, a in pairs)
    before, after = map(math.prod, zip(*pairs))
    return after / before if changed and min(before, after) > 1 else 1
