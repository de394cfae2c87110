"""Schedules, optimizer, sizes and the unit of the loss, against NumPy."""

import dataclasses

import keras
import numpy as np
import pytest

from experiments.language.conversion import build_model
from experiments.language.corpus import Corpus
from experiments.language.corpus import bits_per_byte
from experiments.language.models import Architecture
from experiments.language.optimizer import Sizes
from experiments.language.optimizer import build_optimizer
from experiments.language.optimizer import build_schedule
from experiments.language.optimizer import compile_language_model
from experiments.language.optimizer import sizes_of
from experiments.language.settings import LanguageSettings
from experiments.language.stream import Windows
from experiments.language.stream import prepare_tokens
from experiments.language.tokenizers import byte_tokenizer
from experiments.training import evaluate

SMALL = Architecture(3, 16, 2, 32, 300, 32, paper_rank=4)


def cosine(steps, settings):
    warmup, peak = 200 * settings.warmup, settings.learning_rate
    share = np.clip((steps - warmup) / (200 - warmup), 0, 1)
    down = peak * (0.1 + 0.9 * (1 + np.cos(np.pi * share)) / 2)
    return np.where(steps < warmup, peak * steps / max(warmup, 1), down)


def wsd(steps, settings):
    points = [0, 200 * settings.warmup, 150, 200]
    start = 0.0 if settings.warmup else settings.learning_rate
    peak = settings.learning_rate
    return np.interp(steps, points, [start, peak, peak, 0.0])


@pytest.mark.parametrize("reference", [cosine, wsd])
@pytest.mark.parametrize("warmup", [0.0, 0.05])
def test_the_learning_rate_follows_its_schedule(reference, warmup):
    settings = LanguageSettings(
        schedule=reference.__name__,
        learning_rate=0.5,
        warmup=warmup,
        decay=0.25,
    )
    steps = np.arange(0 if warmup else 1, 201, 7)
    schedule = build_schedule(settings, 200)
    rates = [keras.ops.convert_to_numpy(schedule(step)) for step in steps]
    np.testing.assert_allclose(rates, reference(steps, settings), atol=1e-6)
    again = type(schedule).from_config(schedule.get_config())
    assert float(again(77)) == float(schedule(77))


def test_weight_decay_and_accumulation_are_the_optimizers():
    model = build_model(LanguageSettings(variant="rw+lr+pa"), SMALL, seed=0)
    settings = LanguageSettings(
        accumulate=3, clip_norm=0.5, averaging=0.9, laurel_rates=(0.25, 0.5)
    )
    optimizer = build_optimizer(settings, 9)
    optimizer.build(model.trainable_variables)
    decayed = {
        weight.name
        for weight in model.trainable_variables
        if optimizer._use_weight_decay(weight)
    }
    names = {"embeddings", "reverse_embeddings", "kernel"}
    assert decayed == names | {"laurel_a", "laurel_b"}
    assert optimizer.gradient_accumulation_steps == 3
    assert optimizer.global_clipnorm == 0.5
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)
    rates = optimizer.get_config()["rates"]
    assert rates == {"scalars": 0.25, "low_rank": 0.5}
    plain = build_optimizer(LanguageSettings(), 9)
    assert "rates" not in plain.get_config() and not plain.use_ema


def test_tokens_are_divided_into_batches():
    settings = LanguageSettings(
        tokens=12_288, tokens_per_step=512, accumulate=4, rounds=3
    )
    sizes = sizes_of(settings, SMALL)
    assert (sizes.batch_size, sizes.steps, sizes.steps_per_round) == (4, 96, 32)
    assert sizes.tokens_per_batch * sizes.steps == settings.tokens
    with pytest.raises(ValueError, match="multiple of 128 .*example 128"):
        sizes_of(dataclasses.replace(settings, tokens_per_step=100), SMALL)


def test_bits_per_byte_against_float64(tmp_path):
    tokenizer = byte_tokenizer()
    text = ["Some bytes, é and 世, of text. " * 9] * 6
    tokens = prepare_tokens(tmp_path / "some.tokens", text, tokenizer)
    windows = Windows(tokens, 32)
    sizes = Sizes(32, 4, steps=1, rounds=1, vocabulary_size=300)
    corpus = Corpus((windows, windows), sizes, 3, tokenizer)
    model = build_model(LanguageSettings(variant="rw+lr"), SMALL, seed=0)
    compile_language_model(model, LanguageSettings(), 1)
    measured = bits_per_byte(
        evaluate(model, corpus)["loss"],
        corpus.evaluation_tokens,
        corpus.evaluation_bytes(),
    )
    assert measured == pytest.approx(reference(model, corpus), 1e-5)


def reference(model, corpus):
    """Bits of all predictions over the bytes of the text they predict."""
    bits, num_bytes = 0.0, 0
    for inputs, targets in corpus.evaluation():
        logits = keras.ops.convert_to_numpy(model(inputs)).astype("float64")
        logits -= logits.max(-1, keepdims=True)
        chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
        nats = np.log(np.exp(logits).sum(-1)) - chosen
        bits += (nats / np.log(2)).sum()
        num_bytes += np.count_nonzero(targets >= 5)
    return bits / num_bytes
