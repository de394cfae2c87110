"""What a LAuReL layer refuses, before it has any weight."""

import math
import numbers
import sys
import warnings

import keras
import numpy as np

from keras_laurel.checks import is_integer
from keras_laurel.checks import shapes_agree
from keras_laurel.equation import NUM_RESIDUAL_WEIGHTS

RESIDUAL_WEIGHTS = tuple(NUM_RESIDUAL_WEIGHTS)
FREE = ("free", "free_branch")
_NOT_THE_USERS = ("keras", "keras_hub", "keras_laurel")


def check_options(layer):
    if not keras.backend.is_float_dtype(layer.compute_dtype):
        raise ValueError(
            "Argument `dtype` must be a floating point dtype, or a policy of "
            f"one. Received: dtype={layer.compute_dtype!r}. Use 'float32' or "
            "'mixed_bfloat16', or leave it out."
        )
    if layer.residual_weights not in (None, *RESIDUAL_WEIGHTS):
        raise ValueError(
            f"`residual_weights` got {layer.residual_weights!r}; it needs "
            f"None or one of {RESIDUAL_WEIGHTS}."
        )
    if layer.normalize not in (None, "rms"):
        raise ValueError(
            f"`normalize` got {layer.normalize!r}; it needs None or 'rms'."
        )
    if not callable(layer.a_initializer):
        raise ValueError(
            f"`a_initializer` got {layer.a_initializer!r}; it needs an "
            "initializer or its name, such as 'glorot_uniform'."
        )
    _check_every_option_has_an_effect(layer)


def check_scale(scale):
    """The scale as Python's `float`, which widens no dtype."""
    try:
        value = float(scale) if isinstance(scale, numbers.Real) else math.nan
    except OverflowError:  # An integer may be too large for any float.
        value = math.inf
    if not 0 < value < math.inf:
        raise ValueError(
            f"`scale` got {scale!r}; it needs a finite number above 0."
        )
    return value


def check_num_activations(value):
    if isinstance(value, str) and value == "all":
        return value
    if not is_integer(value, 0):
        raise ValueError(
            f"`num_activations` got {value!r}; it needs an integer of at "
            "least 0, or 'all'."
        )
    return int(value)


def check_start(start, residual_weights):
    """`None`, a float, or a tuple of two."""
    if start is None:
        return None
    if residual_weights not in FREE:
        raise ValueError(
            f"`start` got {start!r} with residual_weights="
            f"{residual_weights!r}, which starts where both weights are "
            "`scale`. Use 'free' or 'free_branch', or leave `start` out."
        )
    try:
        values = np.asarray(start)
    except ValueError:  # Lists of unequal lengths.
        values = np.asarray(None)
    if values.dtype.kind not in "fiu":
        values = np.asarray(np.nan)
    shape = (2,) if residual_weights == "free" else ()
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(
            f"`start` got {start!r}; {residual_weights!r} needs "
            + (
                "a pair `(alpha, beta)` of finite numbers."
                if residual_weights == "free"
                else "a finite number, where `alpha` starts."
            )
        )
    return tuple(values.tolist()) if values.shape else float(values)


def check_built(layer):
    if not layer.built:
        raise ValueError(
            f"`{type(layer).__name__}` got no inputs yet; {layer.name!r} has "
            "`alpha` and `beta` once it is built. Call it on `[x, fx]` first."
        )


def _check_every_option_has_an_effect(layer):
    name = type(layer).__name__
    if not (layer.residual_weights or layer.rank or layer.num_activations):
        raise ValueError(
            f"`{name}` got no `residual_weights`, no `rank` and no "
            "`num_activations`; it would learn nothing. Choose at least "
            "one, or use `keras.layers.Add`."
        )
    if layer.per_channel and not layer.residual_weights:
        raise ValueError(
            f"`{name}` got `per_channel=True` without `residual_weights`; "
            f"choose one of {RESIDUAL_WEIGHTS}."
        )
    bounded = tuple(x for x in RESIDUAL_WEIGHTS if x not in FREE)
    if not layer.keep_branch and layer.residual_weights not in bounded:
        raise ValueError(
            f"`{name}` got `keep_branch=False` with residual_weights="
            f"{layer.residual_weights!r}: f(x) is kept for the gradient of "
            "alpha, and found again by a division by alpha, which must be "
            f"above 0. Choose one of {bounded}, or leave `keep_branch` out."
        )
    if layer.first_activation and not layer.num_activations:
        raise ValueError(
            f"`{name}` got `first_activation=True` without `num_activations`; "
            "pass the number of activations to weigh besides the first, 1 for "
            "the skip alone."
        )
    if layer.share_low_rank and not (layer.rank and layer.num_activations):
        raise ValueError(
            f"`{name}` got `share_low_rank=True` with rank={layer.rank} "
            f"and num_activations={layer.num_activations}; sharing needs "
            "both. Pass both, or leave `share_low_rank` out."
        )
    if layer.normalize and not (layer.rank or layer.num_activations):
        raise ValueError(
            f"`{name}` got `normalize={layer.normalize!r}` with nothing to "
            "normalise; pass `rank` or `num_activations`."
        )


def check_inputs(layer, inputs):
    _check_number(layer, inputs)
    for i, x in enumerate(inputs):
        _check_input(layer, i, x)
    _check_equal(layer, [tuple(x.shape) for x in inputs])


def _check_input(layer, i, x):
    name = type(layer).__name__
    if not hasattr(x, "dtype"):
        raise ValueError(
            f"`{name}` got an input {i} of type {type(x).__name__}; it "
            "needs tensors. Convert it with "
            "`keras.ops.convert_to_tensor`, or leave it out."
        )
    dtype = keras.backend.standardize_dtype(x.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"`{name}` got an input {i} of dtype {dtype}; it needs "
            "floating point inputs. Cast it with "
            "`keras.ops.cast(x, 'float32')`."
        )


def _check_number(layer, inputs):
    name = type(layer).__name__
    most = max(layer.most_activations, 1) + 1
    count = len(inputs) if isinstance(inputs, (list, tuple)) else 1
    history = ", *previous" if layer.has_history else ""
    if count < 2:
        raise ValueError(
            f"`{name}` got {count or 'no'} input; it needs "
            f"`[x, fx{history}]`. Call it as `layer([x, fx{history}])`, "
            "the skip first."
        )
    if count > most:
        raise ValueError(
            f"`{name}` got {count} inputs; with num_activations="
            f"{layer.num_activations} it takes at most {most}, "
            f"`[x, fx{history}]`. Raise `num_activations` to "
            f"{count - 1}, or pass fewer previous activations."
        )
    if layer.num_inputs not in (None, count):
        raise ValueError(
            f"`{name}` got {count} inputs, and was built with "
            f"{layer.num_inputs}. Pass as many, or make a new layer."
        )


def check_shapes(layer, shapes):
    """The width D of the inputs, once they are found to agree."""
    name = type(layer).__name__
    if not isinstance(shapes, (list, tuple)):
        shapes = []
    if any(d is None or isinstance(d, numbers.Integral) for d in shapes):
        shapes = [shapes]
    _check_number(layer, shapes)
    _check_equal(layer, shapes)
    ndim = len(shapes[0])
    if ndim < 2 or not -ndim <= layer.axis < ndim or layer.axis % ndim == 0:
        raise ValueError(
            f"`{name}` got inputs of the shape {tuple(shapes[0])} and "
            f"axis={layer.axis}; it needs rank 2 or more and the axis of "
            "the features, which is not the batch axis."
        )
    widths = [s[layer.axis] for s in shapes if s[layer.axis] is not None]
    if not widths:
        raise ValueError(
            f"`{name}` got inputs of the shape {tuple(shapes[0])}; the "
            f"size of axis {layer.axis} must be known. Define it in "
            "`keras.Input`, or set `axis=1` for channels_first."
        )
    _check_rank(layer, widths[0])
    return widths[0]


def _check_equal(layer, shapes):
    if not shapes_agree(shapes):
        raise ValueError(
            f"`{type(layer).__name__}` got inputs of the shapes "
            f"{[tuple(s) for s in shapes]}; it needs equal shapes. "
            "Project the skip first, as a residual block does where the "
            "width changes."
        )


def _check_rank(layer, width):
    if not layer.rank:
        return
    name = type(layer).__name__
    if layer.rank > width:
        raise ValueError(
            f"`{name}` got rank={layer.rank} for inputs of width {width} "
            f"(axis {layer.axis}); it needs a rank of at most the width. "
            "Use a rank well below half of it."
        )
    if 2 * layer.rank >= width:
        warnings.warn(
            f"`{name}` has rank {layer.rank} at width {width}: the "
            "low-rank map has as many parameters as a full one, so the "
            "rank buys nothing. Use a rank below half the width.",
            stacklevel=_users_level(),
        )


def _users_level():
    """The `stacklevel` of the line that had the layer built.

    Between that and the caller of this function lie those of Keras, more or
    fewer by how the layer came to be built.
    """
    level, frame = 1, sys._getframe(1)
    while frame and _package(frame) in _NOT_THE_USERS:
        level, frame = level + 1, frame.f_back
    return level


def _package(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
