"""The programs that are compiled are those that Keras runs."""

import keras
import numpy as np
import pytest

from keras_laurel.distribution import make_distribution
from tests.costs.tpu.small_models import LENGTH
from tests.costs.tpu.small_models import TOKENS
from tests.costs.tpu.small_models import X
from tests.costs.tpu.small_models import build_classifier
from tests.costs.tpu.small_models import build_language_model

if keras.config.backend() != "jax":
    pytest.skip("the compiler is called by JAX", allow_module_level=True)

from keras_laurel.costs.tpu.lowering import lower

DATA = (X, TOKENS, None)


def compiled(build, program, data=DATA):
    one = make_distribution("data", devices=["cpu:0"])
    return lower(build, data, program, one).compile()


def batch():
    ids = np.random.default_rng(0).integers(0, 50, TOKENS.shape, "int32")
    return {"token_ids": ids, "padding_mask": np.ones(ids.shape, bool)}


def values(variables):
    return [np.array(v) for v in variables]


def test_a_training_step_is_that_of_fit():
    program = compiled(build_language_model, "train")
    keras.utils.set_random_seed(0)
    model = build_language_model()
    x = batch()
    # One step, that the optimizer has slots.
    model.train_on_batch(x, x["token_ids"])
    state = (
        values(model.trainable_variables),
        values(model.non_trainable_variables),
        values(model.optimizer.variables),
        [np.zeros_like(v) for v in values(model.metrics_variables)],
    )
    logs, state = program(state, (x, x["token_ids"], None))
    loss = model.train_on_batch(x, x["token_ids"])
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-5)
    for ours, keras_value in zip(
        state[0], values(model.trainable_variables), strict=True
    ):
        np.testing.assert_allclose(ours, keras_value, atol=1e-6)


def test_prediction_prefill_and_decoding_agree():
    keras.utils.set_random_seed(0)
    model = build_language_model()
    state = (
        values(model.trainable_variables),
        values(model.non_trainable_variables),
    )
    x = batch()
    expected = model.predict(x, verbose=0)
    logits, _ = compiled(build_language_model, "predict")(state, (x,))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    _, cache = compiled(build_language_model, "prefill")(state, x["token_ids"])
    last = np.array(LENGTH - 1, "int32")
    logits, *_ = compiled(build_language_model, "decode")(
        state, x["token_ids"][:, -1:], cache, last
    )
    np.testing.assert_allclose(logits[:, 0], expected[:, -1], atol=1e-5)


def test_no_weight_is_given_a_value():
    """64 GB, were it there."""

    def build():
        x = keras.Input((2**17,))
        return keras.Model(x, keras.layers.Dense(2**17)(x))

    x = keras.KerasTensor((1, 2**17))
    one = make_distribution("data", devices=["cpu:0"])
    lowered = lower(build, (x, None, None), "predict", one)
    assert lowered.cost_analysis()["flops"] >= 2 * 2**34


class TestErrors:
    def test_a_model_that_is_not_compiled(self):
        def build():
            return build_classifier(compile=False)

        with pytest.raises(ValueError, match="a model that is not compiled"):
            compiled(build, "train", (keras.KerasTensor((2, 8)), None, None))

    @pytest.mark.parametrize("program", ["prefill", "decode"])
    def test_a_model_that_does_not_generate(self, program):
        data = (keras.KerasTensor((2, 8)), None, None)
        with pytest.raises(ValueError, match="must return a KerasHub CausalLM"):
            compiled(build_classifier, program, data)

    def test_a_build_that_reads_a_weight(self):
        def build():
            model = build_classifier()
            assert model.get_weights()
            return model

        data = (keras.KerasTensor((2, 8)), None, None)
        with pytest.raises(ValueError, match="read the value of a weight"):
            compiled(build, "predict", data)
