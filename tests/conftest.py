"""Settings that must be made before Keras and matplotlib are imported."""

import gc
import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "Agg")

import keras  # noqa: E402
import pytest  # noqa: E402

# The collector would search what the imports made again and again: on PyTorch
# a quarter of the tests' time.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)


@pytest.fixture(autouse=True)
def dtype_of_before():
    """No test leaves its precision to those after it."""
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(autouse=True)
def remat_traced_anew(monkeypatch):
    """JAX may not take what it traced before for a rematerialised layer.

    Keras 3.15 gives it a layer's bound method, which is equal at each call.
    Until the garbage collector runs JAX then uses the trace of the step that
    builds the model, where the variables are constants: a layer's gradients
    are zero, in plain models too.
    """
    if keras.config.backend() != "jax":
        return
    from keras.src.backend.common import remat

    original = remat.remat

    def traced_anew(call):
        return original(lambda *args, **kwargs: call(*args, **kwargs))

    monkeypatch.setattr(remat, "remat", traced_anew)
