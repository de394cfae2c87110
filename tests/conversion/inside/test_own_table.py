"""The table itself: its models run, and its marks agree with its counts."""

import keras
import numpy as np
import pytest

import keras_laurel
from tests.conversion.inside import own_models
from tests.conversion.inside.running import State
from tests.conversion.inside.running import assert_equal
from tests.conversion.inside.running import built
from tests.conversion.inside.running import copy_seeds
from tests.conversion.inside.running import perturb
from tests.conversion.inside.running import run
from tests.conversion.inside.running import variables
from tests.conversion.inside.twin_runs import TwinRun

# Models as people write them, some of which make Keras warn.
pytestmark = [
    pytest.mark.filterwarnings("ignore:(?s).*has unbuilt state"),
    pytest.mark.filterwarnings("ignore:(?s).*cannot be built automat"),
    pytest.mark.filterwarnings("ignore:(?s).*does not support masking"),
]

# Keras builds it of floats alone when it is loaded, which JAX and TensorFlow
# do not take for indices; converted, it is built of what it was called on.
NOT_REBUILT = ("graph attention",)


def test_there_are_thirty_models():
    assert len(own_models.TABLE) >= 30


@pytest.mark.parametrize("name", own_models.CONVERTED)
def test_twin(name):
    """As many additions as were counted; with weights at their start, equal."""
    row = own_models.TABLE[name]
    model, x = built(row), row.example()
    perturb(model)
    state = State(variables(model))
    expected = run(model, x)
    assert all(np.ptp(y) > 0 and np.isfinite(y).all() for y in expected)
    state.restore()
    rank = keras_laurel.get("rw+lr+pa" if row.history else "rw+lr", rank=2)
    twin_run = TwinRun(name, row, rank, state)
    assert_equal(twin_run.outputs(x), expected)
    assert len(twin_run.layers) == row.sites


@pytest.mark.parametrize("name", own_models.CONVERTED)
def test_saving(name, tmp_path):
    """The plain model is saved where the row says so."""
    row = own_models.TABLE[name]
    model, x = built(row), row.example()
    state = State(variables(model))
    expected = run(model, x)
    state.restore()
    if not row.saves:
        with pytest.raises(Exception):
            model.save(tmp_path / "model.keras")
            keras.saving.load_model(tmp_path / "model.keras")
        return
    model.save(tmp_path / "model.keras")
    if name in NOT_REBUILT and keras.config.backend() != "torch":
        with pytest.warns(UserWarning, match="cannot be built automatically"):
            keras.saving.load_model(tmp_path / "model.keras")
        return
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copy_seeds(model, loaded)
    assert_equal(run(loaded, x), expected)
