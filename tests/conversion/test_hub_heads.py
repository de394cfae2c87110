"""A head on the output of a converted KerasHub backbone."""

import copy
import pickle

import keras
import keras_hub
import numpy as np
import pytest

import keras_laurel
from tests.conversion.hub.rows import COMPOSED
from tests.conversion.models import shake

TOKENS = {k: np.ones((2, 4), "int32") for k in ("token_ids", "padding_mask")}


def headed(layer, granularity="block"):
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=16,
        num_layers=3,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=8,
    )
    keras_laurel.laurelize(backbone, layer, granularity=granularity)
    shake(backbone)
    head = keras.layers.Dense(2)(backbone.output[:, -1])
    return keras.Model(backbone.input, head)


def numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("granularity", ["block", "sublayer"])
@pytest.mark.parametrize("variant", ["rw", "pa", "rw+lr+pa"])
def test_is_saved_loaded_and_copied(variant, granularity, tmp_path):
    options = {"rank": 2} if "lr" in variant else {}
    model = headed(keras_laurel.get(variant, **options), granularity)
    expected = numpy(model(TOKENS))
    model.save(tmp_path / "model.keras")
    copies = [
        keras.models.load_model(tmp_path / "model.keras"),
        keras.models.load_model(tmp_path / "model.keras"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ]
    for other in copies:
        np.testing.assert_array_equal(numpy(other(TOKENS)), expected)
        assert len(keras_laurel.laurel_layers(other)) == len(
            keras_laurel.laurel_layers(model)
        )
    copies[0].set_weights([0 * w for w in copies[0].get_weights()])
    np.testing.assert_array_equal(numpy(copies[1](TOKENS)), expected)


def test_of_some_of_the_blocks(tmp_path):
    model = headed(keras_laurel.get("rw+lr+pa", rank=2))
    blocks = [x for x in model.layers if hasattr(x, "_laurel_connection")]
    part = keras.Model(model.input, blocks[1].output)
    part.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    # To rounding: its products leave out the blocks that it does not have.
    np.testing.assert_allclose(
        numpy(loaded(TOKENS)), numpy(part(TOKENS)), atol=1e-6
    )


def test_is_taken_out_again():
    model = headed(keras_laurel.LaurelPA())
    model = keras_laurel.remove_laurel(model)
    assert keras_laurel.laurel_layers(model) == []
    assert np.isfinite(numpy(model(TOKENS))).all()


def test_over_blocks_that_stand_in_other_layers(tmp_path):
    (row,) = [row for row in COMPOSED if row.name == "PARSeq"]
    backbone = row.backbone()
    keras_laurel.laurelize(backbone, keras_laurel.LaurelPA(2))
    shake(backbone)
    head = keras.layers.Dense(2)(backbone.output)
    model = keras.Model(backbone.input, head)
    inputs = row.inputs(2, 8, 0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(keras_laurel.laurel_layers(loaded)) == 8
    np.testing.assert_array_equal(numpy(loaded(inputs)), numpy(model(inputs)))
