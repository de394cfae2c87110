"""The paper's sizes, first weights, and what cannot be built."""

import dataclasses
import functools
import resource

import keras
import ml_dtypes
import numpy as np
import pytest

import keras_laurel
from experiments.language.conversion import CastLaurel
from experiments.language.conversion import build_model
from experiments.language.conversion import round_to_bfloat16
from experiments.language.initialization import initialize
from experiments.language.models import ARCHITECTURES
from experiments.language.models import Architecture
from experiments.language.models import architecture_of
from experiments.language.saving import find_preset
from experiments.language.saving import read_preset
from experiments.language.settings import LanguageSettings
from experiments.plan import count
from experiments.plan import without_memory
from tests.backends import once

pytestmark = once

SMALL = Architecture(3, 16, 2, 32, 300, 32, paper_rank=4)
TINY = LanguageSettings(initialization="fan_in", rank=4)


@functools.cache
def counted(variant, name):
    settings = LanguageSettings(variant=variant)
    sizes = ARCHITECTURES[name]
    built = without_memory(lambda: build_model(settings, sizes, seed=0))
    return count(built.weights)


def added(variant, name):
    return counted(variant, name) - counted("baseline", name)


def test_table_5_of_the_paper():
    name = "ablation-157m"
    millions = {
        variant: round(counted(variant, name) / 1e6, 2)
        for variant in ("baseline", "deeper", "rw", "rw+lr")
    }
    assert millions == {
        "baseline": 157.20,
        "deeper": 179.23,
        "rw": 157.20,
        "rw+lr": 158.40,
    }
    assert added("rw", name) == 24 * 2
    assert added("rw+lr", name) == 24 * (2 * 32 * 784 + 2)
    # The first blocks have fewer previous activations.
    activations = [1, 2, *[3] * 22]
    expected = sum(2 * 32 * 784 * k + k + 2 for k in activations)
    assert added("rw+lr+pa", name) == expected


def test_the_large_models_are_counted_without_their_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert round(counted("baseline", "llm-4b") / 1e9, 3) == 4.400
    assert added("rw+lr", "llm-4b") == 40 * (2 * 64 * 1152 + 2)
    assert round(counted("baseline", "llm-1b") / 1e9, 1) == 1.1
    assert added("rw+lr", "llm-1b") == 16 * (2 * 4 * 1024 + 2)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 1e9


def logits(model):
    tokens = np.arange(40).reshape(2, 20) % 300
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    return keras.ops.convert_to_numpy(model(inputs))


def start(seed=1, **changes):
    settings = dataclasses.replace(TINY, **changes)
    model = build_model(settings, SMALL, seed)
    initialize(model, settings, SMALL, seed)
    return model


def test_variants_of_one_seed_start_alike():
    plain = logits(start())
    converted = logits(start(variant="rw+lr+pa"))
    np.testing.assert_allclose(plain, converted, rtol=1e-5, atol=1e-6)
    assert np.abs(plain - logits(start(seed=2))).max() > 1e-2
    moved = np.abs(plain - logits(start(perturbation=1e-6))).max()
    assert 0 < moved < 1e-3


def test_first_weights_by_fan_in():
    wide = dataclasses.replace(SMALL, width=64, num_heads=2, num_blocks=2)
    model = build_model(TINY, wide, seed=0)
    initialize(model, TINY, wide, seed=0)
    expected = {
        "token_embedding/embeddings": 1,
        "token_embedding/reverse_embeddings": 1 / 8,
        "query/kernel": 1 / 8,
        "attention_output/kernel": 1 / 8 / 2,
        "feedforward_intermediate_dense/kernel": 1 / 8,
        "feedforward_output_dense/kernel": 1 / 32**0.5 / 2,
    }
    for ending, deviation in expected.items():
        found = [x for x in model.backbone.weights if x.path.endswith(ending)]
        assert found, ending
        for weight in found:
            values = keras.ops.convert_to_numpy(weight)
            assert values.std() == pytest.approx(deviation, rel=0.1)
    scales = [x for x in model.backbone.weights if x.name == "scale"]
    assert scales and all((np.array(x) == 1).all() for x in scales)


def test_a_deeper_model_has_the_baselines_blocks():
    plain, deeper = start(), start(variant="deeper")
    shared = {weight.path: weight for weight in plain.weights}
    same = [weight for weight in deeper.weights if weight.path in shared]
    assert len(same) == len(shared) < len(deeper.weights)
    for weight in same:
        np.testing.assert_array_equal(weight, shared[weight.path])


@pytest.mark.parametrize("trained", ["laurel", "plain"])
def test_what_is_frozen(trained):
    model = start(variant="rw+lr", trained=trained)
    names = {weight.name for weight in model.trainable_weights}
    of_laurel = {name for name in names if name.startswith("laurel_")}
    assert of_laurel == (names if trained == "laurel" else set())
    assert names


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model": "llm-2b"}, "must be one of tiny, ablation-157m, ablation-n"),
        ({"sequence_length": 129}, "at most 128 for model='tiny'"),
        ({"width": 33}, "must be a multiple of 32"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        architecture_of(LanguageSettings(**changes))


def test_sizes_that_change():
    sizes = architecture_of(
        LanguageSettings(depth=8, width=64, vocabulary_size=300, rank=2)
    )
    assert sizes == Architecture(8, 64, 2, 192, 300, 128, paper_rank=2)


@pytest.mark.parametrize("variant", ["baseline", "rw+lr"])
def test_rematerialised_models_train_alike(variant):
    tokens = np.arange(60).reshape(3, 20) % 300
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    losses = []
    for remat in (False, True):
        model = build_model(
            LanguageSettings(variant=variant, remat=remat), SMALL, 0
        )
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
        losses += [
            [float(model.train_on_batch(inputs, tokens)[0]) for _ in "ab"]
        ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_preset_in_mixed_precision_is_read_back(tmp_path):
    """KerasHub does so only when it is given the precision."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model(LanguageSettings(variant="rw+lr"), SMALL, seed=0)
        model.save_to_preset(str(tmp_path))
        loaded = read_preset(tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    for saved, read in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(saved, read)


def test_presets_are_found_beside_a_run(tmp_path):
    folder = tmp_path / "table_5" / "baseline" / "seed_1" / "preset"
    folder.mkdir(parents=True)
    (folder / "preprocessor.json").write_text("{}")
    settings = LanguageSettings(start_from="table_5/baseline")
    assert find_preset(settings, 1, tmp_path / "upcycling") == folder
    with pytest.raises(ValueError, match="table_5 --arms baseline --seeds 3"):
        find_preset(settings, 2, tmp_path / "upcycling")
    assert find_preset(LanguageSettings(), 0, tmp_path) is None


def test_alpha_beta_and_gamma_are_rounded_where_they_are_applied():
    values = np.random.default_rng(0).normal(1, 0.1, 10_000).astype("float32")
    expected = values.astype(ml_dtypes.bfloat16).astype("float32")
    rounded = round_to_bfloat16(keras.ops.array(values))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(rounded), expected)


@pytest.mark.parametrize(
    "kind, expected", [(keras_laurel.Laurel, -3.8), (CastLaurel, 0.0)]
)
def test_what_casting_loses_in_a_compiled_model(kind, expected):
    x = keras.Input((4,))
    layer = kind("softmax", dtype="mixed_bfloat16")
    model = keras.Model(x, layer([x, -x]))
    # alpha is 1.0019 and beta 0.9981.
    layer.set_weights([np.array([0.0019, -0.0019])])
    out = model.predict(np.full((1, 4), 1000.0), verbose=0)
    np.testing.assert_allclose(out, expected, rtol=0.01)
