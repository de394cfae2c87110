"""Several devices for TensorFlow, where there is one processor."""

import os


def split_cpu():
    """As many logical CPU devices as `TINY_LOGICAL_CPUS` says, if set."""
    count = int(os.environ.get("TINY_LOGICAL_CPUS", "1"))
    if count == 1:
        return
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * count,
    )
