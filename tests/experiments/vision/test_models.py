"""The models on images: their sizes, their shared start, what decays."""

import dataclasses

import keras
import numpy as np
import pytest

from experiments.configs import find_experiment
from experiments.plan import count
from experiments.plan import without_memory
from experiments.vision import models
from experiments.vision.models import build_classifier
from experiments.vision.settings import VisionSettings
from experiments.vision.trainer import build_optimizer
from keras_laurel import laurel_layers
from keras_laurel import residual_sites
from tests.backends import once
from tests.experiments.tiny import build_tiny

pytestmark = once

RESNET50 = VisionSettings(image_size=32)


def build(settings, seed=1, classes=1000, **changes):
    settings = dataclasses.replace(settings, **changes)
    return build_classifier(settings, classes, seed)


def parameters(settings, **changes):
    model = without_memory(lambda: build(settings, **changes))
    return count(model.trainable_weights)


@pytest.mark.parametrize("backbone", ["keras_cv", "keras_hub"])
def test_parameters_of_resnet50(backbone):
    some = dataclasses.replace(RESNET50, backbone=backbone)
    assert parameters(some) == 25_557_032
    assert parameters(some, variant="rw") == 25_557_032 + 32
    assert parameters(some, variant="rw+lr") == 25_557_032 + 483_360
    added = parameters(some, variant="rw+lr", sites="identity") - 25_557_032
    assert added == 360_472


@pytest.fixture(scope="module")
def narrow():
    return find_experiment("table_1").settings


def test_the_narrow_network_has_the_connections_of_resnet50(narrow):
    model = without_memory(lambda: build(narrow))
    sites = residual_sites(model)
    assert len(sites) == 16
    assert [site.kind for site in sites].count("identity") == 12
    deeper = without_memory(lambda: build(narrow, variant="deeper"))
    assert len(residual_sites(deeper)) == 17


# The widths of all connections, and of those whose skip is the identity.
WIDTHS, IDENTITY_WIDTHS = 7 * 64 + 9 * 128, 5 * 64 + 7 * 128


@pytest.mark.parametrize(
    "experiment, arm, connections, added",
    [
        ("table_1", "rw", 16, 16 * 2),
        ("table_1", "rw+lr", 16, 16 * 2 + 2 * WIDTHS),
        ("figure_3", "rank-16", 16, 16 * 2 + 2 * 16 * WIDTHS),
        ("vision_choices", "complement", 16, 16 + 2 * 4 * WIDTHS),
        ("vision_choices", "sigmoid", 16, 16 * 2 + 2 * 4 * WIDTHS),
        ("vision_choices", "scale-0.5", 16, 16 * 2 + 2 * 4 * WIDTHS),
        ("vision_choices", "lr-rank-4", 16, 2 * 4 * WIDTHS),
        ("vision_choices", "per-channel", 16, (2 + 2 * 4) * WIDTHS),
        (
            *("vision_choices", "identity-sites", 12),
            12 * 2 + 2 * 4 * IDENTITY_WIDTHS,
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*rank:UserWarning")
def test_what_an_arm_adds(experiment, arm, connections, added, narrow):
    settings = find_experiment(experiment).settings_of(arm)
    model = without_memory(lambda: build_classifier(settings, 10, seed=0))
    assert len(laurel_layers(model)) == connections
    plain = parameters(narrow, classes=10)
    assert count(model.trainable_weights) - plain == added
    if arm == "sigmoid":
        assert laurel_layers(model)[0].residual_weights == "sigmoid"
    if arm == "scale-0.5":
        assert laurel_layers(model)[0].scale == 0.5


def test_starts_of_a():
    settings = {
        name: find_experiment("vision_choices").settings_of(name)
        for name in ("orthogonal", "column-orthogonal")
    }
    for name, scale in (("orthogonal", 1), ("column-orthogonal", 1 / 4**2)):
        layer = models.laurel_layer(settings[name], rank=4)
        layer.build([(None, 8, 8, 64)] * 2)
        a = keras.ops.convert_to_numpy(layer.laurel_a)[0]
        np.testing.assert_allclose(a.T @ a, scale * np.eye(4), atol=1e-5)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(models, "build_keras_cv", build_tiny)
    return dataclasses.replace(RESNET50, rank=2)


@pytest.mark.parametrize("variant", ["rw", "pa", "rw+lr+pa"])
def test_variants_of_one_seed_start_alike(tiny, variant):
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    logits = [
        keras.ops.convert_to_numpy(
            build(tiny, seed, 10, variant=name)(images.astype("float32"))
        )
        for name, seed in (("baseline", 1), (variant, 1), (variant, 2))
    ]
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-5, atol=1e-6)
    assert np.abs(logits[0] - logits[2]).max() > 0.1


def test_a_deeper_model_shares_its_start(tiny):
    plain, deeper = build(tiny), build(tiny, variant="deeper")
    shared = {weight.path: weight for weight in plain.weights}
    same = [weight for weight in deeper.weights if weight.path in shared]
    assert len(same) == len(shared) < len(deeper.weights)
    for weight in same:
        np.testing.assert_array_equal(weight, shared[weight.path])


def test_weight_decay_touches_kernels_and_low_rank_factors_only(tiny):
    model = build(tiny, variant="rw+lr+pa")
    optimizer = build_optimizer(tiny, 10)
    optimizer.build(model.trainable_variables)
    decayed = {
        weight.name
        for weight in model.trainable_variables
        if optimizer._use_weight_decay(weight)
    }
    assert decayed == {"kernel", "laurel_a", "laurel_b"}


def test_laurel_rates_reach_the_optimizer(tiny):
    some = dataclasses.replace(tiny, laurel_rates=(0.25, 0.5))
    rates = build_optimizer(some, 10).get_config()["rates"]
    assert rates == {"scalars": 0.25, "low_rank": 0.5}
    assert "rates" not in build_optimizer(tiny, 10).get_config()
