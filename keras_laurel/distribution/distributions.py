"""Distributions for `keras.distribution`, made by name."""

import math
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras

from keras_laurel.checks import check_boolean
from keras_laurel.checks import check_integer
from keras_laurel.checks import is_integer
from keras_laurel.distribution.checks import check_type
from keras_laurel.distribution.layout_maps import BATCH
from keras_laurel.distribution.layout_maps import MODEL

AXES = {"data": (BATCH,), "fsdp": (BATCH,), "tensor": (BATCH, MODEL)}


class FullyShardedDataParallel(keras.distribution.DataParallel):
    """Data parallelism that also divides the weights among devices (FSDP).

    Every device keeps one part of each large weight, of its gradient and of
    its optimizer slots, and gathers the whole weight to use it. A weight is
    divided along its longest axis that is a multiple of the number of devices.
    If it has no such axis, or is small, it stays whole. No layout map is
    needed. It fits any model, LAuReL weights included, in which each layer
    matched by `activations` returns a single tensor.

    Args:
        device_mesh: A `keras.distribution.DeviceMesh` with one axis.
        minimum_size: Integer. Weights with fewer elements stay whole.
        activations: Regular expression of the paths, such as
            `"transformer_layer_0/output"`, of layers whose output is kept
            divided along the batch. Otherwise XLA may keep activations
            whole on every device. The default matches the layers of the model
            itself, but not those inside them.
        auto_shard_dataset: As in `keras.distribution.DataParallel`.

    Raises:
        ValueError: if `device_mesh` is not a mesh of one axis, `minimum_size`
            is not an integer, `activations` is not a regular expression, or
            `auto_shard_dataset` is not a boolean.

    Example:

    >>> mesh = keras.distribution.DeviceMesh((1,), ("batch",), ["cpu:0"])
    >>> fsdp = keras_laurel.distribution.FullyShardedDataParallel(mesh)
    >>> with fsdp.scope():
    ...     model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    """

    def __init__(
        self,
        device_mesh: keras.distribution.DeviceMesh,
        minimum_size: int = 2**14,
        activations: str = "[^/]+/output",
        auto_shard_dataset: bool = True,
    ) -> None:
        _check_fsdp(device_mesh, minimum_size, activations)
        check_boolean("auto_shard_dataset", auto_shard_dataset)
        super().__init__(
            device_mesh=device_mesh, auto_shard_dataset=auto_shard_dataset
        )
        self.minimum_size = minimum_size
        self.activations = activations

    def get_variable_layout(
        self, variable: keras.Variable
    ) -> keras.distribution.TensorLayout:
        given = getattr(variable, "_layout", None)
        if given is not None:
            return given
        axes = [None] * len(variable.shape)
        if math.prod(variable.shape) >= self.minimum_size:
            self._divide_longest(variable.shape, axes)
        return keras.distribution.TensorLayout(axes, self.device_mesh)

    def _divide_longest(self, shape, axes):
        count = self.num_model_replicas
        divisible = [i for i, size in enumerate(shape) if size % count == 0]
        if divisible:
            axes[max(divisible, key=lambda i: shape[i])] = self.batch_dim_name

    def get_tensor_layout(
        self, path: str
    ) -> keras.distribution.TensorLayout | None:
        if not re.fullmatch(self.activations, path):
            return None
        return keras.distribution.TensorLayout(
            (self.batch_dim_name,), self.device_mesh
        )


def _check_fsdp(device_mesh, minimum_size, activations):
    check_type("device_mesh", device_mesh, keras.distribution.DeviceMesh)
    if len(device_mesh.shape) != 1:
        raise ValueError(
            "Argument `device_mesh` must have one axis. Received: a mesh of "
            f"the shape {tuple(device_mesh.shape)}. For two axes, use "
            '`make_distribution("tensor", ...)`.'
        )
    check_integer("minimum_size", minimum_size, 0)
    try:
        re.compile(activations)
    except (re.error, TypeError) as error:
        raise ValueError(
            "Argument `activations` must be a regular expression of paths. "
            f"Received: activations={activations!r} ({error})."
        ) from error


def make_distribution(
    kind: str,
    mesh_shape: Sequence[int] | None = None,
    devices: Sequence[Any] | None = None,
    layout_map: Callable[
        [keras.distribution.DeviceMesh], keras.distribution.LayoutMap
    ]
    | None = None,
    auto_shard_dataset: bool = True,
) -> keras.distribution.DataParallel | keras.distribution.ModelParallel:
    """Make a distribution by its name, for JAX.

    Args:
        kind: `"data"`: whole weights on every device; `"fsdp"`: weights
            divided among all devices; `"tensor"`: weights and the work of
            each layer divided along the second axis of a mesh.
        mesh_shape: Tuple of integers: `(devices,)` for `"data"` and `"fsdp"`,
            for which it is optional, and `(batch, model)` for `"tensor"`.
        devices: List of devices: names such as `"cpu:0"`, or JAX's. By
            default all devices, with those of a process next to each other,
            as Keras expects when it divides data.
        layout_map: For `"tensor"`, a function that makes the layout map of a
            mesh, such as `keras_laurel.distribution.llama_layout_map`. The
            other kinds need none and ignore it, so a program whose user
            chooses the kind can pass it for all of them.
        auto_shard_dataset: Boolean. True if each process is given all data
            and takes its part; False if it is given its part only.

    Returns:
        A `keras.distribution.Distribution`. Make the model in its `scope()`.

    Raises:
        ValueError: if the backend is not JAX, or the arguments contradict
            one another.

    Example:

    >>> distribution = keras_laurel.distribution.make_distribution(
    ...     "fsdp", devices=["cpu:0"]
    ... )
    """
    if not isinstance(kind, str) or kind not in AXES:
        raise ValueError(
            f"Argument `kind` must be one of {sorted(AXES)}. Received: "
            f"kind={kind!r}."
        )
    check_boolean("auto_shard_dataset", auto_shard_dataset)
    _check_backend(kind)
    mesh = _make_mesh(kind, mesh_shape, devices)
    make_map = _checked_layout_map(kind, layout_map)
    if kind == "data":
        return keras.distribution.DataParallel(
            mesh, auto_shard_dataset=auto_shard_dataset
        )
    if kind == "fsdp":
        return FullyShardedDataParallel(
            mesh, auto_shard_dataset=auto_shard_dataset
        )
    return keras.distribution.ModelParallel(
        layout_map=make_map(mesh),
        batch_dim_name=BATCH,
        auto_shard_dataset=auto_shard_dataset,
    )


def _checked_layout_map(kind, layout_map):
    is_needed = kind == "tensor" or layout_map is not None
    if is_needed and not callable(layout_map):
        raise ValueError(
            "Argument `layout_map` must be a function that makes the layout "
            f"map of a mesh, with kind={kind!r}. Received: "
            f"layout_map={layout_map!r}. Pass, for example, "
            "`keras_laurel.distribution.llama_layout_map`."
        )
    return layout_map


def _check_backend(kind):
    backend = keras.backend.backend()
    if backend != "jax":
        raise ValueError(
            f"`make_distribution({kind!r})` needs the JAX backend, on which "
            "`keras.distribution` divides models. Received: the backend "
            f"{backend}. Set `KERAS_BACKEND=jax`, or build the model in the "
            "scope of a `tf.distribute` strategy."
        )


def _make_mesh(kind, shape, devices):
    axes = AXES[kind]
    if devices is not None and not isinstance(devices, (list, tuple)):
        raise ValueError(
            "Argument `devices` must be a list of devices. Received: "
            f"devices={devices!r}. Leave it out to use all devices."
        )
    for device in devices or ():
        _check_device(device)
    if devices is None:
        devices = _devices_by_process()
    if shape is None and len(axes) == 1:
        shape = (len(devices),)
    is_tuple = isinstance(shape, (tuple, list))
    if not is_tuple or [is_integer(n, 1) for n in shape] != [True] * len(axes):
        raise ValueError(
            f"Argument `mesh_shape` must be a tuple of {len(axes)} sizes, of "
            f"the axes {axes}, that multiply to the {len(devices)} devices. "
            f"Received: mesh_shape={shape!r}, kind={kind!r}."
        )
    if math.prod(shape) != len(devices):
        raise ValueError(
            "Argument `mesh_shape` must have sizes that multiply to the "
            f"{len(devices)} devices. Received: mesh_shape={shape}, a mesh of "
            f"{math.prod(shape)} devices."
        )
    return keras.distribution.DeviceMesh(tuple(shape), axes, devices)


def _check_device(device):
    """Raise if a device is neither a device of JAX nor named as one.

    It need not exist: a mesh may be planned on another machine.
    """
    is_plain = isinstance(device, (str, int, float, type(None)))
    if is_plain and not re.fullmatch(r"\w+:\d+", str(device)):
        raise ValueError(
            "Argument `devices` must hold devices of JAX, or their names with "
            f"a number, such as 'cpu:0' or 'tpu:3'. Received: {device!r} in "
            "`devices`. Use those of `keras.distribution.list_devices()`."
        )


def _devices_by_process():
    """Return all devices, with those of a process next to each other.

    A TPU slice numbers its devices row by row, across hosts.
    """
    import jax

    return sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
