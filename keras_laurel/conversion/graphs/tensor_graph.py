"""Which tensor of a functional model is computed from which, and how."""

import collections

import keras
import numpy as np

from keras_laurel.conversion import keras_internals

L = keras.layers
_POOLING = tuple(
    getattr(L, f"{kind}Pooling{n}D")
    for kind in ("Average", "Max")
    for n in (1, 2, 3)
)
_CONVOLUTION = (
    L.Conv1D,
    L.Conv2D,
    L.Conv3D,
    L.DepthwiseConv1D,
    L.DepthwiseConv2D,
    L.SeparableConv1D,
    L.SeparableConv2D,
)
_PRODUCT = (*_CONVOLUTION, L.Dense, L.EinsumDense)
_NORMALISATION = (
    L.BatchNormalization,
    L.LayerNormalization,
    L.GroupNormalization,
    L.RMSNormalization,
)
_PADDING = (
    L.ZeroPadding1D,
    L.ZeroPadding2D,
    L.ZeroPadding3D,
)
_PASSING = (L.Identity, L.Dropout, L.SpatialDropout2D, *_PADDING)
_UPSAMPLING = (
    L.UpSampling1D,
    L.UpSampling2D,
    L.UpSampling3D,
    L.Conv1DTranspose,
    L.Conv2DTranspose,
    L.Conv3DTranspose,
    L.Resizing,
)


class TensorGraph:
    """Ancestry among the tensors of one functional model.

    Ancestry is kept per tensor, not per call: the two outputs of a split are
    different tensors. The ancestors of a tensor are a bit set, an integer.

    Args:
        model: A functional model.
    """

    def __init__(self, model):
        self.nodes = keras_internals.nodes(model)
        self._bit, self._ancestors, self._producer = {}, {}, {}
        self._consumers = collections.defaultdict(list)
        self._calls = collections.defaultdict(list)
        self._outputs = {id(t) for t in model.outputs}
        for node in self.nodes:
            self._add(node)

    def _add(self, node):
        before = 0
        for tensor in self.inputs(node):
            before |= self._ancestors[id(tensor)] | self._bit[id(tensor)]
            self._consumers[id(tensor)].append(node)
        for tensor in node.outputs:
            self._bit[id(tensor)] = 1 << len(self._bit)
            self._ancestors[id(tensor)] = before
            self._producer[id(tensor)] = node
        self._calls[id(node.operation)].append(node)

    def inputs(self, node):
        return keras_internals.node_inputs(node)

    def calls(self, operation):
        """The calls of an operation: several where it is shared."""
        return self._calls[id(operation)]

    def is_ancestor(self, tensor, of):
        return bool(self._bit[id(tensor)] & self._ancestors[id(of)])

    def position(self, tensor):
        """Where the tensor stands in the order of computation."""
        return self._bit[id(tensor)].bit_length()

    def between(self, start, end):
        """The calls on the ways from `start` to `end`, in order."""
        on_the_way = self._ancestors[id(end)] | self._bit[id(end)]
        return [
            node
            for node in self.nodes
            if any(
                self._bit[id(t)] & on_the_way and self.is_ancestor(start, t)
                for t in node.outputs
            )
        ]

    def why_not_identity(self, skip, branch):
        """Why `skip + branch` is no `x + f(x)`; `None` where it is one."""
        nodes = self.between(skip, branch)
        if not any(_transforms_values(node) for node in nodes):
            return "the branch learns nothing from the values of the skip"
        if any(_upsamples(node) for node in nodes):
            return "the branch changes the resolution and comes back"
        if not (self._is_closed(nodes, branch) or self._starts_at(nodes, skip)):
            return "a sum of branches that other parts of the graph enter"
        return None

    def shortcut(self, skip, branch, residual_nodes):
        """`(start, kind)` if `skip` is a linear shortcut around `branch`."""
        steps = []
        tensor = skip
        while True:
            node = self._producer[id(tensor)]
            if len(self.inputs(node)) != 1 or not _is_linear(node.operation):
                return None
            steps.append(node)
            (tensor,) = self.inputs(node)
            if sum(_has_kernel(step) for step in steps) > 1:
                return None
            if self.is_ancestor(tensor, branch):
                break
        nodes = self.between(tensor, branch)
        if not self._is_branch(nodes, steps, tensor, branch, residual_nodes):
            return None
        return tensor, _kind(steps)

    def _is_branch(self, nodes, steps, start, branch, residual_nodes):
        return (
            sum(map(_has_kernel, nodes)) > sum(map(_has_kernel, steps))
            and not residual_nodes.intersection(nodes)
            and not any(_upsamples(node) for node in nodes)
            and self._is_closed(nodes, branch)
            and self._starts_at(nodes, start)
            and len(self._consumers[id(branch)]) == 1
        )

    def _is_closed(self, nodes, end):
        """No tensor inside the branch is used outside it."""
        inside = set(nodes)
        return all(
            inside.issuperset(self._consumers[id(t)])
            and id(t) not in self._outputs
            for node in nodes
            for t in node.outputs
            if t is not end
        )

    def _starts_at(self, nodes, start):
        """No other tensor enters the branch."""
        inside = {id(t) for node in nodes for t in node.outputs} | {id(start)}
        return all(id(t) in inside for n in nodes for t in self.inputs(n))


def _kind(steps):
    if any(_is_layer_with_weights(step.operation) for step in steps):
        return "projection"
    if any(isinstance(step.operation, _POOLING) for step in steps):
        return "pooled"
    return "identity"


def _is_layer_with_weights(operation):
    return isinstance(operation, L.Layer) and bool(operation.weights)


def _is_linear(operation):
    if isinstance(operation, (*_PRODUCT, L.Activation)):
        return operation.activation is keras.activations.linear
    return isinstance(operation, (*_NORMALISATION, *_POOLING, *_PASSING))


def _has_kernel(node):
    operation = node.operation
    return isinstance(operation, L.Layer) and any(
        len(w.shape) > 1 for w in operation.weights
    )


def _upsamples(node):
    if isinstance(node.operation, _UPSAMPLING):
        return True
    if isinstance(node.operation, _PADDING) or len(node.outputs) != 1:
        return False
    tensors = keras_internals.node_inputs(node)
    shape = node.outputs[0].shape
    if not tensors or any(len(t.shape) != len(shape) for t in tensors):
        return False
    return len(shape) > 3 and _grows(node.outputs[0], tensors)


def _grows(output, inputs):
    """Whether both axes of an image at least double.

    A gate of size 1 that is broadcast over an image does not count: the image
    is an input of that product.
    """
    sizes = [max(t.shape[i] or 0 for t in inputs) for i in range(4)]
    grown = [
        before and size and size >= 2 * before
        for before, size in zip(sizes, output.shape)
    ]
    return sum(map(bool, grown)) >= 2


def _transforms_values(node):
    """Whether a call has weights and its output depends on input values."""
    operation = node.operation
    if not _is_layer_with_weights(operation):
        return False
    if isinstance(operation, (*_PRODUCT, *_NORMALISATION)):
        return True
    tensors = keras_internals.node_inputs(node)
    return len(tensors) != 1 or _passes_nan_on(operation, tensors[0])


def _passes_nan_on(layer, tensor):
    """Feed NaN: a layer that reads only the shape gives none back.

    `PositionEmbedding(tokens)` is such a layer. Unknown sizes are tried in
    turn, since a position table may be shorter than a guess.
    """
    for size in (8, 1, 32):
        shape = [size if d is None else d for d in tensor.shape]
        shape[0] = tensor.shape[0] or 1
        try:
            # The scope drops what the layer assigns to its variables.
            with keras.StatelessScope():
                nan = keras.ops.full(shape, np.nan, dtype=tensor.dtype)
                outputs = layer(nan)
        except Exception:  # noqa: S112 (any layer may refuse any size)
            continue
        return any(
            np.isnan(
                keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
            ).any()
            for y in keras.tree.flatten(outputs)
        )
    return True
