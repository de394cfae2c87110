"""Exports that fail for plain models too, on the versions we pin."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limit:
    """The reason why an export of a plain model fails.

    Attributes:
        reason: For the page.
        error: Regular expression of the error.
    """

    reason: str
    error: str


_NO_XLA = Limit(
    "Keras exports PyTorch models to SavedModel through `torch_xla`, which "
    "the installed PyTorch has no build of",
    "torch_xla|no attribute 'shape'",
)
_NOT_TORCH = Limit(
    "`torch.export` is for models on PyTorch", "requires PyTorch backend"
)
_NO_JAX_LITERT = Limit(
    "Keras exports LiteRT from TensorFlow and PyTorch alone",
    "requires TensorFlow or PyTorch",
)
_XLA_CALL = Limit(
    "JAX writes its programs as one `XlaCallModule` for TensorFlow, which "
    "OpenVINO does not read",
    "XlaCallModule",
)
_POOLING = Limit(
    "ONNX Runtime refuses the max pooling that `jax2onnx` writes",
    "Unsupported pooling size",
)
_NO_LENGTH = Limit(
    "the causal mask asks for a length that Keras hides from it while "
    "`jax2onnx` traces",
    "jax.numpy.arange",
)
_FLEX = Limit(
    "rotary embeddings become operations of TensorFlow, which need an "
    "interpreter with the Flex delegate",
    "Select TensorFlow op",
)
_LITERT_TORCH = Limit(
    "`litert-torch` writes a program that its own verification refuses",
    "Verification failed",
)

# By backend and format: a limit for all models, or one for each of some.
LIMITS = {
    ("torch", "SavedModel"): _NO_XLA,
    ("tensorflow", "torch.export"): _NOT_TORCH,
    ("jax", "torch.export"): _NOT_TORCH,
    ("jax", "LiteRT"): _NO_JAX_LITERT,
    ("jax", "OpenVINO"): _XLA_CALL,
    ("jax", "ONNX"): {
        "ResNet": _POOLING,
        "Llama": _NO_LENGTH,
        "GPT-2": _NO_LENGTH,
    },
    ("tensorflow", "LiteRT"): {"Llama": _FLEX},
    ("torch", "LiteRT"): {"Llama": _LITERT_TORCH, "GPT-2": _LITERT_TORCH},
}


def limit(backend, format_name, model):
    """The `Limit` of a plain model's export, or `None`."""
    found = LIMITS.get((backend, format_name))
    return found.get(model) if isinstance(found, dict) else found
