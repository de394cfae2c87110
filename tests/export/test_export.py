"""Exported models compute what the Keras model does, LAuReL included.

Weights of LAuReL layers are moved off their start, so that an artefact
without them differs. `make test-export` runs all of it, in an environment
that has every exporter, and writes `docs/export.md`.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.conversion.models import shake
from tests.export import matrix
from tests.export.artefacts import FORMATS
from tests.export.models import MODELS
from tests.export.models import VARIANTS
from tests.export.models import example
from tests.export.upstream import limit

# Exporters warn of themselves and of each other.
pytestmark = pytest.mark.filterwarnings("ignore")
BACKEND = keras.config.backend()
CELLS = [(f, m) for m in MODELS for f in FORMATS]


@pytest.fixture(autouse=True)
def forget():
    """Free compiled functions, which no other model uses."""
    yield
    keras.utils.clear_session()
    if BACKEND == "jax":
        import jax

        jax.clear_caches()


def computed(model, x):
    outputs = keras.tree.flatten(model(x, training=False))
    return [ops.convert_to_numpy(y) for y in outputs]


def assert_close(actual, expected):
    """To the rounding of float32, for numbers of the size of the output."""
    for y, e in zip(actual, expected, strict=True):
        assert np.ptp(e) > 0
        np.testing.assert_allclose(y, e, rtol=0, atol=1e-5 * np.ptp(e))


def converted(name, variant):
    """A model that computes something else than without LAuReL."""
    keras.utils.set_random_seed(0)
    model = MODELS[name]()
    x = example(model)
    plain = computed(model, x)
    options = VARIANTS[variant]
    model = keras_laurel.laurelize(model, keras_laurel.get(variant, **options))
    shake(model)
    with pytest.raises(AssertionError):
        assert_close(computed(model, x), plain)
    return model, x


def check(format_name, model, x, folder):
    missing = FORMATS[format_name].missing()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: `make test-export`")
    expected = computed(model, x)
    actual = FORMATS[format_name].run(model, x, folder / "artefact")
    assert_close(actual, expected)


@pytest.mark.export
@pytest.mark.parametrize("format_name, name", CELLS)
def test_plain(format_name, name, tmp_path):
    """It works, or fails as we say that it does."""
    known = limit(BACKEND, format_name, name)
    with matrix.recorded(format_name, name, "plain", bool(known)):
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        if known is None:
            check(format_name, model, example(model), tmp_path)
            return
        with pytest.raises(Exception, match=known.error):
            check(format_name, model, example(model), tmp_path)


@pytest.mark.export
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "format_name, name",
    [cell for cell in CELLS if limit(BACKEND, *cell) is None],
)
def test_converted(format_name, name, variant, tmp_path):
    with matrix.recorded(format_name, name, variant):
        model, x = converted(name, variant)
        check(format_name, model, x, tmp_path)


def test_one_model_in_the_format_of_the_backend(tmp_path):
    format_name = "torch.export" if BACKEND == "torch" else "SavedModel"
    model, x = converted("Llama", "rw+lr+pa")
    check(format_name, model, x, tmp_path)
