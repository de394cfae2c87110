import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel

SCALARS = {
    "laurel_residual_weights",
    "laurel_gamma",
    "laurel_norm_scale",
}


class Weights(keras.layers.Layer):
    """A LAuReL layer with all of its weights, and two of other layers."""

    def __init__(self):
        super().__init__()
        self.laurel = keras_laurel.get("rw+lr+pa", rank=2, normalize="rms")
        self.laurel.build([(None, 8)] * 3)
        self.dense = keras.layers.Dense(8)
        self.dense.build((None, 8))
        for weight in self.weights:
            weight.assign(ops.ones(weight.shape))

    def __getitem__(self, name):
        (found,) = [w for w in self.weights if w.name == name]
        return found

    def moved_by(self, optimizer, gradient):
        """The names of what a step with one gradient for all moves."""
        gradients = [gradient * ops.ones(w.shape) for w in self.weights]
        optimizer.apply(gradients, self.weights)
        return {
            w.name for w in self.weights if (ops.convert_to_numpy(w) != 1).any()
        }


def adamw(**kwargs):
    return keras.optimizers.AdamW(1e-2, weight_decay=0.1, **kwargs)


def test_weight_decay_leaves_scalars_alone():
    everything = {w.name for w in Weights().weights}
    assert SCALARS < everything
    assert Weights().moved_by(adamw(), 0.0) == everything
    prepared = keras_laurel.prepare_optimizer(adamw())
    assert Weights().moved_by(prepared, 0.0) == everything - SCALARS
    prepared = keras_laurel.prepare_optimizer(adamw())
    assert Weights().moved_by(prepared, 1.0) == everything


def test_it_returns_the_optimizer_itself():
    optimizer = adamw()
    assert keras_laurel.prepare_optimizer(optimizer) is optimizer


@pytest.mark.parametrize("times", [1, 2])
def test_earlier_exclusions_stay(times):
    weights = Weights()
    optimizer = adamw()
    optimizer.exclude_from_weight_decay(
        var_list=[weights["laurel_a"]], var_names=["bias"]
    )
    for _ in range(times):
        keras_laurel.prepare_optimizer(optimizer)
    assert weights.moved_by(optimizer, 0.0) == {"laurel_b", "kernel"}


def test_optimizers_without_weight_decay():
    prepared = keras_laurel.prepare_optimizer(keras.optimizers.SGD(0.1))
    assert Weights().moved_by(prepared, 0.0) == set()


def test_the_inner_optimizer_of_loss_scaling_is_prepared():
    inner = adamw()
    outer = keras.optimizers.LossScaleOptimizer(inner)
    assert keras_laurel.prepare_optimizer(outer) is outer
    weights = Weights()
    assert not inner._use_weight_decay(weights["laurel_gamma"])
    assert inner._use_weight_decay(weights["laurel_b"])


class TestMuon:
    def test_laurel_weights_are_not_orthogonalised(self):
        weights = Weights()
        muon = keras.optimizers.Muon(1e-2, exclude_layers=["head"])
        keras_laurel.prepare_optimizer(muon)
        assert muon.exclude_layers == ["head", "laurel_"]
        assert not muon._should_use_adamw(weights["kernel"])
        assert all(map(muon._should_use_adamw, weights.laurel.weights))

    def test_twice(self):
        muon = keras.optimizers.Muon(1e-2)
        for _ in range(2):
            keras_laurel.prepare_optimizer(muon)
        assert muon.exclude_layers == ["laurel_"]

    def test_b_moves_as_with_adamw(self):
        """Muon would make the two rows of B orthogonal to each other."""
        muon = keras.optimizers.Muon(1e-2)
        moved, expected = Weights(), Weights()
        rng = np.random.default_rng(0)
        gradients = [
            ops.convert_to_tensor(rng.normal(size=w.shape), "float32")
            for w in moved.weights
        ]
        muon = keras_laurel.prepare_optimizer(muon)
        muon.apply(gradients, moved.weights)
        other = keras.optimizers.AdamW(
            muon.adam_lr_ratio * 1e-2,
            beta_1=muon.adam_beta_1,
            beta_2=muon.adam_beta_2,
            weight_decay=muon.adam_weight_decay,
        )
        other.apply(gradients, expected.weights)
        np.testing.assert_allclose(
            ops.convert_to_numpy(moved["laurel_b"]),
            ops.convert_to_numpy(expected["laurel_b"]),
            rtol=1e-5,
        )


def test_a_converted_task_does_it_in_compile():
    from tests.conversion.hub.checks import ALL
    from tests.conversion.hub.checks import converted_task

    task = converted_task(ALL["Llama"], "rw+lr+pa")
    task.compile(adamw())
    (layer, *_) = keras_laurel.laurel_layers(task)
    decays = task.optimizer._use_weight_decay
    decayed = {w.name for w in layer.weights if decays(w)}
    assert decayed == {"laurel_a", "laurel_b"}


@pytest.mark.parametrize("optimizer", ["adamw", None, keras.optimizers.AdamW])
def test_not_an_optimizer(optimizer):
    with pytest.raises(ValueError, match="`optimizer` got .*; it needs a"):
        keras_laurel.prepare_optimizer(optimizer)


def test_built_already():
    optimizer = adamw()
    Weights().moved_by(optimizer, 0.0)
    with pytest.raises(ValueError, match="a AdamW that is built already"):
        keras_laurel.prepare_optimizer(optimizer)


class TestConversionAfterFit:
    """What `laurelize` gives a compiled model in place of its optimizer."""

    def fresh(self, optimizer):
        from keras_laurel.optimizers import fresh_optimizer

        return keras_laurel.prepare_optimizer(fresh_optimizer(optimizer))

    def test_settings_and_exclusions_are_the_same(self):
        weights = Weights()
        old = adamw(clipnorm=1.0)
        old.exclude_from_weight_decay(
            var_list=[weights["laurel_a"]], var_names=["bias"]
        )
        old.build(weights.weights)
        new = self.fresh(old)
        assert new.get_config() == old.get_config()
        assert weights.moved_by(new, 0.0) == {"laurel_b", "kernel"}

    def test_under_loss_scaling(self):
        weights = Weights()
        inner = adamw()
        inner.exclude_from_weight_decay(var_names=["bias"])
        old = keras.optimizers.LossScaleOptimizer(inner)
        old.build(weights.weights)
        new = self.fresh(old).inner_optimizer
        assert new is not inner
        assert not new._use_weight_decay(weights["bias"])
        assert not new._use_weight_decay(weights["laurel_gamma"])
        assert new._use_weight_decay(weights["kernel"])
