"""Which axes of a mesh the weights of a model lie on, LAuReL's among them.

The meshes here have the axes "batch" and "model". A weight that is divided on
both is kept in parts by all devices; before it is used, its parts along
"batch" are gathered.
"""

import math
import re
import warnings

import keras

from keras_laurel.checks import check_integer
from keras_laurel.conversion import residual_sites
from keras_laurel.distribution.checks import check_built
from keras_laurel.distribution.checks import check_type
from keras_laurel.layers.laurel import LOW_RANK

BATCH, MODEL = "batch", "model"
LARGE_BYTES = 2**20


def extend_layout_map(layout_map, model=None, residual_axis=None):
    """Add LAuReL's low-rank weights to the layout map of any model.

    `A`, of shape `(k, D, r)`, and `B`, of shape `(k r, D)`, are divided along
    D as the weights that write the residual stream are. Alpha, beta, gamma and
    norm scales stay whole on every device. Call it before `laurelize`: a
    variable gets its layout when it is made.

    Args:
        layout_map: A `keras.distribution.LayoutMap`; it is changed in place.
        model: The model before conversion, to find `residual_axis` by: the
            mesh axis that the map gives the last axis of embeddings and
            output projections.
        residual_axis: Name of the mesh axis, where `model` is not given.

    Returns:
        The layout map.

    Raises:
        ValueError: if neither is given, `layout_map` is none, the mesh has no
            such axis, or the weights of `model` that write the residual stream
            do not agree.

    Example:

    >>> mesh = keras.distribution.DeviceMesh(
    ...     (1, 1), ("batch", "model"), ["cpu:0"]
    ... )
    >>> layout_map = keras.distribution.LayoutMap(mesh)
    >>> layout_map["dense.*/kernel"] = (None, "model")
    >>> layout_map = keras_laurel.distribution.extend_layout_map(
    ...     layout_map, residual_axis="model"
    ... )
    >>> layout_map["block/laurel_residual/laurel_a"].axes
    (None, 'model', None)
    """
    check_type("layout_map", layout_map, keras.distribution.LayoutMap)
    if residual_axis is None:
        residual_axis = _residual_axis(layout_map, model)
    names = layout_map.device_mesh.axis_names
    if residual_axis not in names:
        raise ValueError(
            f"`residual_axis` got {residual_axis!r}; it needs an axis of the "
            f"mesh, one of {list(names)}."
        )
    for name, axes in LOW_RANK.items():
        layout_map[f"(.*/)?{name}"] = tuple(
            residual_axis if axis == "D" else None for axis in axes
        )
    return layout_map


def _residual_axis(layout_map, model):
    if model is None:
        raise ValueError(
            "`extend_layout_map` got neither `model` nor `residual_axis`; it "
            "needs one of them. Pass the model before conversion, or the name "
            "of the mesh axis that divides the residual stream."
        )
    widths = {site.output_shape[-1] for site in residual_sites(model)}
    matched = [
        layout_map[v.path]
        for v in model.variables
        if len(v.shape) > 1 and v.shape[-1] in widths
    ]
    axes = {layout.axes[-1] for layout in matched if layout is not None}
    if len(axes) != 1 or axes == {None}:
        raise ValueError(
            f"`layout_map` divides the weights of {model.name!r} that write "
            f"its residual stream along {sorted(map(str, axes))}; expected "
            "one axis of the mesh for all. Name it by `residual_axis`."
        )
    return axes.pop()


def llama_layout_map(device_mesh):
    """A layout map for KerasHub's Llama and what is shaped like it, and LAuReL.

    Heads and hidden units are divided along "model", the residual stream's
    axis of every weight along "batch", and activations along "batch". That is
    where it differs from KerasHub's `LlamaBackbone.get_layout_map`, which
    divides heads along "batch" and leaves an output embedding of its own, and
    activations, alone.

    Args:
        device_mesh: A `keras.distribution.DeviceMesh` with the axes "batch"
            and "model".

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        ValueError: if `device_mesh` has not these axes.
    """
    layout_map = keras.distribution.LayoutMap(_checked(device_mesh))
    into, out_of = (BATCH, MODEL), (MODEL, BATCH)
    layout_map["token_embedding/embeddings"] = out_of
    layout_map["token_embedding/reverse_embeddings"] = into
    block = "transformer_layer.*/"
    heads = f"{block}self_attention/(query|key|value)/kernel"
    layout_map[heads] = (BATCH, MODEL, None)
    output = f"{block}self_attention/attention_output/kernel"
    layout_map[output] = (MODEL, None, BATCH)
    hidden = f"{block}feedforward_(intermediate|gate)_dense/kernel"
    layout_map[hidden] = into
    layout_map[f"{block}feedforward_output_dense/kernel"] = out_of
    # Left to itself XLA may keep them whole on every device.
    layout_map["(transformer_layer_[0-9]+|token_embedding)/output"] = (BATCH,)
    return extend_layout_map(layout_map, residual_axis=BATCH)


def convolution_layout_map(device_mesh):
    """A layout map for ResNets and other models of 2-D convolutions.

    The channels that a convolution makes are divided along "model", those of
    LAuReL too. Layers are found by "conv" in their names.

    Args:
        device_mesh: A `keras.distribution.DeviceMesh` with the axes "batch"
            and "model".

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        ValueError: if `device_mesh` has not these axes.
    """
    layout_map = keras.distribution.LayoutMap(_checked(device_mesh))
    layout_map["(.*/)?[^/]*conv[^/]*/kernel"] = (None, None, None, MODEL)
    return extend_layout_map(layout_map, residual_axis=MODEL)


def _checked(device_mesh):
    check_type("device_mesh", device_mesh, keras.distribution.DeviceMesh)
    if tuple(device_mesh.axis_names) != (BATCH, MODEL):
        raise ValueError(
            f"`device_mesh` got the axes {list(device_mesh.axis_names)}; it "
            f"needs {[BATCH, MODEL]}. Make it by `keras.distribution."
            'DeviceMesh(shape, ("batch", "model"))`.'
        )
    return device_mesh


def check_layout_map(layout_map, model, large_bytes=LARGE_BYTES):
    """Check what a layout map does to the LAuReL weights of a model.

    Args:
        layout_map: A `keras.distribution.LayoutMap`.
        model: A built model with LAuReL layers; its variables need no values
            yet.
        large_bytes: Integer. A weight of this size, or larger, that lies whole
            on every one of several devices is reported by a warning.

    Raises:
        ValueError: if `model` is not built, a rule that names LAuReL matches
            no variable, or a LAuReL weight does not divide evenly.
    """
    check_type("layout_map", layout_map, keras.distribution.LayoutMap)
    check_built(model)
    large_bytes = check_integer("large_bytes", large_bytes, 0)
    laurel = [v for v in model.variables if v.name.startswith("laurel_")]
    _check_rules(layout_map, model, [variable.path for variable in laurel])
    mesh = layout_map.device_mesh
    whole = [
        v.path
        for v in laurel
        if math.prod(parts(v, layout_map[v.path], mesh)) == 1
        and bytes_of(v) >= large_bytes
    ]
    devices = math.prod(mesh.shape)
    if whole and devices > 1:
        warnings.warn(
            f"{_several(whole)}, LAuReL weights of {large_bytes:,} bytes or "
            f"more, lie whole on each of {devices} devices. "
            "`extend_layout_map` divides them; raise `large_bytes` if this is "
            "as you want it.",
            stacklevel=2,
        )


def _check_rules(layout_map, model, paths):
    rules = [rule for rule in layout_map if "laurel_" in rule]
    dead = [r for r in rules if not any(re.fullmatch(r, p) for p in paths)]
    if dead:
        raise ValueError(
            "`layout_map` has rules for LAuReL weights that match nothing in "
            f"{model.name!r}: {dead}; its LAuReL weights are "
            f"{_several(paths)}. Correct the rules, or leave out those for "
            "weights that this model does not have."
        )


def _several(paths):
    shown = ", ".join(paths[:5])
    return f"{shown} and {len(paths) - 5} more" if len(paths) > 5 else shown


def parts(variable, layout, device_mesh):
    """Into how many parts each axis of a variable is divided.

    Raises:
        ValueError: if an axis does not divide evenly.
    """
    if layout is None or device_mesh is None:
        return (1,) * len(variable.shape)
    sizes = dict(zip(device_mesh.axis_names, device_mesh.shape))
    counts = tuple(sizes.get(axis, 1) for axis in layout.axes)
    for size, count, axis in zip(variable.shape, counts, layout.axes):
        if size % count:
            raise ValueError(
                f"{variable.path} of shape {tuple(variable.shape)} is to be "
                f"divided as {layout.axes} on a mesh of {sizes}; expected "
                f"{size} to be a multiple of {count}. Choose a smaller "
                f"{axis!r} axis of the mesh, or other sizes of the model."
            )
    return counts


def bytes_of(variable):
    """The size of a variable in bytes, also of one without a value."""
    bits = re.search("[0-9]+", variable.dtype)
    return math.prod(variable.shape) * (int(bits[0]) if bits else 8) // 8
