import keras
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """JAX compiles in half the time: tests run each program once or twice."""
    if keras.config.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
