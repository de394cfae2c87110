"""The plan's bytes, against counting, and its text."""

import math

import keras
import numpy as np
import pytest

from keras_laurel import distribution
from tests.distribution.meshes import mesh
from tests.small_models import convert
from tests.small_models import llama
from tests.small_models import residual_mlp
from tests.small_models import without_values


def model_parallel(layout_map):
    return keras.distribution.ModelParallel(
        layout_map=layout_map, batch_dim_name="batch"
    )


def test_without_a_distribution_every_device_has_all():
    model = residual_mlp()
    model.layers[1].trainable = False
    plan = distribution.plan_memory(model, optimizer_slots=1)
    assert plan.weights == 4 * 3 * (8 * 8 + 8)
    assert plan.gradients == plan.optimizer == 4 * 2 * (8 * 8 + 8)
    assert plan.total == plan.weights + 2 * plan.gradients
    assert str(plan).startswith("Mesh: none")


def test_one_device_is_one():
    fsdp = distribution.FullyShardedDataParallel(mesh(1))
    lines = str(distribution.plan_memory(residual_mlp(), fsdp)).splitlines()
    assert lines[0] == "Mesh: batch=1; 1 device"
    assert lines[1].endswith("Per device")
    assert lines[-1].startswith("Per device: weights ")


def test_a_device_has_its_part_of_every_weight():
    layout_map = distribution.llama_layout_map(mesh(4, 2))
    model = without_values(lambda: convert(llama()))
    plan = distribution.plan_memory(model, model_parallel(layout_map))
    matrices = [v for v in model.weights if len(v.shape) > 1]
    laurel = [v for v in matrices if v.name.startswith("laurel_")]
    elements = sum(math.prod(v.shape) for v in model.weights)
    whole = elements - sum(math.prod(v.shape) for v in matrices)
    on_batch = sum(math.prod(v.shape) for v in laurel)
    on_both = elements - whole - on_batch
    assert plan.weights == 4 * (whole + on_batch // 4 + on_both // 8)
    assert plan.optimizer == 2 * plan.gradients == 2 * plan.weights
    assert sum(group["elements"] for group in plan.groups) == elements


def test_fsdp_is_an_eighth():
    fsdp = distribution.FullyShardedDataParallel(mesh(8), minimum_size=64)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8)])
    plan = distribution.plan_memory(model, fsdp)
    assert plan.weights == 4 * (64 * 8 // 8 + 8)


def test_half_precision_takes_half():
    layer = keras.layers.Dense(8, dtype="bfloat16")
    model = keras.Sequential([keras.Input((8,)), layer])
    assert distribution.plan_memory(model).weights == 2 * (8 * 8 + 8)


@pytest.mark.parametrize(
    "model", [None, keras.Sequential([keras.layers.Dense(8)])]
)
def test_a_model_without_weights_yet_is_refused(model):
    with pytest.raises(ValueError, match="Build it with `model.build"):
        distribution.plan_memory(model)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"distribution": "fsdp"}, "Received: distribution='fsdp'. Make one"),
        ({"optimizer_slots": -1}, "of at least 0. Received: optimizer_slots=-"),
        ({"optimizer_slots": "adam"}, "Received: optimizer_slots='adam'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        distribution.plan_memory(residual_mlp(), **options)


def test_slots_may_be_counted_by_numpy():
    plan = distribution.plan_memory(residual_mlp(), None, np.int64(1))
    assert plan.optimizer == plan.gradients


def test_the_text_has_one_line_for_weights_alike():
    layout_map = distribution.llama_layout_map(mesh(4, 2))
    model = without_values(lambda: convert(llama()))
    plan = distribution.plan_memory(model, model_parallel(layout_map))
    lines = str(plan).splitlines()
    assert lines[0] == "Mesh: batch=4, model=2; 8 devices"
    (line,) = [line for line in lines if "laurel_a" in line]
    assert (
        line.split()
        == (
            "transformer_layer_*/laurel_residual/laurel_a 2 256 (-, batch, -) "
            "256 B"
        ).split()
    )
    assert "without activations" in lines[-1]
