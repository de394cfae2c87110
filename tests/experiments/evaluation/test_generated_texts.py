"""Texts against an argmax over the whole text, anew for each token."""

import pytest

from experiments.evaluation import HarnessLM
from experiments.evaluation.token_generator import read_settings
from tests.backends import once
from tests.experiments.evaluation.models import LENGTH
from tests.experiments.evaluation.models import NAMES
from tests.experiments.evaluation.models import greedy_tokens
from tests.experiments.evaluation.models import harness_lm
from tests.experiments.evaluation.models import model_of
from tests.experiments.evaluation.requests import texts

pytestmark = once

PROMPTS = ["Once", "Grüße, 世界: ", "in the ", "a b c d e f g h i j " * 4, ""]
COUNT = 8


def expected_tokens(lm, prompts, count):
    start = lm.prefix_token_id
    prompts = [lm.tok_encode(x)[-(LENGTH - count) :] for x in prompts]
    return greedy_tokens(lm.causal_lm, [x or [start] for x in prompts], count)


def decoded(lm, tokens):
    return lm.causal_lm.preprocessor.tokenizer.detokenize([tokens])[0]


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_the_likeliest_tokens(name):
    # Without its start token, GPT-2 has none for the empty prompt.
    bos = False if name == "gpt2" else None
    lm = HarnessLM(model_of(name), batch_size=2, add_bos_token=bos)
    expected = expected_tokens(lm, PROMPTS, COUNT)
    assert len({token for row in expected for token in row}) > 3
    greedy = {"until": [], "max_gen_toks": COUNT, "do_sample": False}
    found = texts(lm, *((prompt, greedy) for prompt in PROMPTS))
    assert found == [decoded(lm, tokens) for tokens in expected]


def test_each_text_ends_where_its_request_says():
    lm = harness_lm("llama", 2)
    longest = expected_tokens(lm, PROMPTS[:3], COUNT)
    whole = [decoded(lm, tokens) for tokens in longest]
    one, more = whole[0][3], whole[1][4:6]
    found = texts(
        lm,
        (PROMPTS[0], {"until": one, "max_gen_toks": COUNT}),
        (PROMPTS[1], {"until": ["never", more], "max_new_tokens": COUNT}),
        (PROMPTS[2], {"until": ["never"], "max_gen_toks": 5}),
        (PROMPTS[0], {"max_gen_toks": 7, "temperature": 0.0}),
    )
    assert found == [
        whole[0][: whole[0].index(one)],
        whole[1][: whole[1].index(more)],
        decoded(lm, longest[2][:5]),
        decoded(lm, longest[0][:7]),
    ]


def test_an_end_token_ends_a_text_and_is_not_part_of_it(monkeypatch):
    lm = harness_lm("llama", 2)
    (tokens,) = expected_tokens(lm, PROMPTS[:1], COUNT)
    end = tokens[4]
    arguments = {"max_gen_toks": COUNT}
    monkeypatch.setattr(lm.tokenizer, "end_token_id", end)
    (found,) = texts(lm, (PROMPTS[0], arguments))
    assert found == decoded(lm, tokens[: tokens.index(end)])


def test_the_model_is_left_as_it_was():
    model = model_of("llama")
    model.compile("sgd", sampler="top_k")
    model.generate_function = object()
    kept = model.optimizer, model.sampler, model.generate_function
    texts(harness_lm("llama"), ("ab", {"max_gen_toks": 2}))
    now = model.optimizer, model.sampler, model.generate_function
    assert all(a is b for a, b in zip(now, kept))


def test_cold_samples_are_the_likeliest_tokens_and_hot_ones_not():
    options = {"do_sample": True, "max_gen_toks": COUNT, "top_p": 0.9}
    cold, hot, greedy = texts(
        harness_lm("llama"),
        ("Once", {**options, "temperature": 1e-4}),
        ("Once", {**options, "temperature": 9.0}),
        ("Once", {"num_beams": 1, "max_gen_toks": COUNT}),
    )
    assert cold == greedy != hot


@pytest.mark.parametrize(
    "options, name, expected",
    [
        ({}, "RandomSampler", {}),
        ({"top_k": 0}, "RandomSampler", {}),
        ({"top_k": 3}, "TopKSampler", {"k": 3}),
        ({"top_k": 999}, "TopKSampler", {"k": 99}),
        ({"top_p": 0.9}, "TopPSampler", {"p": 0.9, "k": None}),
        ({"top_p": 0.9, "top_k": -1}, "TopPSampler", {"p": 0.9, "k": None}),
        ({"top_p": 0.9, "top_k": 3}, "TopPSampler", {"p": 0.9, "k": 3}),
    ],
)
def test_tasks_choose_what_to_sample_from(options, name, expected):
    options = {"do_sample": True, "temperature": 0.5, **options}
    sampler = read_settings(options, 256, 999).sampler(vocabulary_size=99)
    assert type(sampler).__name__ == name
    config = {"temperature": 0.5, **expected}
    assert config.items() <= sampler.get_config().items()


@pytest.mark.parametrize(
    "until, expected",
    [
        (None, ()),
        ("", ()),
        ("ab", ("ab",)),
        (["a", None], ("a",)),
    ],
)
def test_tasks_write_ends_in_several_ways(until, expected):
    assert read_settings({"until": until}, 256, 999).until == expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_beams": 4}, "received: {'num_beams': 4}"),
        ({"max_gen_toks": LENGTH}, "must be for 1 to 39 generated"),
    ],
)
def test_what_it_cannot_do_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"(?i){message}"):
        texts(harness_lm("llama"), ("ab", arguments))
