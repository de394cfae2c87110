"""The variants: their sizes, their shared start, and what they decay."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_laurel
import resnet50_models
from command_line import parse_options
from resnet50_models import Architecture
from resnet50_models import build_classifier
from resnet50_models import check_variant
from resnet50_models import trainable_parameters
from settings import pick
from trial_training import Recipe
from trial_training import build_optimizer
from trial_training import compile_classifier

RESNET50 = Architecture(image_size=32)


@pytest.fixture(scope="module")
def baseline():
    return build_classifier("baseline", RESNET50, seed=1)


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(resnet50_models, "FILTERS", (8, 8, 8, 8))
    return dataclasses.replace(RESNET50, num_classes=10, rank=4)


def shared_weights(model, other):
    """Pairs of weights of the layers that two models both have."""
    names = {layer.name: layer for layer in other.layers}
    for layer in model.layers:
        if layer.weights and layer.name in names:
            yield from zip(layer.weights, names[layer.name].weights)


def test_the_extra_layer_is_one_block_of_the_third_stage(baseline):
    deeper = build_classifier("extra-layer", RESNET50, seed=1)
    assert trainable_parameters(baseline) == 25_557_032
    added = trainable_parameters(deeper) - trainable_parameters(baseline)
    assert added == 1_117_184
    assert f"{100 * added / 25_557_032:.2f}" == "4.37"
    pairs = list(shared_weights(baseline, deeper))
    assert len(pairs) == len(baseline.weights)
    for weight, same in pairs:
        np.testing.assert_array_equal(weight, same)


def test_keras_hub_builds_the_same_network():
    hub = dataclasses.replace(RESNET50, backbone="keras_hub")
    model = build_classifier("baseline", hub, seed=1)
    assert trainable_parameters(model) == 25_557_032
    assert len(keras_laurel.residual_sites(model)) == 16


def test_applications_has_biases_and_no_extra_layer():
    other = dataclasses.replace(RESNET50, backbone="applications")
    model = build_classifier("baseline", other, seed=1)
    assert trainable_parameters(model) == 25_583_592
    with pytest.raises(ValueError, match="not available with `--backbone"):
        check_variant("extra-layer", other)


@pytest.mark.parametrize(
    "variant, sites, added",
    [
        ("rw", "all", 32),
        ("rw+lr", "all", 483_360),
        ("rw+lr", "identity", 360_472),
    ],
)
def test_parameters_added_by_laurel(baseline, variant, sites, added):
    some = dataclasses.replace(RESNET50, sites=sites)
    model = build_classifier(variant, some, seed=1)
    assert trainable_parameters(model) == 25_557_032 + added
    count = {"all": 16, "identity": 12}[sites]
    assert len(keras_laurel.laurel_layers(model)) == count


@pytest.mark.parametrize("variant", ["rw", "lr", "pa", "rw+lr+pa"])
def test_variants_with_one_seed_start_alike(narrow, variant):
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    logits = [
        keras.ops.convert_to_numpy(
            build_classifier(name, narrow, seed)(images.astype("float32"))
        )
        for name, seed in (("baseline", 1), (variant, 1), (variant, 2))
    ]
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-5, atol=1e-6)
    assert np.abs(logits[0] - logits[2]).max() > 0.1


def test_weight_decay_touches_kernels_and_low_rank_factors_only(narrow):
    model = build_classifier("rw+lr+pa", narrow, seed=1)
    compile_classifier(model, Recipe(epochs=2, weight_decay=0.1), 10)
    decayed = {
        weight.name
        for weight in model.trainable_variables
        if model.optimizer._use_weight_decay(weight)
    }
    assert decayed == {"kernel", "laurel_a", "laurel_b"}
    names = {weight.name for weight in model.trainable_variables}
    assert {"laurel_residual_weights", "laurel_gamma"} <= names


def test_laurel_rates_are_those_of_the_command():
    options = parse_options("--laurel-rates 0.25 0.5".split())
    recipe = Recipe(**pick(vars(options), Recipe))
    rates = build_optimizer(recipe, 10).get_config()["rates"]
    assert rates == {"scalars": 0.25, "low_rank": 0.5}
    assert "rates" not in build_optimizer(Recipe(2), 10).get_config()


def test_unknown_variants_are_refused():
    with pytest.raises(ValueError, match="received `rw\\+xx`, expected one"):
        check_variant("rw+xx", RESNET50)
