"""Every device the backend sees, without a change to the training code."""

import contextlib
import dataclasses
import importlib.util
import os

import keras


@dataclasses.dataclass(frozen=True)
class Devices:
    """What a run computes on.

    Args:
        kind: What the backend calls one device, such as "TPU v5e" or "cpu".
        count: Number of devices over all processes; batches are divided
            among them.
        scope: Makes a context in which models are built.
        process_index: Index of this process.
        process_count: Number of processes.
    """

    kind: str
    count: int = 1
    scope: object = contextlib.nullcontext
    process_index: int = 0
    process_count: int = 1

    def __str__(self):
        return f"{self.count} x {self.kind}" if self.count > 1 else self.kind


def find_devices():
    """All devices of the current backend; keeps TensorFlow off JAX's GPUs."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return find_tensorflow_devices()
    hide_gpus_from_tensorflow()
    return find_jax_devices() if backend == "jax" else find_torch_device()


def find_jax_devices():
    """Data parallelism over every device, of every process if several.

    Several processes, as on a TPU pod, are joined if Keras's variable
    KERAS_DISTRIBUTION_NUM_PROCESSES is set.
    """
    import jax

    if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
        keras.distribution.initialize()
    devices = jax.devices()
    scope = contextlib.nullcontext
    if len(devices) > 1:
        parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
        scope = parallel.scope
        keras.distribution.set_distribution(parallel)
    return Devices(
        devices[0].device_kind,
        len(devices),
        scope,
        jax.process_index(),
        jax.process_count(),
    )


def find_tensorflow_devices():
    """TPUStrategy if there is a TPU, MirroredStrategy over several devices.

    Kernels that add up in varying order are turned off: a resumed run is to
    end with the same numbers. A TPU has none.
    """
    import tensorflow as tf

    strategy = find_tensorflow_strategy()
    if not isinstance(strategy, tf.distribute.TPUStrategy):
        tf.config.experimental.enable_op_determinism()
    if strategy is None:
        return Devices(tensorflow_device_kind())
    return Devices(
        tensorflow_device_kind(),
        strategy.num_replicas_in_sync,
        strategy.scope,
    )


def find_tensorflow_strategy():
    import tensorflow as tf

    tpu = find_tpu()
    if tpu is not None:
        return tf.distribute.TPUStrategy(tpu)
    devices = tensorflow_devices()
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    return None


def find_tpu():
    """A connected TPU, or None. Looks only where one is announced."""
    import tensorflow as tf

    announced = tf.config.list_physical_devices("TPU")
    if not announced and "TPU_NAME" not in os.environ:
        return None
    name = os.environ.get("TPU_NAME", "local")
    return tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)


def tensorflow_devices():
    import tensorflow as tf

    for kind in ("TPU", "GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if devices:
            return devices


def tensorflow_device_kind():
    import tensorflow as tf

    kind = tensorflow_devices()[0].device_type
    if kind != "GPU":
        return kind
    gpu = tf.config.list_physical_devices("GPU")[0]
    return tf.config.experimental.get_device_details(gpu)["device_name"]


def find_torch_device():
    """PyTorch trains on one device here; Keras has no strategy for more."""
    import torch

    if torch.cuda.is_available():
        return Devices(torch.cuda.get_device_name())
    return Devices("cpu")


def hide_gpus_from_tensorflow():
    """Where TensorFlow is installed; text is read without it."""
    if importlib.util.find_spec("tensorflow") is None:
        return
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def check_batch_size(batch_size, devices):
    """Raises unless a batch divides evenly among the devices."""
    if batch_size % devices.count == 0:
        return
    next_multiple = -(-batch_size // devices.count) * devices.count
    raise ValueError(
        f"Received `--batch-size {batch_size}` on {devices}; expected a "
        f"multiple of {devices.count}, so that every device gets as many "
        f"images. Use `--batch-size {next_multiple}`."
    )
