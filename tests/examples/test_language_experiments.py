"""The language experiments: numbers, going on, what is cast and what tuned."""

import json
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest

import language_experiments
import language_trials
from experiments.language import datasets as text_datasets
from experiments.language.models import ARCHITECTURES
from experiments.language.models import build_language_model
from keras_laurel import Laurel
from language_command_line import parse_options
from language_report import describe_results
from language_trials import CastLaurel
from run_folder import read_json
from tests.processes import Program

ON_JAX = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="is the same on each backend"
)
ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny_llm.py")
MODULES = 40
OPTIONS = "--configuration tiny --steps 16 --batch-size 4 --seeds 1".split()


@pytest.fixture(scope="module")
def tiny():
    """Tiny models and short texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TINY.parent)
        import tiny_llm

        patch.setitem(ARCHITECTURES, "tiny", tiny_llm.SIZES)
        for builder in text_datasets.BUILDERS:
            short = tiny_llm.shortened(builder.read_documents)
            patch.setattr(builder, "read_documents", short)
        yield


def run(*options, folder):
    options = parse_options([*OPTIONS, *options, "--output", str(folder)])
    language_experiments.main(options)
    return json.loads(options.results.read_text())["rows"]


@pytest.fixture(scope="module")
def whole_run(tiny, tmp_path_factory):
    """Some of the arms of each part, by part and name."""
    folder = tmp_path_factory.mktemp("experiments")
    arms = "rw+lr+pa-sublayer laurel laurel-alone-new-text"
    parts = ("--parts", "table_5", "upcycling")
    rows = run(*parts, "--arms", *arms.split(), folder=folder)
    rows += run("--parts", "bfloat16", "--arms", "rw", folder=folder)
    return folder, {(row["part"], row["arm"]): row for row in rows}


@ON_JAX
def test_runs_have_numbers_and_what_they_were_made_with(whole_run):
    _, rows = whole_run
    assert len(rows) == 4
    for row in rows.values():
        assert len(row["held_out_losses"]) == 4
        assert row["held_out_loss"] == row["held_out_losses"][-1] < 6
        assert row["bits_per_byte"] > 0 and row["tokens_per_second"] > 0
        # Three numbers of each weight trained, and the logits.
        least = 4 * (3 * row["trainable_parameters"] + 4 * 32 * 300)
        assert least < 1e6 * row["step_memory_mb"] < 100 * least
        assert row["made_with"]["keras"] == keras.__version__
    sublayer = rows["table_5", "rw+lr+pa-sublayer"]
    # 6 additions, of which the first has one activation and the second two.
    added = sum(2 * 2 * 16 * k + k + 2 for k in (1, 2, 3, 3, 3, 3))
    plain = rows["bfloat16", "rw"]["parameters"] - 3 * 2
    assert sublayer["parameters"] == plain + added
    assert sublayer["tokens"] == 16 * 4 * 32


def test_arms_of_a_seed_start_alike(tiny):
    settings = {
        **language_experiments.SCALES["reduced"],
        "configuration": "tiny",
    }
    plain, deeper, converted = (
        language_trials.build_model({**settings, "variant": variant}, seed=3)
        for variant in ("baseline", "deeper", "rw+lr")
    )
    assert len(deeper.weights) > len(plain.weights)
    for model in (deeper, converted):
        weights = {weight.path: weight for weight in model.weights}
        for weight in plain.weights:
            np.testing.assert_array_equal(weight, weights[weight.path])


@ON_JAX
def test_what_is_trained_further_is_what_was_trained(whole_run):
    folder, rows = whole_run
    baseline = read_json(folder / "table_5/baseline/seed_0/result.json")
    converted = rows["upcycling", "laurel"]
    close = pytest.approx(baseline["held_out_loss"], rel=1e-5)
    assert converted["held_out_loss_before"] == close
    assert converted["held_out_loss"] < baseline["held_out_loss"]
    alone = rows["upcycling", "laurel-alone-new-text"]
    assert alone["trainable_parameters"] == 3 * (2 * 5 * 16 + 2)
    assert alone["held_out_loss"] < alone["held_out_loss_before"]


@ON_JAX
def test_a_model_trained_in_bfloat16_is_evaluated_with_cast_weights(whole_run):
    row = whole_run[1]["bfloat16", "rw"]
    assert row["alpha"][1] != 1
    # After so short a training it may be the very same.
    cast = row["held_out_loss_after_casting"]
    assert cast == pytest.approx(row["held_out_loss"], rel=0.01)


@pytest.mark.slow
@ON_JAX
def test_a_killed_run_ends_with_the_same_numbers(whole_run, tmp_path):
    expected = whole_run[1]["table_5", "rw+lr+pa-sublayer"]
    options = ("--parts", "table_5", "--arms", "rw+lr+pa-sublayer")
    run_of_it = tmp_path / "table_5" / "rw+lr+pa-sublayer" / "seed_0"
    command = [TINY, "language_experiments", *OPTIONS, *options]
    with Program(*command, "--output", tmp_path) as program:
        program.kill_when(run_of_it / "checkpoints" / "1")
    assert not (run_of_it / "result.json").exists()
    (row,) = run(*options, folder=tmp_path)
    log = (run_of_it / "log.txt").read_text()
    assert log.count("Epoch 1/4") == log.count("Epoch 4/4") == 1
    for name in ("held_out_losses", "alpha", "beta", "parameters"):
        # Of two processes one may round another way.
        assert row[name] == pytest.approx(expected[name], rel=1e-6)


@ON_JAX
def test_the_rate_is_tuned_on_a_part_of_the_training_text(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(language_experiments, "LEARNING_RATES", (1e-2,))
    (row,) = run("--tune", folder=tmp_path)
    settings = row["settings"]
    assert settings["learning_rate"] == 1e-2
    tuned_on, held_out, tested_on = (
        documents(tmp_path / "tuning_texts", split)
        for split in (settings["train_split"], settings["eval_split"], "test")
    )
    assert len(tuned_on) + len(held_out) + len(tested_on) == MODULES
    assert set(held_out).isdisjoint({*tuned_on, *tested_on})


def documents(folder, split):
    data = folder / "python_stdlib" / "data"
    builder = text_datasets.open_text_builder("python_stdlib", None, data)
    return list(text_datasets.read_documents(builder, split))


def test_alpha_beta_and_gamma_are_rounded_where_they_are_applied():
    values = np.random.default_rng(0).normal(1, 0.1, 10_000).astype("float32")
    expected = values.astype(ml_dtypes.bfloat16).astype("float32")
    rounded = language_trials.round_to_bfloat16(keras.ops.array(values))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(rounded), expected)


@pytest.mark.parametrize("kind, expected", [(Laurel, -3.8), (CastLaurel, 0.0)])
def test_what_casting_loses_in_a_compiled_model(kind, expected):
    x = keras.Input((4,))
    layer = kind("softmax", dtype="mixed_bfloat16")
    model = keras.Model(x, layer([x, -x]))
    # alpha is 1.0019 and beta 0.9981.
    layer.set_weights([np.array([0.0019, -0.0019])])
    out = model.predict(np.full((1, 4), 1000.0), verbose=0)
    np.testing.assert_allclose(out, expected, rtol=0.01)


@pytest.mark.parametrize("scale", ["reduced", "full"])
def test_lora_trains_as_many_weights_as_laurel_alone(scale):
    counts = {}
    for method in ("lora", "laurel-alone"):
        settings = {
            **language_experiments.SCALES[scale],
            **language_experiments.TUNED_ALONE[scale],
            "variant": "rw+lr",
        }
        with keras.StatelessScope(initialize_variables=False):
            model = build_language_model(
                "baseline", language_trials.architecture_of(settings)
            )
            model = language_trials.METHODS[method](model, settings)
        keras.utils.clear_session()
        counts[method] = language_trials.count(model.trainable_weights)
    assert counts["lora"] == pytest.approx(counts["laurel-alone"], rel=0.01)


def test_the_table_has_deviations_intervals_and_ratios():
    runs = [
        ("baseline", 0, 2.0, 100.0),
        ("rw", 1, 2.1, 80.0),
        ("baseline", 1, 2.2, 100.0),
        ("rw", 0, 1.9, 100.0),
    ]
    results = [
        {
            "arm": arm,
            "seed": seed,
            "held_out_loss": loss,
            "bits_per_byte": loss / 2,
            "tokens_per_second": speed,
            "parameters": 1000,
            "trainable_parameters": 1000,
            "step_memory_mb": None,
        }
        for arm, seed, loss, speed in runs
    ]
    table = describe_results(results, {"rw": "baseline"})
    _, _, baseline, rw = table.splitlines()[:4]
    assert "2.1000 ± 0.1414" in baseline and "1.0500 ± 0.0707" in baseline
    assert "-0.1000 [-0.1000, -0.1000]" in rw
    assert "1.125 (1.000 to 1.250)" in rw


@pytest.mark.parametrize(
    "options, message",
    [
        ("--parts table_6", "Replace table_6"),
        ("--seeds 0", "`--seeds 0`, expected a number of 1 or more"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        parse_options(options.split())


@pytest.mark.parametrize(
    "options, message",
    [
        ("--steps 12", "`--steps 12`; expected a multiple of 8.*`--steps 16`"),
        ("--arms wr", "`--arms wr`; expected some of baseline, deeper"),
    ],
)
def test_what_cannot_be_run_is_refused(options, message, tmp_path):
    options = [*options.split(), "--output", str(tmp_path)]
    with pytest.raises(SystemExit, match=message):
        language_experiments.main(parse_options(options))
