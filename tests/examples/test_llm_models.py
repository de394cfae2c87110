"""The paper's sizes, counted without memory; what cannot be built."""

import dataclasses
import functools
import resource

import keras
import numpy as np
import pytest

from experiments.language.models import ARCHITECTURES
from experiments.language.models import Architecture
from experiments.language.models import build_language_model
from experiments.variants import LaurelSizes
from llm_models import check_sequence_length
from llm_models import check_variant
from llm_models import count_parameters
from llm_models import describe_parameters
from llm_models import find_architecture
from llm_saving import read_preset

SMALL = Architecture(3, 16, 2, 32, 300, 32)


@functools.cache
def counted(variant, name):
    sizes = ARCHITECTURES[name]
    return count_parameters(variant, sizes, LaurelSizes(sizes.paper_rank, 3))


def added(variant, name):
    return counted(variant, name) - counted("baseline", name)


def test_table_5_of_the_paper():
    name = "ablation-157m"
    millions = {
        variant: round(counted(variant, name) / 1e6, 2)
        for variant in ("baseline", "deeper", "rw", "lr", "rw+lr")
    }
    assert millions == {
        "baseline": 157.20,
        "deeper": 179.23,
        "rw": 157.20,
        "lr": 158.40,
        "rw+lr": 158.40,
    }
    assert added("rw", name) == 24 * 2
    assert added("lr", name) == 24 * 2 * 32 * 784
    assert added("rw+lr", name) == 24 * (2 * 32 * 784 + 2)


def test_previous_activations_of_the_first_blocks_are_fewer():
    """24 blocks with all three would have 3.61 M, as the paper's count."""
    activations = [1, 2, *[3] * 22]
    expected = sum(2 * 32 * 784 * k + k + 2 for k in activations)
    assert added("rw+lr+pa", "ablation-157m") == expected
    full = 24 * (2 * 32 * 784 * 3 + 3 + 2)
    assert round(full / 1e6, 1) == 3.6
    assert full - expected == 3 * (2 * 32 * 784 + 1)


def test_the_large_models_are_counted_without_their_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert round(counted("baseline", "llm-4b") / 1e9, 3) == 4.400
    assert added("rw+lr", "llm-4b") == 40 * (2 * 64 * 1152 + 2)
    share = added("rw+lr", "llm-4b") / counted("baseline", "llm-4b")
    assert round(100 * share, 1) == 0.1
    assert round(counted("baseline", "llm-1b") / 1e9, 1) == 1.1
    assert added("rw+lr", "llm-1b") == 16 * (2 * 4 * 1024 + 2)
    share = added("rw+lr", "llm-1b") / counted("baseline", "llm-1b")
    assert round(100 * share, 3) == 0.012
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < 1e9


@pytest.mark.parametrize("variant", ["baseline", "deeper", "rw", "lr+pa"])
def test_the_count_is_that_of_the_model_that_is_built(variant):
    laurel = LaurelSizes(rank=4, num_activations=2)
    model = build_language_model(variant, SMALL, laurel, seed=0)
    assert model.count_params() == count_parameters(variant, SMALL, laurel)


def test_overhead_is_printed():
    line = describe_parameters("rw+lr", SMALL, LaurelSizes(rank=4))
    assert line.startswith("rw+lr: ")
    assert f"parameters, +{3 * (2 * 4 * 16 + 2)} (+2.2" in line


@pytest.mark.parametrize("variant", ["rw", "rw+lr+pa"])
def test_variants_with_one_seed_start_alike(variant):
    tokens = np.arange(40).reshape(2, 20) % 300
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    laurel = LaurelSizes(rank=4)
    models = [
        build_language_model(name, SMALL, laurel, seed)
        for name, seed in (("baseline", 1), (variant, 1), (variant, 2))
    ]
    logits = [keras.ops.convert_to_numpy(model(inputs)) for model in models]
    np.testing.assert_allclose(*logits[:2], rtol=1e-5, atol=1e-6)
    assert np.abs(logits[0] - logits[2]).max() > 1e-3


@pytest.mark.parametrize(
    "variant, laurel, message",
    [
        (
            "rw+xx",
            LaurelSizes(),
            "received `rw\\+xx`, expected one of baseline",
        ),
        ("lr+lr", LaurelSizes(), "joined by `\\+`"),
        ("rw+pa", LaurelSizes(4, 4), "of 3 blocks.*Lower `--num-activations`"),
        ("rw+lr", LaurelSizes(17), "of width 16.*Lower `--rank`"),
    ],
)
def test_variants_that_cannot_be_built_are_refused(variant, laurel, message):
    with pytest.raises(ValueError, match=message):
        check_variant(variant, SMALL, laurel)


def test_unknown_sizes_are_refused():
    with pytest.raises(ValueError, match="expected one of tiny, ablation-157m"):
        find_architecture("llm-2b")
    changed = find_architecture("tiny", vocabulary_size=300, width=None)
    assert changed == dataclasses.replace(
        ARCHITECTURES["tiny"], vocabulary_size=300
    )
    with pytest.raises(ValueError, match="`--sequence-length 32` or less"):
        check_sequence_length(33, SMALL)


@pytest.mark.parametrize("variant", ["baseline", "rw+lr"])
def test_rematerialised_models_train_alike(variant):
    tokens = np.arange(60).reshape(3, 20) % 300
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    losses = []
    for remat in (False, True):
        model = build_language_model(variant, SMALL, LaurelSizes(4), 0, remat)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
        losses += [
            [float(model.train_on_batch(inputs, tokens)[0]) for _ in "ab"]
        ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_preset_in_mixed_precision_is_read_back(tmp_path):
    """Which KerasHub does only when it is given the precision."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        laurel = LaurelSizes(rank=4)
        model = build_language_model("rw+lr", SMALL, laurel, seed=0)
        model.save_to_preset(str(tmp_path))
        loaded = read_preset(tmp_path)
    finally:
        keras.config.set_dtype_policy("float32")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    for saved, read in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(saved, read)
