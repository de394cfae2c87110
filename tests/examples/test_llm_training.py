"""Schedules, optimizer and the unit of the loss, against NumPy."""

import keras
import numpy as np
import pytest

from experiments.language.models import Architecture
from experiments.language.models import build_language_model
from experiments.language.tokenizers import byte_tokenizer
from experiments.language.tokenizers import bytes_of_tokens
from experiments.variants import LaurelSizes
from llm_command_line import parse_options
from llm_training import Recipe
from llm_training import build_optimizer
from llm_training import build_schedule
from llm_training import compile_language_model
from llm_training import evaluate
from settings import pick
from text_corpus import Corpus
from token_stream import Batches
from token_stream import prepare_stream
from training_log import typical_speed

SMALL = Architecture(3, 16, 2, 32, 300, 32)


def cosine(steps, recipe):
    warmup, peak = recipe.warmup_steps, recipe.learning_rate
    share = np.clip((steps - warmup) / (recipe.steps - warmup), 0, 1)
    down = peak * (0.1 + 0.9 * (1 + np.cos(np.pi * share)) / 2)
    return np.where(steps < warmup, peak * steps / max(warmup, 1), down)


def wsd(steps, recipe):
    points = [0, recipe.warmup_steps, recipe.steps * 0.75, recipe.steps]
    start = 0.0 if recipe.warmup_steps else recipe.learning_rate
    peak = recipe.learning_rate
    return np.interp(steps, points, [start, peak, peak, 0.0])


@pytest.mark.parametrize("reference", [cosine, wsd])
@pytest.mark.parametrize("warmup", [0, 10])
def test_the_learning_rate_follows_its_schedule(reference, warmup):
    recipe = Recipe(
        steps=200,
        schedule=reference.__name__,
        learning_rate=0.5,
        warmup_steps=warmup,
        decay_fraction=0.25,
    )
    steps = np.arange(0 if warmup else 1, 201, 7)
    schedule = build_schedule(recipe)
    rates = [keras.ops.convert_to_numpy(schedule(step)) for step in steps]
    np.testing.assert_allclose(rates, reference(steps, recipe), atol=1e-6)
    again = type(schedule).from_config(schedule.get_config())
    assert float(again(77)) == float(schedule(77))


def test_weight_decay_and_accumulation_are_the_optimizers():
    model = build_language_model("rw+lr+pa", SMALL, LaurelSizes(4), seed=0)
    optimizer = build_optimizer(Recipe(steps=9, accumulate=3, clip_norm=0.5))
    optimizer.build(model.trainable_variables)
    decayed = {
        weight.name
        for weight in model.trainable_variables
        if optimizer._use_weight_decay(weight)
    }
    assert decayed == {
        "embeddings",
        "reverse_embeddings",
        "kernel",
        "laurel_a",
        "laurel_b",
    }
    assert optimizer.gradient_accumulation_steps == 3
    assert optimizer.global_clipnorm == 0.5


def test_laurel_rates_are_those_of_the_command():
    options = parse_options("--laurel-rates 0.25 0.5".split())
    recipe = Recipe(**pick(vars(options), Recipe))
    rates = build_optimizer(recipe).get_config()["rates"]
    assert rates == {"scalars": 0.25, "low_rank": 0.5}
    assert "rates" not in build_optimizer(Recipe(steps=9)).get_config()


def test_bits_per_byte_against_float64(tmp_path):
    tokenizer = byte_tokenizer()
    text = ["Some bytes, é and 世, of text. " * 9] * 6
    stream = prepare_stream(tmp_path / "some.tokens", text, tokenizer)
    batches = Batches(stream, sequence_length=32, batch_size=4)
    lengths = bytes_of_tokens(tokenizer)
    count = batches.batches_of_an_epoch() - 1
    corpus = Corpus(
        batches, batches, count, batches.count_bytes(count, lengths), tokenizer
    )
    model = build_language_model("rw+lr", SMALL, LaurelSizes(4), seed=0)
    compile_language_model(model, Recipe(steps=1))
    measured = corpus.bits_per_byte(evaluate(model, corpus))
    assert measured == pytest.approx(reference(model, batches, count), 1e-5)


def reference(model, batches, count):
    """Bits of all predictions over the bytes of the text they predict."""
    bits, num_bytes = 0.0, 0
    for inputs, targets in (batches.batch(step) for step in range(count)):
        logits = keras.ops.convert_to_numpy(model(inputs)).astype("float64")
        logits -= logits.max(-1, keepdims=True)
        chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
        nats = np.log(np.exp(logits).sum(-1)) - chosen
        bits += (nats / np.log(2)).sum()
        num_bytes += np.count_nonzero(targets >= 5)
    return bits / num_bytes


def test_rounds_that_compile_do_not_count_for_the_speed():
    rows = [
        {"tokens_per_second": speed, "begins_sitting": begins}
        for speed, begins in ((1, True), (8, False), (2, True), (10, False))
    ]
    assert typical_speed(rows) == 9
    assert typical_speed(rows[::2]) == 1.5


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--steps 0", "`--steps 0`, expected a number of 1 or more"),
        ("--clip-norm 0", "expected a number above 0"),
        ("--steps 10 --evaluate-every 4 --warmup-steps 1", "to divide the oth"),
        ("--steps 100 --warmup-steps 100", "Lower `--warmup-steps`"),
        ("--variants rw rw", "expected each name once"),
        ("--laurel-rates -1 1", "`--laurel-rates -1.0 1.0`, expected two fa"),
        ("--sequence-length 1", "expected 2 tokens or more"),
        ("--backend tensorflow --distribution fsdp", "Pass `--backend jax`"),
    ],
)
def test_values_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse_options(arguments.split())
