"""Classify the calls on a shortcut or a branch."""

import dataclasses
import itertools
import math

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.graphs.insides import unwrapped

L = keras.layers


def _each_size(*names):
    """Return the layer classes for 1D to 3D that this Keras version has."""
    classes = [f"{name}{n}D" for name in names for n in (1, 2, 3)]
    return tuple(getattr(L, name) for name in classes if hasattr(L, name))


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
    L.Normalization,
)
_RESIZING = (*_each_size("UpSampling"), L.Resizing)
_PASSING = (
    L.Identity,
    L.Dropout,
    L.GaussianDropout,
    L.GaussianNoise,
    *_each_size("SpatialDropout", "ZeroPadding", "Cropping"),
    L.CenterCrop,
    L.Flatten,
    L.Permute,
    L.Rescaling,
    L.Reshape,
    *_RESIZING,
)
# Sigmoid and the like are not among these: they make the factors of gates.
_RECTIFIERS = (L.ReLU, L.LeakyReLU, L.PReLU, L.ELU)
_RECTIFIER_NAMES = frozenset(
    "relu relu6 leaky_relu elu selu celu gelu silu swish hard_silu mish".split()
)

# Operations that are linear in their one operand, by the name of the class.
_POOLING_OPS = frozenset(
    "Amax AveragePool AdaptiveAveragePool AdaptiveMaxPool Max MaxPool Mean "
    "Sum".split()
)
_RESAMPLING_OPS = _POOLING_OPS | {"Resize"}
PRODUCT_OPS = frozenset(
    "Conv DepthwiseConv Dot Einsum Matmul SeparableConv Tensordot".split()
)
NORM_OPS = ("BatchNorm", "LayerNorm", "RMSNorm")
SCALING_OPS = ("Divide", "Multiply", "TrueDivide")
# Operations that multiply one operand by another, which may be weights.
WEIGHING_OPS = PRODUCT_OPS.union(SCALING_OPS, NORM_OPS)
_PASSING_OPS = frozenset(
    "Add Array Cast Concatenate ConvertToTensor Copy CropImages "
    "DepthToSpace Divide ExpandDims Flip GetItem Moveaxis Multiply "
    "Negative Normalize Pad PadImages Ravel Repeat Reshape Resize Roll Slice "
    "SpaceToDepth Split Squeeze Stack StopGradient Subtract Swapaxes Tile "
    "Transpose TrueDivide Unstack".split()
).union(NORM_OPS)
_RECTIFIER_OPS = frozenset(
    "Relu Relu6 LeakyRelu Elu Selu Celu Gelu Silu HardSilu".split()
)
JOINING = ("Concatenate", "Stack")


@dataclasses.dataclass(frozen=True)
class Steps:
    """The kinds of steps in one or several calls.

    Attributes:
        pattern: String with a letter for each product (P), activation like
            ReLU (A) and other step that is not linear (X), in order. Norms,
            pooling and rearrangements count as linear and have no letter.
        kernels: Number of learned kernels.
        learned: True if anything is learned.
        resamples: True if positions are pooled, left out or repeated.
        pointwise: True if each kernel reads a single position.
    """

    pattern: str = ""
    kernels: int = 0
    learned: bool = False
    resamples: bool = False
    pointwise: bool = True

    def __add__(self, other):
        return Steps(
            self.pattern + other.pattern,
            self.kernels + other.kernels,
            self.learned or other.learned,
            self.resamples or other.resamples,
            self.pointwise and other.pointwise,
        )

    @property
    def linear(self):
        return not {*self.pattern} & {"A", "X"}

    @property
    def is_activated(self):
        """True if the steps are products and activations, with weights.

        The standard deviation with which a variational model scales noise is
        not such a branch, nor is the factor of a gate.
        """
        return self.learned and {*self.pattern} == {"A", "P"}

    @property
    def one_layer(self):
        """True if there is no activation between two products."""
        layers = "".join(k for k, _ in itertools.groupby(self.pattern))
        return "X" not in layers and "PAP" not in layers


def steps_of(nodes, graph, open_layers=False):
    """Return the `Steps` of these calls together.

    Args:
        nodes: Calls of `graph`.
        graph: A `TensorGraph`.
        open_layers: Boolean. Trace the `call` of users' layers. Otherwise
            each of them counts as a step that is not linear.
    """
    found = (_step(node, graph, open_layers) for node in nodes)
    return sum(found, start=Steps())


def _step(node, graph, open_layers):
    inside = graph.insides.of_model(node)
    if inside is None and open_layers and is_opaque(node.operation):
        traced = graph.insides.of_layer(node)
        inside = traced and traced[:2]
    if inside:
        # Without operands are inputs, and constants such as zeros to pad with.
        inner = [n for n in inside[1].nodes if inside[1].operands(n)]
        return steps_of(inner, inside[1], open_layers)
    pattern, resamples = _pattern(node, graph.operands(node))
    return Steps(
        pattern=pattern,
        kernels=_kernels(node),
        learned=learns(node),
        resamples=resamples,
        pointwise=_is_pointwise(node),
    )


def _pattern(node, operands):
    """Return the letters of `Steps.pattern` for a call, and if it resamples."""
    name = type(node.operation).__name__
    operation = unwrapped(node.operation)
    if len(operands) != 1 and name not in JOINING:
        return "X", False
    if isinstance(operation, L.Layer):
        resamples = isinstance(operation, (*POOLING, *_RESIZING))
        return _layer_pattern(operation), resamples
    resamples = name in _RESAMPLING_OPS or is_strided(node)
    return _operation_pattern(name, node, operands), resamples


def _layer_pattern(operation):
    if isinstance(operation, (*_PRODUCT, L.Activation)):
        product = "P" if isinstance(operation, _PRODUCT) else ""
        return product + _activation_pattern(operation.activation)
    if isinstance(operation, _RECTIFIERS):
        return "A"
    known = (*POOLING, *_NORMALISATION, *_PASSING, L.Concatenate)
    return "" if isinstance(operation, known) else "X"


def _activation_pattern(activation):
    if activation is keras.activations.linear:
        return ""
    name = getattr(activation, "__name__", None)
    return "A" if name in _RECTIFIER_NAMES else "X"


def _operation_pattern(name, node, operands):
    if name in _RECTIFIER_OPS:
        return "A"
    if name in PRODUCT_OPS:
        return "P"
    if name in ("Divide", "TrueDivide", "Take"):
        # A table from which the operand chooses rows is no shortcut.
        return "" if node.arguments.args[0] is operands[0] else "X"
    return "" if name in _PASSING_OPS | _POOLING_OPS else "X"


def multiplies(operation):
    """Return whether an operation or layer multiplies its operands."""
    is_layer = isinstance(operation, (L.Attention, L.Dot))
    return is_layer or type(operation).__name__ in PRODUCT_OPS


# FNet's f(x): they mix positions as attention does, but without weights.
_FOURIER_OPS = frozenset({"FFT", "FFT2", "IFFT2", "RFFT", "IRFFT"})


def learns(node):
    """Return whether a call has weights, or is a Fourier transform."""
    operation = node.operation
    if type(operation).__name__ in _FOURIER_OPS:
        return True
    # Also an operation that runs functions has them, see `inside.closures`.
    if hasattr(operation, "weights"):
        return bool(operation.weights)
    product = type(operation).__name__ in PRODUCT_OPS
    return any(
        len(x.shape) > 1 if product else not keras_internals.is_array(x)
        for x in keras_internals.constants(node)
    )


def _kernels(node):
    operation = node.operation
    if isinstance(operation, L.Layer):
        return sum(map(_is_kernel, operation.weights))
    if type(operation).__name__ not in PRODUCT_OPS:
        return 0
    return sum(len(x.shape) > 1 for x in keras_internals.constants(node))


def _is_kernel(weight):
    """Return whether a weight is a kernel.

    A vector is a bias or a scale; the biases of attention heads are matrices.
    """
    return len(weight.shape) > 1 and weight.name != "bias"


def _is_pointwise(node):
    size = getattr(unwrapped(node.operation), "kernel_size", 1)
    return math.prod(size if isinstance(size, tuple) else (size,)) == 1


def is_strided(node):
    """Return whether a call slices positions with a step, `x[:, ::2]`."""
    return math.prod(slice_steps(node)) > 1


def slice_steps(node):
    """Return the steps of a slice, except those of batch and channels."""
    if type(node.operation).__name__ != "GetItem":
        return [1]
    # Both may have been passed by name.
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
