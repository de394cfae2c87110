import copy
import inspect
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
RATES = {"scalars": 0.25, "low_rank": 0.5}
FACTORS = dict.fromkeys(SCALARS, 0.25) | {"laurel_a": 0.5, "laurel_b": 0.5}


class Weights(keras.Model):
    """A LAuReL layer with all of its weights, and two of other layers.

    All are 1. The loss is their sum, times the input: the gradient of each.
    """

    def __init__(self):
        super().__init__()
        self.laurel = keras_laurel.get("rw+lr+pa", rank=2, normalize="rms")
        self.laurel.build([(None, 8)] * 3)
        self.dense = keras.layers.Dense(8)
        self.dense.build((None, 8))
        self.reset()

    def reset(self):
        for weight in self.weights:
            weight.assign(ops.ones(weight.shape))

    def call(self, x):
        return x * sum(ops.sum(w) for w in self.weights)

    def __getitem__(self, name):
        (found,) = [w for w in self.weights if w.name == name]
        return found

    def after(self, optimizer, *gradients):
        """Return the weights after steps with one gradient for all."""
        self.reset()
        if getattr(self, "optimizer", None) is not optimizer:
            self.compile(optimizer, lambda y, loss: loss[:, 0])
        for gradient in gradients:
            x = np.full((1, 1), gradient, "float32")
            self.train_on_batch(x, x)
        values = {w.name: ops.convert_to_numpy(w) for w in self.weights}
        for name, value in values.items():
            np.testing.assert_array_equal(value, value.ravel()[0], name)
        return {name: value.ravel()[0] for name, value in values.items()}

    def moved_by(self, optimizer, gradient):
        """The names of what a step moves."""
        after = self.after(optimizer, gradient)
        return {name for name, value in after.items() if value != 1}


def adamw(**kwargs):
    return keras.optimizers.AdamW(1e-2, weight_decay=0.1, **kwargs)


def sgd(rate=1.0, **kwargs):
    return keras.optimizers.SGD(rate, **kwargs)


def rated(optimizer):
    return keras_laurel.prepare_optimizer(optimizer, rates=RATES)


def test_weight_decay_leaves_scalars_alone():
    weights = Weights()
    everything = {w.name for w in weights.weights}
    assert SCALARS < everything
    assert weights.moved_by(adamw(), 0.0) == everything
    prepared = keras_laurel.prepare_optimizer(adamw())
    assert weights.moved_by(prepared, 0.0) == everything - SCALARS
    assert weights.moved_by(prepared, 1.0) == everything


def test_earlier_exclusions_stay():
    weights = Weights()
    optimizer = adamw()
    optimizer.exclude_from_weight_decay(
        var_list=[weights["laurel_a"]], var_names=["bias"]
    )
    for _ in range(2):
        assert keras_laurel.prepare_optimizer(optimizer) is optimizer
    assert weights.moved_by(optimizer, 0.0) == {"laurel_b", "kernel"}


def test_optimizers_without_weight_decay():
    prepared = keras_laurel.prepare_optimizer(keras.optimizers.SGD(0.1))
    assert Weights().moved_by(prepared, 0.0) == set()


def test_nothing_to_decay():
    """Keras' own optimizers raise on PyTorch."""
    weights = Weights()
    for weight in weights.dense, weights["laurel_a"], weights["laurel_b"]:
        weight.trainable = False
    optimizer = adamw()
    for _ in range(2):
        keras_laurel.prepare_optimizer(optimizer)
    assert weights.moved_by(optimizer, 0.0) == set()
    assert weights.moved_by(optimizer, 1.0) == SCALARS


class Wrapper(keras.optimizers.Optimizer):
    """An optimizer as a user may write it, around another one."""

    def __init__(self, inside, name=None):
        super().__init__(0.0, name=name)
        self.inside = [inside]

    def build(self, variables):
        self.inside[0].build(variables)
        super().build(variables)

    @property
    def variables(self):
        return self._variables + self.inside[0].variables

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
    "itself": lambda make: make(),
    "map": by_map,
    "function": by_function,
    "loss scale of map": lambda make: scaled(by_map(make)),
    "loss scale of own": lambda make: scaled(Wrapper(make())),
    "own of own of map": lambda make: Wrapper(Wrapper(by_map(make))),
}


@pytest.mark.parametrize("name", NESTED)
def test_optimizers_inside_others(name):
    """Both what decays, and how far each weight goes."""

    def make():
        optimizer = sgd(weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    weights, by_choice = Weights(), name == "function"
    outer = NESTED[name](make)
    prepare = keras_laurel.prepare_optimizer
    assert prepare(outer, None if by_choice else RATES) is outer
    factors = dict.fromkeys(FACTORS, 1.0) if by_choice else FACTORS
    start = dict.fromkeys(SCALARS | {"bias"}, 1.0)
    start |= dict.fromkeys(["kernel", "laurel_a", "laurel_b"], 0.5)
    moved = {name: x - factors.get(name, 1.0) for name, x in start.items()}
    assert weights.after(outer, 0.0) == start
    assert weights.after(outer, 1.0) == moved
    if not by_choice:
        with keras.saving.custom_object_scope({"Wrapper": Wrapper}):
            fresh = prepare(optimizers.fresh_optimizer(outer))
        assert Weights().after(fresh, 1.0) == moved


@pytest.fixture(params=["float32", "mixed_float16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def test_fit_without_gradients(policy):
    """In mixed precision Keras itself puts a `LossScaleOptimizer` around."""
    inputs = keras.Input((8,))
    fx = keras.layers.Dense(8, bias_initializer="ones")(inputs)
    layer = keras_laurel.get("rw+lr+pa", rank=2, normalize="rms")
    model = keras.Model(inputs, layer([inputs, fx, inputs]))
    for weight in layer.weights:
        weight.assign(ops.ones(weight.shape) * 1.25)
    before = [ops.convert_to_numpy(w) for w in model.weights]
    optimizer = keras_laurel.prepare_optimizer(adamw(), RATES)
    model.compile(optimizer, lambda y, outputs: 0 * ops.mean(outputs, -1))
    assert (model.optimizer is optimizer) == (policy == "float32")
    data = np.ones((4, 8), "float32")
    model.fit(data, data, batch_size=2, verbose=0)
    assert SCALARS < {w.name for w in model.weights}
    for weight, old in zip(model.weights, before):
        # Two steps that each take the rate times the decay.
        kept = 1 if weight.name in SCALARS else (1 - 1e-2 * 0.1) ** 2
        found = ops.convert_to_numpy(weight)
        if kept == 1:
            np.testing.assert_array_equal(found, old, weight.name)
        else:
            np.testing.assert_allclose(found, old * kept, rtol=1e-6)


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


def test_what_is_private_in_keras():
    """If this fails after an update of Keras, adapt `optimizers.py`."""
    adapt = "Keras changed; adapt keras_laurel/optimizers.py"
    base = keras.optimizers.Optimizer

    def arguments(name):
        return list(inspect.signature(getattr(base, name)).parameters)

    assert arguments("_backend_update_step") == [
        "self",
        "grads",
        "trainable_variables",
        "learning_rate",
    ], adapt
    assert arguments("_apply_weight_decay") == ["self", "variables"], adapt
    assert arguments("_use_weight_decay") == ["self", "variable"], adapt
    weights, optimizer = Weights(), adamw()
    optimizer.exclude_from_weight_decay([weights["laurel_a"]], ["bias"])
    assert len(optimizer._exclude_from_weight_decay) == 1, adapt
    assert optimizer._exclude_from_weight_decay_pattern.pattern == "bias", adapt
    chosen = keras.optimizers.OptimizerMap(optimizer)
    outer = keras.optimizers.MultiOptimizer(chosen)
    assert outer._optimizer_map is chosen, adapt


@pytest.mark.parametrize("optimizer", ["adamw", None, keras.optimizers.AdamW])
def test_not_an_optimizer(optimizer):
    with pytest.raises(ValueError, match="`optimizer` must be a .*Received"):
        keras_laurel.prepare_optimizer(optimizer)


def test_built_already():
    optimizer = adamw()
    optimizer.build(Weights().weights)
    with pytest.raises(ValueError, match="`AdamW`, which is built already"):
        keras_laurel.prepare_optimizer(optimizer)


class TestConversionAfterFit:
    """The optimizer that `laurelize` gives a compiled model."""

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


class TestRates:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: sgd(
                0.125,
                momentum=0.5,
                nesterov=True,
                gradient_accumulation_steps=2,
                global_clipnorm=0.5,
            ),
            lambda: keras.optimizers.Adam(1e-2),
        ],
    )
    def test_what_happens_besides_is_the_same(self, make):
        plain = Weights().after(make(), *4 * [1.0])
        found = Weights().after(rated(make()), *4 * [1.0])
        assert found["kernel"] == found["bias"] == plain["kernel"] < 1
        for name, factor in FACTORS.items():
            expected = factor * (1 - plain[name])
            assert 1 - found[name] == pytest.approx(expected, rel=1e-4)

    def test_averages(self):
        weights = Weights()
        optimizer = rated(sgd(use_ema=True, ema_momentum=0.5))
        weights.after(optimizer, 1.0, 1.0)
        optimizer.finalize_variable_values(weights.trainable_variables)
        # 1 - f, then half of that and half of 1 - 2 f.
        found = ops.convert_to_numpy(weights["laurel_gamma"])
        np.testing.assert_array_equal(found, 1 - 1.5 * 0.25)

    def test_another_call_keeps_or_replaces_them(self):
        optimizer = keras_laurel.prepare_optimizer(rated(sgd()))
        assert optimizer._laurel_rates == RATES
        keras_laurel.prepare_optimizer(optimizer, rates={})
        assert set(Weights().after(optimizer, 1.0).values()) == {0.0}

    def test_a_copy_has_them(self):
        weights, optimizer = Weights(), rated(adamw())
        other = copy.deepcopy(optimizer)
        assert other is not optimizer and other._laurel_rates == RATES
        assert weights.moved_by(other, 0.0) == set(FACTORS) - SCALARS | {
            "kernel",
            "bias",
        }

    def test_callbacks_set_the_rate_in_fit(self):
        inputs = keras.Input((8,))
        layer = keras_laurel.LaurelLR(rank=2)
        model = keras.Model(inputs, layer([inputs, 2 * inputs]))
        before = ops.convert_to_numpy(layer.laurel_b)
        data = np.ones((2, 8), "float32")
        set_rate = keras.callbacks.LearningRateScheduler(lambda _: 0.25)
        moved = []
        for rate, factor, callbacks in (0.25, 1.0, []), (1.0, 0.5, [set_rate]):
            layer.laurel_b.assign(before)
            optimizer = sgd(rate)
            keras_laurel.prepare_optimizer(optimizer, {"low_rank": factor})
            model.compile(optimizer, "mse")
            model.fit(data, data, verbose=0, callbacks=callbacks)
            moved.append(ops.convert_to_numpy(layer.laurel_b) - before)
        assert np.abs(moved[0]).max() > 0
        np.testing.assert_allclose(moved[1], moved[0] / 2, rtol=1e-6)

    def test_training_resumes_in_another_process(self, tmp_path):
        for name in RESUMED:
            model = resumable_model(name)
            train(model)
            model.save(tmp_path / f"{name}.keras")
            train(model)
            np.savez(tmp_path / f"{name}.npz", *state(model))
        status, output = run(__file__, tmp_path)
        assert status == 0, output
        assert output.split()[-1] == "same", output

    @pytest.mark.parametrize(
        "rates",
        [
            0.1,
            {"alpha": 0.1},
            {"scalars": 0},
            {"scalars": 10**400},
            {"low_rank": "1"},
        ],
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


RESUMED = ("itself", "loss scale of map")


def resumable_model(name):
    keras.utils.set_random_seed(0)
    x = keras.Input((8,))
    layer = keras_laurel.get("rw+lr", rank=2)
    outputs = layer([x, keras.layers.Dense(8, "tanh")(x)])
    model = keras.Model(x, outputs)

    def make():
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 20)
        optimizer = keras.optimizers.AdamW(
            schedule, global_clipnorm=1.0, gradient_accumulation_steps=2
        )
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        return optimizer

    model.compile(rated(NESTED[name](make)), "mse")
    return model


def train(model):
    data = np.random.default_rng(0).normal(size=(6, 8)).astype("float32")
    model.fit(data, -data, batch_size=2, shuffle=False, verbose=0)


def state(model):
    variables = [*model.weights, *model.optimizer.variables]
    return [ops.convert_to_numpy(v) for v in variables]


def resume(folder):
    """Continue from each file; raise unless all is as without interruption."""
    for name in RESUMED:
        model = keras.saving.load_model(f"{folder}/{name}.keras")
        train(model)
        expected = np.load(f"{folder}/{name}.npz")
        found = state(model)
        assert len(found) == len(expected.files) > 20
        for one, key in zip(found, expected.files):
            np.testing.assert_array_equal(one, expected[key])
    print("same")


if __name__ == "__main__":
    resume(sys.argv[1])
