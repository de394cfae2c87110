"""Layout maps for the weights of models, LAuReL weights included.

A layout map assigns an axis of a device mesh to each axis of a weight. The
meshes here have the axes "batch" and "model". A weight that is divided along
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


def extend_layout_map(
    layout_map: keras.distribution.LayoutMap,
    model: keras.Model | None = None,
    residual_axis: str | None = None,
) -> keras.distribution.LayoutMap:
    """Add LAuReL's low-rank weights to the layout map of any model.

    `A`, of shape `(k, D, r)`, and `B`, of shape `(k r, D)`, are divided along
    D, as are the weights that write the residual stream. Alpha, beta, gamma
    and norm scales stay whole on every device. Call it before `laurelize`,
    since a variable gets its layout when it is made.

    Args:
        layout_map: A `keras.distribution.LayoutMap`; it is changed in place.
        model: The model before conversion, from which `residual_axis` is
            found: it is the mesh axis that the map assigns to the last axis of
            embeddings and output projections.
        residual_axis: Name of the mesh axis, if `model` is not given.

    Returns:
        The layout map.

    Raises:
        ValueError: if neither `model` nor `residual_axis` is given,
            `layout_map` is not a layout map, the mesh has no such axis, or
            the weights of `model` that write the residual stream have
            different axes.

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
            "Argument `residual_axis` must be an axis of the mesh, one of "
            f"{list(names)}. Received: residual_axis={residual_axis!r}."
        )
    for name, axes in LOW_RANK.items():
        layout_map[f"(.*/)?{name}"] = tuple(
            residual_axis if axis == "D" else None for axis in axes
        )
    return layout_map


def _residual_axis(layout_map, model):
    if model is None:
        raise ValueError(
            "Argument `residual_axis` must be given without `model`. "
            "Received: neither `model` nor `residual_axis`. Pass the model "
            "before conversion, or the name of the mesh axis that divides the "
            "residual stream."
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
            "Argument `layout_map` must divide all weights that write the "
            "residual stream along the same axis of the mesh. Received: a map "
            f"that divides those of {model.name!r} along "
            f"{sorted(map(str, axes))}. Name the axis with `residual_axis`."
        )
    return axes.pop()


def llama_layout_map(
    device_mesh: keras.distribution.DeviceMesh,
) -> keras.distribution.LayoutMap:
    """Return a layout map for KerasHub's Llama and similar models with LAuReL.

    Heads and hidden units are divided along "model", the axis of the residual
    stream in every weight along "batch", and activations along "batch".
    KerasHub's `LlamaBackbone.get_layout_map` differs: it divides heads along
    "batch", and does not divide an untied output embedding and activations.

    Args:
        device_mesh: A `keras.distribution.DeviceMesh` with the axes "batch"
            and "model".

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        ValueError: if `device_mesh` does not have these axes.
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
    # Activations: XLA may otherwise keep them whole on every device.
    layout_map["(transformer_layer_[0-9]+|token_embedding)/output"] = (BATCH,)
    return extend_layout_map(layout_map, residual_axis=BATCH)


def convolution_layout_map(
    device_mesh: keras.distribution.DeviceMesh,
) -> keras.distribution.LayoutMap:
    """Return a layout map for ResNets and other models of 2-D convolutions.

    The output channels of convolutions are divided along "model", and so are
    the features of LAuReL weights. Convolutions are found by "conv" in the
    names of layers.

    Args:
        device_mesh: A `keras.distribution.DeviceMesh` with the axes "batch"
            and "model".

    Returns:
        A `keras.distribution.LayoutMap`.

    Raises:
        ValueError: if `device_mesh` does not have these axes.
    """
    layout_map = keras.distribution.LayoutMap(_checked(device_mesh))
    layout_map["(.*/)?[^/]*conv[^/]*/kernel"] = (None, None, None, MODEL)
    return extend_layout_map(layout_map, residual_axis=MODEL)


def _checked(device_mesh):
    check_type("device_mesh", device_mesh, keras.distribution.DeviceMesh)
    if tuple(device_mesh.axis_names) != (BATCH, MODEL):
        raise ValueError(
            f"Argument `device_mesh` must have the axes {[BATCH, MODEL]}. "
            f"Received: the axes {list(device_mesh.axis_names)}. Make it with "
            "`keras.distribution.DeviceMesh(shape, "
            '("batch", "model"))`.'
        )
    return device_mesh


def check_layout_map(
    layout_map: keras.distribution.LayoutMap,
    model: keras.Model,
    large_bytes: int = LARGE_BYTES,
) -> None:
    """Check how a layout map divides the LAuReL weights of a model.

    Args:
        layout_map: A `keras.distribution.LayoutMap`.
        model: A built model with LAuReL layers; its variables need no values
            yet.
        large_bytes: Integer. A warning reports weights of this size or larger
            that are whole on each of several devices.

    Raises:
        ValueError: if `model` is not built, if a rule that names LAuReL
            matches no variable, or if a LAuReL weight does not divide evenly.
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
            f"more, are whole on each of {devices} devices. Divide them with "
            "`extend_layout_map`, or raise `large_bytes` if this is intended.",
            stacklevel=2,
        )


def _check_rules(layout_map, model, paths):
    rules = [rule for rule in layout_map if "laurel_" in rule]
    # Keras too matches a rule with the whole path of a variable.
    dead = [r for r in rules if not any(re.fullmatch(r, p) for p in paths)]
    if dead:
        raise ValueError(
            "Argument `layout_map` must have rules for LAuReL weights that "
            f"match weights of {model.name!r}. Received: rules that match "
            f"none, {dead}; its LAuReL weights are {_several(paths)}. Correct "
            "the rules, or leave out those for weights that this model does "
            "not have."
        )


def _several(paths):
    shown = ", ".join(paths[:5])
    return f"{shown} and {len(paths) - 5} more" if len(paths) > 5 else shown


def parts(variable, layout, device_mesh):
    """Return the number of parts along each axis of a variable.

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
                "Weights must divide evenly among devices. Received: "
                f"{variable.path} of shape {tuple(variable.shape)}, to be "
                f"divided as {layout.axes} on a mesh of {sizes}, where {size} "
                f"is not a multiple of {count}. Choose a smaller {axis!r} axis "
                "of the mesh, or other sizes of the model."
            )
    return counts


def bytes_of(variable):
    """Return the size of a variable in bytes; it need not have a value."""
    # A `bool` has no number in its name, and takes a byte.
    bits = re.search("[0-9]+", variable.dtype)
    return math.prod(variable.shape) * (int(bits[0]) if bits else 8) // 8
