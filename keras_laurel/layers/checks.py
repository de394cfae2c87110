"""Checks of a LAuReL layer's options and inputs, before it has weights."""

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
            "Argument `residual_weights` must be None or one of "
            f"{RESIDUAL_WEIGHTS}. Received: "
            f"residual_weights={layer.residual_weights!r}."
        )
    if layer.normalize not in (None, "rms"):
        raise ValueError(
            "Argument `normalize` must be None or 'rms'. Received: "
            f"normalize={layer.normalize!r}."
        )
    if not callable(layer.a_initializer):
        raise ValueError(
            "Argument `a_initializer` must be an initializer or its name. "
            f"Received: a_initializer={layer.a_initializer!r}. Pass, for "
            "example, 'glorot_uniform'."
        )
    if layer.axis == 0:
        raise ValueError(
            "Argument `axis` must not be 0, which is the axis of the batch. "
            "Received: axis=0. Use axis=-1, or axis=1 for channels_first."
        )
    _check_every_option_has_an_effect(layer)


def check_scale(scale):
    """Return the scale as a Python `float`, which does not change dtypes."""
    try:
        value = float(scale) if isinstance(scale, numbers.Real) else math.nan
    except OverflowError:  # An integer may be too large for a float.
        value = math.inf
    if not 0 < value < math.inf:
        raise ValueError(
            "Argument `scale` must be a finite number above 0. Received: "
            f"scale={scale!r}."
        )
    return value


def check_num_activations(value):
    if isinstance(value, str) and value == "all":
        return value
    if not is_integer(value, 0):
        raise ValueError(
            "Argument `num_activations` must be an integer of at least 0, or "
            f"'all'. Received: num_activations={value!r}."
        )
    return int(value)


def check_start(start, residual_weights):
    """Return the start as `None`, a float, or a tuple of two floats."""
    if start is None:
        return None
    if residual_weights not in FREE:
        raise ValueError(
            "Argument `start` must be None unless `residual_weights` is "
            "'free' or 'free_branch'; other forms start where both weights "
            f"are `scale`. Received: start={start!r}, "
            f"residual_weights={residual_weights!r}. Use 'free' or "
            "'free_branch', or leave `start` out."
        )
    try:
        values = np.asarray(start)
    except ValueError:  # Lists of unequal lengths.
        values = np.asarray(None)
    if values.dtype.kind not in "fiu":
        values = np.asarray(np.nan)
    shape = (2,) if residual_weights == "free" else ()
    if values.shape != shape or not np.isfinite(values).all():
        expected = (
            "a pair `(alpha, beta)` of finite numbers"
            if residual_weights == "free"
            else "a finite number, the initial `alpha`"
        )
        raise ValueError(
            f"Argument `start` must be {expected}, with "
            f"residual_weights={residual_weights!r}. Received: "
            f"start={start!r}."
        )
    return tuple(values.tolist()) if values.shape else float(values)


def check_built(layer):
    if not layer.built:
        raise ValueError(
            f"`{type(layer).__name__}` must be built before `alpha` and "
            f"`beta` are read. Received: {layer.name!r}, which is not built. "
            "Call it on `[x, fx]` first."
        )


def _check_every_option_has_an_effect(layer):
    name = type(layer).__name__
    if not (layer.residual_weights or layer.rank or layer.num_activations):
        raise ValueError(
            f"`{name}` must have `residual_weights`, `rank` or "
            "`num_activations`. Received: residual_weights=None, rank=None, "
            f"num_activations={layer.num_activations}, so it would learn "
            "nothing. Choose at least one, or use `keras.layers.Add`."
        )
    if layer.per_channel and not layer.residual_weights:
        raise ValueError(
            "Argument `per_channel` must be False without `residual_weights`. "
            "Received: per_channel=True. Choose `residual_weights` from "
            f"{RESIDUAL_WEIGHTS}, or leave `per_channel` out."
        )
    bounded = tuple(x for x in RESIDUAL_WEIGHTS if x not in FREE)
    if not layer.keep_branch and layer.residual_weights not in bounded:
        raise ValueError(
            "Argument `keep_branch` must be True unless `residual_weights` is "
            f"one of {bounded}: without f(x) the gradient of alpha needs a "
            "division by alpha, which must be above 0. Received: "
            "keep_branch=False, "
            f"residual_weights={layer.residual_weights!r}. Choose one of "
            "these, or leave `keep_branch` out."
        )
    if layer.first_activation and not layer.num_activations:
        raise ValueError(
            "Argument `first_activation` must be False without "
            "`num_activations`. Received: first_activation=True. Pass in "
            "`num_activations` the number of activations to weigh besides "
            "the first, 1 for the skip alone."
        )
    if layer.share_low_rank and not (layer.rank and layer.num_activations):
        raise ValueError(
            "Argument `share_low_rank` must be False unless `rank` and "
            "`num_activations` are both set. Received: share_low_rank=True, "
            f"rank={layer.rank}, num_activations={layer.num_activations}. "
            "Pass both, or leave `share_low_rank` out."
        )
    if layer.normalize and not (layer.rank or layer.num_activations):
        raise ValueError(
            "Argument `normalize` must be None without `rank` and "
            "`num_activations`, where there is nothing to normalise. "
            f"Received: normalize={layer.normalize!r}. Pass `rank` or "
            "`num_activations`, or leave `normalize` out."
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
            f"The inputs of `{name}` must be tensors. Received: input {i} of "
            f"type {type(x).__name__}. Convert it with "
            "`keras.ops.convert_to_tensor`, or leave it out."
        )
    dtype = keras.backend.standardize_dtype(x.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            f"The inputs of `{name}` must be floating point. Received: input "
            f"{i} of dtype {dtype}. Cast it with "
            "`keras.ops.cast(x, 'float32')`."
        )


def _check_number(layer, inputs):
    name = type(layer).__name__
    most = max(layer.most_activations, 1) + 1
    count = len(inputs) if isinstance(inputs, (list, tuple)) else 1
    history = ", *previous" if layer.has_history else ""
    if count < 2:
        raise ValueError(
            f"The inputs of `{name}` must be `[x, fx{history}]`. Received: "
            f"{count or 'no'} input. Call it as `layer([x, fx{history}])`, "
            "the skip first."
        )
    if count > most:
        raise ValueError(
            f"The inputs of `{name}` must be at most {most} tensors, "
            f"`[x, fx{history}]`, with num_activations="
            f"{layer.num_activations}. Received: {count} inputs. Raise "
            f"`num_activations` to {count - 1}, or pass fewer previous "
            "activations."
        )
    if layer.num_inputs not in (None, count):
        raise ValueError(
            f"The inputs of `{name}` must be {layer.num_inputs} tensors, as "
            f"when it was built. Received: {count} inputs. Pass as many, or "
            "make a new layer."
        )


def check_equal_shapes(layer, shapes):
    """Raise if these are not as many shapes as the layer takes, all equal."""
    if not isinstance(shapes, (list, tuple)):
        shapes = []
    if any(d is None or isinstance(d, numbers.Integral) for d in shapes):
        shapes = [shapes]
    _check_number(layer, shapes)
    _check_equal(layer, shapes)


def check_shapes(layer, shapes):
    """Check the inputs' shapes and return their width D."""
    name = type(layer).__name__
    check_equal_shapes(layer, shapes)
    ndim = len(shapes[0])
    if ndim < 2 or not -ndim <= layer.axis < ndim or layer.axis % ndim == 0:
        raise ValueError(
            f"The inputs of `{name}` must have rank 2 or more, and `axis` "
            "must be the axis of the features, which is not the batch axis. "
            f"Received: shape {tuple(shapes[0])}, axis={layer.axis}. Add a "
            "batch axis, or set `axis`."
        )
    widths = [s[layer.axis] for s in shapes if s[layer.axis] is not None]
    if not widths:
        raise ValueError(
            f"The inputs of `{name}` must have a known size of axis "
            f"{layer.axis}. Received: shape {tuple(shapes[0])}. Define the "
            "size in `keras.Input`, or set `axis=1` for channels_first."
        )
    _check_rank(layer, widths[0])
    return widths[0]


def _check_equal(layer, shapes):
    if not shapes_agree(shapes):
        raise ValueError(
            f"The inputs of `{type(layer).__name__}` must have equal shapes. "
            f"Received: shapes {[tuple(s) for s in shapes]}. Project the skip "
            "first, as a residual block does where the width changes."
        )


def _check_rank(layer, width):
    if not layer.rank:
        return
    name = type(layer).__name__
    if layer.rank > width:
        raise ValueError(
            "Argument `rank` must be at most the width of the inputs of "
            f"`{name}`. Received: rank={layer.rank} for inputs of width "
            f"{width} (axis {layer.axis}). Use a rank well below half the "
            "width."
        )
    modules = _modules_up_to_the_user()
    # A model that is loaded or copied had its warning when it was made.
    is_loaded = any(m.startswith("keras.src.saving") for m in modules)
    if 2 * layer.rank >= width and not is_loaded:
        warnings.warn(
            f"`{name}` has rank {layer.rank} at width {width}, where the "
            "low-rank map has at least as many parameters as a full matrix. "
            "Use a rank below half the width.",
            stacklevel=len(modules) + 1,
        )


def _modules_up_to_the_user():
    """Return the modules of the frames from the caller to the user's line.

    Their number depends on how the layer is built.
    """
    modules, frame = [], sys._getframe(1)
    while frame and _module(frame).partition(".")[0] in _NOT_THE_USERS:
        modules.append(_module(frame))
        frame = frame.f_back
    return modules


def _module(frame):
    return frame.f_globals.get("__name__", "")
