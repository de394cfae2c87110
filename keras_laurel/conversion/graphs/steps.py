"""What the calls on a shortcut or a branch do to what comes in."""

import dataclasses
import math

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.graphs.insides import unwrapped

L = keras.layers


def _each_size(*names):
    return tuple(getattr(L, f"{name}{n}D") for name in names for n in (1, 2, 3))


POOLING = _each_size(
    "AveragePooling",
    "MaxPooling",
    "AdaptiveAveragePooling",
    "AdaptiveMaxPooling",
)
CONVOLUTION = (
    *_each_size("Conv"),
    L.DepthwiseConv1D,
    L.DepthwiseConv2D,
    L.SeparableConv1D,
    L.SeparableConv2D,
)
_PRODUCT = (*CONVOLUTION, L.Dense, L.EinsumDense)
_NORMALISATION = (
    L.BatchNormalization,
    L.GroupNormalization,
    L.LayerNormalization,
    L.RMSNormalization,
    L.UnitNormalization,
)
_PASSING = (
    L.Identity,
    L.Dropout,
    L.GaussianDropout,
    L.GaussianNoise,
    *_each_size("SpatialDropout", "ZeroPadding", "Cropping"),
    L.Flatten,
    L.Permute,
    L.Rescaling,
    L.Reshape,
)
_RECTIFIERS = (L.ReLU, L.LeakyReLU, L.PReLU, L.ELU)
_RECTIFIER_NAMES = frozenset(
    "relu relu6 leaky_relu elu selu celu gelu silu swish hard_silu mish".split()
)

# Operations that are linear in their one operand, by the name of the class.
_POOLING_OPS = frozenset(
    "Amax AveragePool AdaptiveAveragePool AdaptiveMaxPool Max MaxPool Mean "
    "Sum".split()
)
_PRODUCT_OPS = frozenset(
    "Conv DepthwiseConv Dot Einsum Matmul SeparableConv Tensordot".split()
)
_PASSING_OPS = frozenset(
    "Add Array BatchNorm Cast Concatenate ConvertToTensor Copy CropImages "
    "DepthToSpace Divide ExpandDims Flip GetItem LayerNorm Moveaxis Multiply "
    "Negative Normalize Pad PadImages Ravel RMSNorm Reshape Roll Slice "
    "SpaceToDepth Split Squeeze Stack StopGradient Subtract Swapaxes Tile "
    "Transpose TrueDivide Unstack".split()
)
_RECTIFIER_OPS = frozenset(
    "Relu Relu6 LeakyRelu Elu Selu Celu Gelu Silu HardSilu".split()
)
_JOINING = ("Concatenate", "Stack")


@dataclasses.dataclass(frozen=True)
class Steps:
    """What a call, or several, are made of.

    Attributes:
        linear: Whether only products, norms, poolings and rearrangements.
        rectified: Whether nothing else than linear steps and activations like
            ReLU.
        kernels: Number of learned kernels.
        learned: Whether anything is learned.
        pools: Whether positions are pooled or left out.
        pointwise: Whether each kernel looks at one position.
    """

    linear: bool = True
    rectified: bool = True
    kernels: int = 0
    learned: bool = False
    pools: bool = False
    pointwise: bool = True

    def __add__(self, other):
        return Steps(
            self.linear and other.linear,
            self.rectified and other.rectified,
            self.kernels + other.kernels,
            self.learned or other.learned,
            self.pools or other.pools,
            self.pointwise and other.pointwise,
        )


def steps_of(nodes, graph, open_layers=False):
    """The `Steps` of these calls together.

    Args:
        nodes: Calls of `graph`.
        graph: A `TensorGraph`.
        open_layers: Boolean. Whether the `call` of users' layers is traced,
            or each of them is taken to be anything.
    """
    found = (_step(node, graph, open_layers) for node in nodes)
    return sum(found, start=Steps())


def _step(node, graph, open_layers):
    inside = graph.insides.of_model(node)
    if inside is None and open_layers and is_opaque(node.operation):
        traced = graph.insides.of_layer(node)
        inside = traced and traced[:2]
    if inside:
        inner = [n for n in inside[1].nodes if not n.is_input]
        return steps_of(inner, inside[1], open_layers)
    operands = graph.operands(node)
    return dataclasses.replace(
        _kind_of_step(node, operands),
        kernels=_kernels(node),
        learned=learns(node),
        pointwise=_is_pointwise(node),
    )


def _kind_of_step(node, operands):
    name = type(node.operation).__name__
    alone = len(operands) == 1 or name in _JOINING
    operation = unwrapped(node.operation)
    if isinstance(operation, L.Layer):
        linear, pools = _linear_layer(operation)
        rectified = linear or _rectifies(operation)
    else:
        pools = name in _POOLING_OPS or (alone and is_strided(node))
        linear = _is_linear_op(name, node, operands)
        rectified = linear or name in _RECTIFIER_OPS
    return Steps(linear and alone, rectified and alone, pools=pools)


def _linear_layer(operation):
    """`(linear, pools)` of a layer."""
    if isinstance(operation, (*_PRODUCT, L.Activation)):
        return operation.activation is keras.activations.linear, False
    pools = isinstance(operation, POOLING)
    known = (*_NORMALISATION, *_PASSING, L.Concatenate)
    return pools or isinstance(operation, known), pools


def _rectifies(operation):
    if isinstance(operation, (*_PRODUCT, L.Activation)):
        name = getattr(operation.activation, "__name__", None)
        return name in _RECTIFIER_NAMES
    return isinstance(operation, _RECTIFIERS)


def _is_linear_op(name, node, operands):
    if name in ("Divide", "TrueDivide"):
        return any(node.arguments.args[0] is t for t in operands)
    return name in _PASSING_OPS | _POOLING_OPS | _PRODUCT_OPS


def learns(node):
    """Whether weights take part in a call."""
    operation = node.operation
    if isinstance(operation, L.Layer):
        return bool(operation.weights)
    return any(
        isinstance(x, keras.Variable) or len(x.shape) > 1
        for x in keras_internals.constants(node)
    )


def _kernels(node):
    operation = node.operation
    if isinstance(operation, L.Layer):
        return sum(map(_is_kernel, operation.weights))
    if type(operation).__name__ not in _PRODUCT_OPS:
        return 0
    return sum(len(x.shape) > 1 for x in keras_internals.constants(node))


def _is_kernel(weight):
    """A vector is a bias or a scale, and so are the biases of heads."""
    return len(weight.shape) > 1 and weight.name != "bias"


def _is_pointwise(node):
    size = getattr(unwrapped(node.operation), "kernel_size", 1)
    return math.prod(size if isinstance(size, tuple) else (size,)) == 1


def is_strided(node):
    """Whether a call is a slice like `x[:, ::2, ::2]`, in positions."""
    return math.prod(slice_steps(node)) > 1


def slice_steps(node):
    """The steps of a slice, those of the batch and the channels left out."""
    if type(node.operation).__name__ != "GetItem":
        return [1]
    x, key = (*node.arguments.args, *node.arguments.kwargs.values())[:2]
    key = key if isinstance(key, (tuple, list)) else (key,)
    if Ellipsis in key:
        at = list(key).index(Ellipsis)
        left = len(x.shape) - sum(k is not None for k in key) + 1
        key = (*key[:at], *[slice(None)] * left, *key[at + 1 :])
    key = [k for k in key if k is not None]
    return [
        abs(k.step)
        for axis, k in enumerate(key)
        if isinstance(k, slice) and k.step and 0 < axis < len(x.shape) - 1
    ] or [1]
