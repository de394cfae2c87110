"""Pins what Keras and KerasHub keep private and conversion relies on."""

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel.conversion import keras_layers
from tests.conversion.decoder_checks import generated
from tests.conversion.decoder_checks import plain_task
from tests.conversion.decoder_families import DECODERS


def built_dense(name="outer"):
    layer = keras.layers.Dense(8, name=name)
    layer.build((None, 8))
    return layer


class TestAddSublayer:
    def test_keras_refuses_it_on_a_built_layer(self):
        with pytest.raises(ValueError, match="cannot add new elements"):
            built_dense().inner = built_dense()

    def test_the_sublayer_is_tracked(self):
        outer, inner = built_dense(), built_dense()
        keras_layers.add_sublayer(outer, "inner", inner)
        assert outer.inner is inner
        assert inner in outer._flatten_layers()
        assert len(outer.variables) == 4
        assert len(outer.trainable_variables) == 4

    def test_the_layer_is_locked_again(self):
        outer = built_dense()
        keras_layers.add_sublayer(outer, "inner", built_dense())
        with pytest.raises(ValueError, match="cannot add new elements"):
            outer.another = built_dense()

    def test_the_layer_is_locked_again_after_an_error(self):
        class Refusing(keras.layers.Dense):
            def __setattr__(self, name, value):
                if name == "inner":
                    raise KeyError(name)
                super().__setattr__(name, value)

        outer = Refusing(8)
        outer.build((None, 8))
        with pytest.raises(KeyError):
            keras_layers.add_sublayer(outer, "inner", built_dense())
        with pytest.raises(ValueError, match="cannot add new elements"):
            outer.another = built_dense()


def test_build_inside_gives_the_paths_of_the_layer():
    with keras.name_scope("model"), keras.name_scope("stage"):
        outer = built_dense()
    assert outer.kernel.path == "model/stage/outer/kernel"
    layer = keras_laurel.LaurelLR(rank=2, name="laurel_residual")
    keras_layers.build_inside(outer, layer, [(None, 8)] * 2)
    assert [w.path for w in layer.weights] == [
        "model/stage/outer/laurel_residual/laurel_a",
        "model/stage/outer/laurel_residual/laurel_b",
    ]


def test_compiled_functions_are_under_these_names():
    """Running a model makes each of them; forgetting drops all."""
    family = next(f for f in DECODERS if f.name == "GPT2")
    task = plain_task(family)
    task.compile(sampler="greedy")
    x = family.inputs()
    task.train_on_batch(x, x["token_ids"])
    task.test_on_batch(x, x["token_ids"])
    task.predict_on_batch(x)
    generated(task, family.prompt())
    made = {
        name
        for name, value in vars(task).items()
        if name.endswith("_function") and callable(value)
    }
    assert made == set(keras_layers.COMPILED_FUNCTIONS)
    keras_layers.forget_compiled(task)
    assert not any(getattr(task, name) for name in made)
    assert np.isfinite(task.predict_on_batch(x)).all()
