"""Opened layers train on several devices as they do on one."""

import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

BACKEND = keras.config.backend()
SETUP = {
    "jax": """
        import jax
        assert jax.device_count() == 2

        def spread(build):
            keras.distribution.set_distribution(
                keras.distribution.DataParallel(auto_shard_dataset=False)
            )
            return build()
    """,
    "tensorflow": """
        import tensorflow as tf
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)

        def spread(build):
            strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
            assert strategy.num_replicas_in_sync == 2
            with strategy.scope():
                return build()
    """,
}
TRAIN = """
    import json
    import keras
    import numpy as np
    import keras_laurel
    from tests.conversion.inside.running import perturb
    {setup}

    def build():
        keras.utils.set_random_seed(0)
        model = Network()
        model(np.zeros((8, 6, 8), "float32"))
        layer = keras_laurel.get("rw+lr+pa", rank=2)
        model = keras_laurel.laurelize(model, layer, verbose=False)
        perturb(model)
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        return model

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.mix = keras.layers.Dense(8, activation="tanh")

        def call(self, x):
            x = x + self.mix(x)
            return x + self.mix(2 * x)

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [Block() for _ in range(3)]

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 6, 8)).astype("float32")
    y = rng.normal(size=(16, 6, 8)).astype("float32")
    losses = []
    for model in (build(), spread(build)):
        history = model.fit(
            x, y, batch_size=8, epochs=3, shuffle=False, verbose=0
        )
        losses.append(history.history["loss"])
        assert len(keras_laurel.laurel_layers(model)) == 6
    print(json.dumps(losses))
"""


@pytest.mark.skipif(BACKEND == "torch", reason="Keras has no torch mesh")
def test_two_devices_learn_what_one_does():
    script = textwrap.dedent(TRAIN).format(
        setup=textwrap.dedent(SETUP[BACKEND])
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": BACKEND,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
    )
    assert process.returncode == 0, process.stderr
    alone, spread = json.loads(process.stdout.splitlines()[-1])
    assert alone[-1] < alone[0]
    np.testing.assert_allclose(spread, alone, rtol=1e-5)
