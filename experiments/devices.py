"""Every device the backend sees, without a change to the training code."""

import contextlib
import dataclasses
import functools
import importlib.util
import os

import keras

from keras_laurel.distribution import make_distribution


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices on which a run computes.

    Args:
        kind: What the backend calls one device, such as "TPU v5e" or "cpu".
        count: Number of devices over all processes.
        scope: Makes a context in which models are built and trained.
        local_scope: Makes a context for what one process does alone, such as
            reading back what was saved.
        distribution: The `keras.distribution.Distribution`, if there is one.
    """

    kind: str
    count: int = 1
    scope: object = contextlib.nullcontext
    local_scope: object = contextlib.nullcontext
    process_index: int = 0
    process_count: int = 1
    distribution: object = None

    def __str__(self):
        return f"{self.count} x {self.kind}" if self.count > 1 else self.kind

    @property
    def is_writer(self):
        return self.process_index == 0

    @property
    def batch_parts(self):
        """Into how many parts a batch is divided."""
        if self.distribution is None:
            return self.count
        return self.distribution.num_model_replicas

    @property
    def shard(self):
        """Which part of the data this process reads, and of how many.

        They are fewer than processes where several share one copy of a model.
        """
        index = self.distribution.data_shard_id if self.distribution else 0
        return index, min(self.batch_parts, self.process_count)


def find_devices(machine, layout_map=None):
    """All devices of the current backend; keeps TensorFlow off JAX's GPUs.

    Args:
        machine: A `Machine`, which names the distribution and the mesh.
        layout_map: For "tensor", a function that makes the model's layout
            map for a mesh.

    Raises:
        ValueError: If the mesh does not fit these devices, the backend divides
            batches only, or there is none of the accelerators asked for.
    """
    backend = keras.backend.backend()
    if backend != "jax" and (machine.distribution != "data" or machine.mesh):
        raise ValueError(
            f"`--distribution {machine.distribution}` and `--mesh` need JAX. "
            f"Received: KERAS_BACKEND={backend}, which trains whole models on "
            "every device it sees (torch on one). Set KERAS_BACKEND=jax, or "
            "leave out both."
        )
    if backend == "tensorflow":
        devices = find_tensorflow_devices()
    else:
        hide_gpus_from_tensorflow()
        devices = (
            find_jax_devices(machine.distribution, machine.mesh, layout_map)
            if backend == "jax"
            else find_torch_device()
        )
    if machine.accelerator and devices.kind.lower() == "cpu":
        raise ValueError(
            "Setting `accelerator` must be left out where the backend sees "
            f"neither GPU nor TPU. Received: accelerator=True on {devices}, "
            f"with KERAS_BACKEND={backend}."
        )
    return devices


@functools.cache
def join_processes():
    """Make one job of the processes that Keras' variables name, if any."""
    if (
        keras.backend.backend() == "jax"
        and "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ
    ):
        keras.distribution.initialize()


def is_first_process():
    """True in the process that writes results."""
    join_processes()
    if keras.backend.backend() != "jax":
        return True
    import jax

    return jax.process_index() == 0


def find_jax_devices(kind, mesh, layout_map):
    """Every device of every process, if there are several."""
    import jax

    join_processes()
    name, count = jax.devices()[0].device_kind, len(jax.devices())
    if count == 1 and kind == "data" and mesh in (None, (1,)):
        return Devices(name)
    distribution = make_distribution(
        kind, mesh, layout_map=layout_map, auto_shard_dataset=False
    )
    # One accelerator may not hold a model whose weights are divided.
    host = functools.partial(keras.device, "cpu:0")
    return Devices(
        name,
        count,
        distribution.scope,
        contextlib.nullcontext if kind == "data" else host,
        jax.process_index(),
        jax.process_count(),
        distribution,
    )


@contextlib.contextmanager
def writer_first(devices):
    """Let the first process finish this scope before the others begin it."""
    if not devices.is_writer:
        wait_for_all(devices)
    try:
        yield
    finally:
        if devices.is_writer:
            wait_for_all(devices)


def wait_for_all(devices):
    if devices.process_count > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("experiments")


def find_tensorflow_devices():
    """TPUStrategy if there is a TPU, MirroredStrategy over several devices."""
    import tensorflow as tf

    # Looks only where one is announced.
    if "TPU_NAME" in os.environ or tf.config.list_physical_devices("TPU"):
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver
        tpu = resolver.connect(os.environ.get("TPU_NAME", "local"))
        strategy = tf.distribute.TPUStrategy(tpu)
        replicas = strategy.num_replicas_in_sync
        return Devices("TPU", replicas, strategy.scope, strategy.scope)
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = tf.config.list_logical_devices(kind)
    # Without kernels that add up in varying order, of which a TPU has none: a
    # resumed run is to end with the same numbers.
    tf.config.experimental.enable_op_determinism()
    if len(devices) == 1:
        return Devices(kind)
    strategy = tf.distribute.MirroredStrategy([x.name for x in devices])
    return Devices(kind, len(devices), strategy.scope, strategy.scope)


def find_torch_device():
    """Return one device for PyTorch; Keras has no strategy for more."""
    import torch

    there = torch.cuda.is_available()
    return Devices(torch.cuda.get_device_name() if there else "cpu")


def hide_gpus_from_tensorflow():
    """Hide the GPUs from TensorFlow, if it is installed.

    Text is read without TensorFlow.
    """
    if importlib.util.find_spec("tensorflow") is None:
        return
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def check_batch_size(batch_size, devices):
    """Raises unless a batch divides evenly among the devices."""
    parts = devices.batch_parts
    if batch_size % parts == 0:
        return
    next_multiple = -(-batch_size // parts) * parts
    raise ValueError(
        f"A batch must have a multiple of {parts} samples, so that each part "
        f"of {devices} gets as many. Received: {batch_size}. Use for example "
        f"{next_multiple}."
    )
