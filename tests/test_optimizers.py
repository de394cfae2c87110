import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from keras_laurel import optimizers
from tests.processes import run

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


class Wrapper(keras.optimizers.Optimizer):
    """An optimizer as a user may write it, around another one."""

    def __init__(self, inside, name=None):
        super().__init__(0.0, name=name)
        self.inside = [inside]

    def build(self, variables):
        self.inside[0].build(variables)
        super().build(variables)

    def apply(self, grads, trainable_variables=None):
        self.inside[0].apply(grads, trainable_variables)

    def get_config(self):
        inside = keras.saving.serialize_keras_object(self.inside[0])
        return {"inside": inside, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["inside"]))


def by_map(make):
    """LAuReL's scalars and its other weights have optimizers of their own."""
    scalars = "(.*/)?laurel_(res|ga|norm).*"
    optimizers = {scalars: make(), "(.*/)?laurel_[ab]": make()}
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(make(), optimizers)
    )


def by_function(make):
    first, second = make(), make()
    return keras.optimizers.MultiOptimizer(
        lambda variable: first if "laurel" in variable.path else second
    )


def scaled(optimizer):
    return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)


NESTED = {
    "loss scale": lambda make: scaled(make()),
    "map": by_map,
    "function": by_function,
    "loss scale of map": lambda make: scaled(by_map(make)),
    "own": lambda make: Wrapper(make()),
    "own of loss scale": lambda make: Wrapper(scaled(make())),
    "own of own of map": lambda make: Wrapper(Wrapper(by_map(make))),
}


@pytest.mark.parametrize("name", NESTED)
def test_optimizers_inside_others_are_prepared(name):
    def make():
        optimizer = adamw()
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    outer = NESTED[name](make)
    assert keras_laurel.prepare_optimizer(outer) is outer
    decayed = {"laurel_a", "laurel_b", "kernel"}
    assert Weights().moved_by(outer, 0.0) == decayed
    if name != "function":
        with keras.saving.custom_object_scope({"Wrapper": Wrapper}):
            fresh = optimizers.fresh_optimizer(outer)
        keras_laurel.prepare_optimizer(fresh)
        assert Weights().moved_by(fresh, 0.0) == decayed


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


RATES = {"scalars": 0.25, "low_rank": 0.5}
FACTORS = dict.fromkeys(SCALARS, 0.25) | {"laurel_a": 0.5, "laurel_b": 0.5}


def sgd(rate=1.0, **kwargs):
    return keras.optimizers.SGD(rate, **kwargs)


def rated(optimizer):
    return keras_laurel.prepare_optimizer(optimizer, rates=RATES)


class TestRates:
    def moves(self, optimizer, steps=1):
        """How far each weight goes, over how far one with factor 1 goes."""
        weights = Weights()
        for _ in range(steps):
            weights.moved_by(optimizer, 1.0)
        weights = {
            w.name: 1 - ops.convert_to_numpy(w).ravel()[0]
            for w in weights.weights
        }
        kernel = weights.pop("kernel")
        assert weights.pop("bias") == kernel
        return kernel, {name: x / kernel for name, x in weights.items()}

    @pytest.mark.parametrize("name", [x for x in NESTED if x != "function"])
    def test_inside_others(self, name):
        with keras.saving.custom_object_scope({"Wrapper": Wrapper}):
            optimizer = rated(NESTED[name](sgd))
            for one in (optimizer, optimizers.fresh_optimizer(optimizer)):
                assert self.moves(one) == (1.0, FACTORS)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: sgd(0.125, momentum=0.5, nesterov=True),
            lambda: sgd(0.125, gradient_accumulation_steps=2),
            lambda: sgd(0.125, global_clipnorm=0.5),
            lambda: keras.optimizers.Adam(1e-2),
            lambda: keras.optimizers.Lion(1e-2),
        ],
    )
    def test_what_happens_besides_is_the_same(self, make):
        expected, _ = self.moves(make(), 4)
        kernel, factors = self.moves(rated(make()), 4)
        assert kernel == expected > 0
        assert factors == pytest.approx(FACTORS, rel=1e-4)

    def test_averages(self):
        weights = Weights()
        optimizer = rated(sgd(use_ema=True, ema_momentum=0.5))
        for _ in range(2):
            weights.moved_by(optimizer, 1.0)
        optimizer.finalize_variable_values(weights.weights)
        # 1 - f, then half of that and half of 1 - 2 f.
        found = ops.convert_to_numpy(weights["laurel_gamma"])
        np.testing.assert_array_equal(found, 1 - 1.5 * 0.25)

    def test_another_call_keeps_or_replaces_them(self):
        optimizer = keras_laurel.prepare_optimizer(rated(sgd()))
        assert self.moves(optimizer) == (1.0, FACTORS)
        optimizer = rated(sgd())
        keras_laurel.prepare_optimizer(optimizer, rates={})
        assert set(self.moves(optimizer)[1].values()) == {1.0}

    @pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
    def test_callbacks_set_the_rate_in_fit(self, policy):
        inputs = keras.Input((8,))
        layer = keras_laurel.LaurelLR(rank=2, dtype=policy)
        model = keras.Model(inputs, layer([inputs, 2 * inputs]))
        before = ops.convert_to_numpy(layer.laurel_b)
        moved = []
        for factor in (1.0, 0.5):
            layer.laurel_b.assign(before)
            optimizer = sgd()
            keras_laurel.prepare_optimizer(optimizer, {"low_rank": factor})
            if policy == "mixed_float16":
                optimizer = scaled(optimizer)
            model.compile(optimizer, "mse")
            data = np.ones((2, 8), "float32")
            # The first rate is a schedule's, the callback's is in its place.
            set_rate = keras.callbacks.LearningRateScheduler(lambda _: 0.25)
            target = getattr(optimizer, "inner_optimizer", optimizer)
            if target is optimizer:
                model.fit(data, data, verbose=0, callbacks=[set_rate])
            else:
                model.fit(data, data, verbose=0)
            moved.append(ops.convert_to_numpy(layer.laurel_b) - before)
        assert np.abs(moved[0]).max() > 0
        np.testing.assert_allclose(moved[1], moved[0] / 2, rtol=1e-6)

    def test_training_resumes_in_another_process(self, tmp_path):
        run(__file__, tmp_path, "start")
        run(__file__, tmp_path, "resume")
        whole, resumed = (
            np.load(tmp_path / f"{part}.npz") for part in ("start", "resume")
        )
        assert len(whole.files) > 5
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], resumed[name])

    @pytest.mark.parametrize(
        "rates", [0.1, {"alpha": 0.1}, {"scalars": 0}, {"low_rank": "1"}]
    )
    def test_bad_rates(self, rates):
        with pytest.raises(ValueError, match="`rates` must be a dict .*Rece"):
            keras_laurel.prepare_optimizer(sgd(), rates=rates)

    @pytest.mark.parametrize(
        "make", [keras.optimizers.Nadam, lambda: by_function(sgd)]
    )
    def test_optimizers_that_take_none(self, make):
        with pytest.raises(ValueError, match="`rates` must be None for"):
            rated(make())


def resumable_model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8,))
    for _ in range(2):
        layer = keras_laurel.get("rw+lr", rank=2)
        x = layer([x, keras.layers.Dense(8, "tanh")(x)])
    model = keras.Model(inputs, x)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 20)
    optimizer = keras.optimizers.AdamW(
        schedule, global_clipnorm=1.0, gradient_accumulation_steps=2
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(rated(optimizer), "mse")
    return model


def main(folder, part):
    """Train in two halves; `resume` has the first from a file."""
    data = np.random.default_rng(0).normal(size=(8, 8)).astype("float32")
    settings = dict(batch_size=2, shuffle=False, verbose=0)
    if part == "start":
        model = resumable_model()
        model.fit(data, -data, **settings)
        model.save(folder + "/model.keras")
    else:
        model = keras.saving.load_model(folder + "/model.keras")
    model.fit(data, -data, **settings)
    weights = {w.path: ops.convert_to_numpy(w) for w in model.weights}
    np.savez(folder + f"/{part}.npz", **weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
