"""A conversion in place that does not end leaves no trace."""

import copy
import pickle

import keras
import keras_hub
import numpy as np
import pytest

import keras_laurel
from keras_laurel.conversion.blocks import connection
from keras_laurel.conversion.blocks import owner
from keras_laurel.conversion.inside import opened
from tests.backends import once
from tests.conversion.models import shake

pytestmark = once

TOKENS = {k: np.ones((2, 4), "int32") for k in ("token_ids", "padding_mask")}


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Without a `get_config`."""

    def __call__(self, step):
        return 1e-3


def task(optimizer=None):
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=16,
        num_layers=2,
        hidden_dim=8,
        intermediate_dim=8,
        num_query_heads=2,
        num_key_value_heads=1,
    )
    model = keras_hub.models.LlamaCausalLM(backbone)
    if optimizer:
        model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def state(model):
    """All that conversion in place may change."""
    parts = [model, *model._flatten_layers(include_self=False)]
    return [
        (type(x), sorted(vars(x)), [id(w) for w in x.weights]) for x in parts
    ]


def test_an_optimizer_that_cannot_be_made_again():
    model = task(keras.optimizers.AdamW(Warmup()))
    before, optimizer = state(model), model.optimizer
    with pytest.raises(ValueError, match="(?s)an optimizer, AdamW, .*compile"):
        keras_laurel.laurelize(model, keras_laurel.LaurelRW())
    assert state(model) == before
    assert model.optimizer is optimizer


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(
    ("granularity", "module", "name", "calls"),
    [
        ("block", connection, "_block_class", 2),
        ("sublayer", opened, "opened_class", 2),
        ("block", connection.keras_internals, "add_sublayer", 2),
        ("sublayer", connection.keras_internals, "add_sublayer", 2),
        ("block", owner, "set_optimizers", 1),
        ("sublayer", owner, "set_optimizers", 1),
    ],
)
def test_interrupted(granularity, module, name, calls, error, monkeypatch):
    model = task("adam")
    before, optimizer, count = state(model), model.optimizer, []
    method = getattr(module, name)

    def interrupted(*args, **kwargs):
        count.append(1)
        if len(count) == calls:
            raise error
        return method(*args, **kwargs)

    layer = keras_laurel.get("rw+lr+pa", rank=2, num_activations=2)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        with pytest.raises(error):
            keras_laurel.laurelize(model, layer, granularity=granularity)
    assert state(model) == before
    assert model.optimizer is optimizer
    expected = numpy(model(TOKENS))
    keras_laurel.laurelize(model, layer, granularity=granularity)
    np.testing.assert_array_equal(numpy(model(TOKENS)), expected)


@pytest.mark.parametrize("granularity", ["block", "sublayer"])
def test_taken_out_again(granularity):
    model = task("adam")
    before, expected = state(model), numpy(model(TOKENS))
    layer = keras_laurel.get("rw+lr+pa", rank=2, num_activations=2)
    keras_laurel.laurelize(model, layer, granularity=granularity)
    shake(model)
    assert keras_laurel.remove_laurel(model) is model
    assert state(model) == before
    np.testing.assert_array_equal(numpy(model(TOKENS)), expected)
    model.train_on_batch(TOKENS, np.ones((2, 4), "int32"))


@pytest.mark.filterwarnings("ignore:`compile\\(\\)` was not called")
def test_copies():
    model = keras_laurel.laurelize(task(), keras_laurel.LaurelRW())
    shake(model)
    for other in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model.backbone)),
    ):
        assert len(keras_laurel.laurel_layers(other)) == 2
        expected = model if type(other) is type(model) else model.backbone
        np.testing.assert_array_equal(
            numpy(other(TOKENS)), numpy(expected(TOKENS))
        )
