"""Settings that must be made before Keras and matplotlib are imported."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "Agg")

import keras  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def dtype_of_before():
    """No test leaves its precision to those after it."""
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)
