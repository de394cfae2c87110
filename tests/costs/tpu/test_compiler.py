"""Programs compiled for TPUs: needs libtpu; run by `make test-tpu-compiler`."""

import json

import jax
import keras
import numpy as np
import pytest

from experiments.costs.__main__ import main
from experiments.costs.training_case import TrainingCase
from keras_laurel.costs.tpu import compile_program
from keras_laurel.costs.tpu.comparison import overheads
from tests.costs.tpu.small_models import build_classifier

if keras.config.backend() != "jax":
    pytest.skip("the compiler is called by JAX", allow_module_level=True)
pytest.importorskip(
    "libtpu", reason='the TPU compiler: pip install "keras-laurel[tpu]"'
)

CHIPS = "v5e:2x2"


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def costs(cache_dir):
    """A training step of two blocks of the 157M model, by variant."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        return {
            variant: compile_variant(variant, cache_dir)
            for variant in ("baseline", "rw", "rw+lr")
        }
    finally:
        keras.config.set_dtype_policy("float32")


def compile_variant(variant, cache_dir):
    case = TrainingCase("ablation-157m", variant, blocks=2, sequence_length=256)
    return case.compile(16, topology=CHIPS, cache_dir=cache_dir)


def test_a_step_fits_and_its_numbers_agree_with_one_another(costs):
    cost = costs["baseline"]
    assert cost.num_chips == 4 and cost.fits
    assert 2**20 < cost.code_size < 2**30
    times = cost.compute_time, cost.memory_time, cost.network_time
    assert min(times) > 0 and cost.roofline_time == max(times)
    # Data parallel: each chip adds its gradient to those of the others.
    assert cost.collectives["all-reduce"].size > 2 * 40e6


def test_overheads_of_the_variants(costs):
    """Two products of rank 32, thrice, for 4 sequences of 256 on each chip."""
    tokens, width, rank = 4 * 256, 784, 32
    products = 2 * 3 * 2 * 2 * width * rank * tokens
    added = costs["rw+lr"].flops - costs["rw"].flops
    assert added == pytest.approx(products, rel=0.05)
    for variant in ("rw", "rw+lr"):
        found = overheads(costs[variant], costs["baseline"])
        assert 0 < found["flops"] < 1
        assert 0 < found["bytes_accessed"] < 4
        assert abs(found["cycles"]) < 4
        assert abs(found["peak_memory"]) < 4


@pytest.mark.parametrize("kind, mesh", [("fsdp", (4,)), ("tensor", (2, 2))])
def test_divided_weights_are_gathered_and_their_gradients_summed(
    kind, mesh, cache_dir
):
    case = TrainingCase("tiny", "rw+lr", blocks=1)
    cost = case.compile(
        8, kind, mesh, topology=CHIPS, effort="O1", cache_dir=cache_dir
    )
    assert cost.collectives["all-gather"].count > 4
    assert cost.collectives["reduce-scatter"].size > 4 * 128 * 1024
    assert cost.loops == 0


def test_inference_has_the_weights_once(cache_dir):
    def build():
        x = keras.Input((2**13,))
        return keras.Model(x, keras.layers.Dense(2**14, use_bias=False)(x))

    cost = compile_program(
        build,
        keras.KerasTensor((8, 2**13)),
        program="predict",
        topology=CHIPS,
        cache_dir=cache_dir,
    )
    assert 4 * 2**27 < cost.peak_memory < 1.1 * 4 * 2**27


def test_a_program_is_compiled_once(cache_dir, costs, monkeypatch):
    monkeypatch.setattr(jax.stages.Lowered, "compile", None)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert compile_variant("rw", cache_dir) == costs["rw"]
    finally:
        keras.config.set_dtype_policy("float32")


def test_what_does_not_fit_is_a_result(tmp_path):
    x = keras.KerasTensor((2**31, 8))
    cost = compile_program(
        build_classifier,
        x,
        program="predict",
        topology=CHIPS,
        cache_dir=tmp_path,
    )
    assert not cost.fits
    assert cost.peak_memory >= 2 * np.prod(x.shape, dtype=float) * 4 / 4
    assert "no, by" in str(cost)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"program": "fit"}, "Received: program='fit'"),
        ({"effort": "O9"}, "Received: effort='O9'"),
        ({"topology": "v5e:5x5"}, "Received: topology='v5e:5x5'"),
        ({"x": keras.KerasTensor((None, 8))}, "with every size given"),
        ({"x": (8, 8)}, "with every size given"),
        ({"x": keras.KerasTensor((7, 8))}, "a global batch of 7 for a mesh"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        compile_program(
            build_classifier,
            **{
                "x": keras.KerasTensor((4, 8)),
                "program": "predict",
                "topology": CHIPS,
                **options,
            },
        )


def test_the_command_writes_what_it_shows(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = tmp_path / "cost.json"
    command = "--model tiny --topology v5e:2x2 --program decode --effort O1"
    try:
        main(
            [*command.split(), "--distribution", "fsdp", "--output", str(path)]
        )
    finally:
        keras.config.set_dtype_policy("float32")
    found = json.loads(path.read_text())
    assert set(found["tpu"]) == {"baseline", "rw+lr"}
    shown = capsys.readouterr()
    added = found["percent_added"]["bytes_accessed"]
    assert f"{added:+.2f} %" in shown.out
    assert "Compiling tiny rw+lr, decode" in shown.err
