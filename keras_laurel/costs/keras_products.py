"""Count the products of a model; uses private parts of Keras' backends.

Keras does not count operations. But every product of `keras.ops` calls one of
a few functions of the backend (`PRODUCTS`), and each backend can find the
shapes of a model's outputs without computing them. So these functions are
wrapped during such a run, to note the shapes of their arguments. The private
parts are

- `keras.src.backend.compute_output_spec`, which finds the shapes;
- the modules `keras.src.backend.numpy`, `.nn` and `.core`, which have these
  functions, and `keras.src.backend` itself, where layers find some of them.

`tests/costs/test_keras_products.py` fails if their names or arguments change.
"""

import functools

import keras
from keras import ops
from keras.src import backend

from keras_laurel.costs import products
from keras_laurel.costs.replacing import replaced
from keras_laurel.layers.laurel import observed

PRODUCTS = {
    "numpy": ("matmul", "dot", "inner", "vdot", "tensordot", "einsum"),
    "nn": (
        "conv",
        "depthwise_conv",
        "separable_conv",
        "conv_transpose",
        "dot_product_attention",
    ),
}
OPERATORS = {"__matmul__": "matmul", "__rmatmul__": "reversed_matmul"}
# A backend traces their functions once, or once per branch, and not once per
# iteration, so products in them cannot be counted.
CONTROL_FLOW = (
    "associative_scan",
    "cond",
    "fori_loop",
    "map",
    "scan",
    "switch",
    "vectorized_map",
    "while_loop",
)
# Fused implementations for a device, which do not use `PRODUCTS`.
RECURRENT = ("gru", "lstm", "rnn")


def product_flops(function, inputs, note=None):
    """Count the floating point operations of products in `function(inputs)`.

    Nothing is computed, and variables need no values.

    Args:
        function: A function of tensors, such as a model.
        inputs: Structure of `keras.KerasTensor` without undefined sizes.
        note: Function that `observed` calls for each connection that runs.

    Raises:
        ValueError: for products whose number depends on values.
    """
    count = _Count()

    def run(inputs):
        # On PyTorch it runs again if the device without memory fails.
        count.flops = 0
        with replaced(_operators(count, keras.tree.flatten(inputs))):
            return function(inputs)

    # Taken before it is replaced by one that pauses the count.
    ask, constant = backend.compute_output_spec, ops.convert_to_tensor(0.0)
    with (
        replaced(_replacements(count)),
        replaced(_operators(count, [constant])),
        observed(count.noting(note)),
        # Otherwise Keras' scope for shapes would initialize variables that
        # have no values, when it ends.
        keras.StatelessScope(initialize_variables=False),
    ):
        ask(run, inputs)
    return count.flops


def _replacements(count):
    for module, names in PRODUCTS.items():
        for name in names:
            make = functools.partial(count.of_product, name)
            yield getattr(backend, module), name, make
    for name in CONTROL_FLOW:
        make = functools.partial(count.of_control_flow, name)
        yield backend.core, name, make
        if hasattr(backend, name):
            yield backend, name, make
    for name in RECURRENT:
        yield backend, name, functools.partial(count.of_control_flow, name)
    # Layers find shapes themselves to decide on rematerialization; these
    # runs must not be counted.
    yield backend, "compute_output_spec", count.paused
    if keras.backend.backend() == "torch":
        yield backend.numpy, "repeat", _repeat


def _operators(count, tensors):
    """Yield replacements of Python's `@`, which bypasses Keras."""
    for tensor_class in {type(x) for x in tensors}:
        for operator, name in OPERATORS.items():
            make = functools.partial(count.of_product, name)
            yield tensor_class, operator, make


class _Count:
    """Counter of FLOPs that wraps the functions to be counted."""

    def __init__(self):
        self.flops = 0
        self.is_paused = False

    def paused(self, function):
        def uncounted(*args, **kwargs):
            before, self.is_paused = self.is_paused, True
            try:
                return function(*args, **kwargs)
            finally:
                self.is_paused = before

        return uncounted

    def of_product(self, name, function):
        # A product may call another one, which must not be counted again.
        outermost = self.paused(function)

        def counted(*args, **kwargs):
            output = outermost(*args, **kwargs)
            # After `NotImplemented` Python asks the other operand, which
            # counts.
            if not self.is_paused and output is not NotImplemented:
                self.flops += getattr(products, name)(output, *args, **kwargs)
            return output

        return counted

    def noting(self, note):
        def noted(*args):
            if note and not self.is_paused:
                note(*args)

        return noted

    def of_control_flow(self, name, function):
        def checked(*args, **kwargs):
            before = self.flops
            output = function(*args, **kwargs)
            if self.flops > before or name in RECURRENT:
                raise ValueError(
                    "Argument `model` must not compute products in a loop or "
                    "branch, since shapes do not tell how often they run. "
                    f"Received: a model with products inside `{name}`. Use a "
                    "model without recurrent layers, whose products are "
                    "outside of `ops.scan` and the like."
                )
            return output

        return checked


def _repeat(keras_repeat):
    """Return a `repeat` for PyTorch's meta device, where Keras' recurses."""

    def repeat(x, repeats, axis=None):
        if getattr(x, "is_meta", False) and isinstance(repeats, int):
            return x.repeat_interleave(repeats, dim=axis)
        return keras_repeat(x, repeats, axis)

    return repeat
