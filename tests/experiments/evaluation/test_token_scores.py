"""Scores of texts against a float64 softmax of the model's own logits."""

import keras
import numpy as np
import pytest
from keras import ops

from experiments.evaluation import HarnessLM
from experiments.evaluation.padding import padded_length
from experiments.evaluation.token_scorer import TokenScorer
from tests.backends import once
from tests.experiments.evaluation.models import LENGTH
from tests.experiments.evaluation.models import NAMES
from tests.experiments.evaluation.models import expected_score
from tests.experiments.evaluation.models import greedy_tokens
from tests.experiments.evaluation.models import harness_lm
from tests.experiments.evaluation.models import log_softmax
from tests.experiments.evaluation.models import model_of
from tests.experiments.evaluation.requests import rolling_scores
from tests.experiments.evaluation.requests import scores

pytestmark = once

# The context, the continuation, and where the continuation is seen to begin.
PAIRS = [
    ("Is it so?", " yes", " yes"),
    ("", "the end", "the end"),
    ("in the ", "cat", " cat"),
    ("Grüße, 世界 ", "🎭!", " 🎭!"),
    ("Is it so?", " nay", " nay"),
    ("a b c d e f g h i j " * 4, "k, and the rest", " k, and the rest"),
]


def close(score, expected):
    value, is_greedy = expected
    assert score == (pytest.approx(value, rel=1e-5, abs=1e-5), is_greedy)


@pytest.mark.parametrize(
    "name, batch_size", [("gpt2", 4), ("llama", 2), ("laurel", 4)]
)
def test_scores_are_those_of_a_float64_softmax(name, batch_size):
    lm = harness_lm(name, batch_size)
    model, tokenizer = lm.causal_lm, lm.causal_lm.preprocessor.tokenizer
    found = scores(lm, *(pair[:2] for pair in PAIRS))
    for score, (context, continuation, scored) in zip(found, PAIRS):
        assert (context + continuation).endswith(scored)
        (tokens,) = tokenizer.tokenize([context + continuation])
        (following,) = tokenizer.tokenize([scored])
        tokens = [tokenizer.start_token_id, *tokens][-LENGTH - 1 :]
        assert tokens[-len(following) :] == following
        context = tokens[: -len(following)]
        expected = expected_score(model, context, following, padded=False)
        close(score, expected)


@pytest.mark.parametrize("name", NAMES)
def test_greedy_continuations_are_known_to_be(name):
    lm = harness_lm(name)
    context = lm.tok_encode("Once upon")
    (best,) = greedy_tokens(lm.causal_lm, [context], 6)
    for place in (None, 0, 5):
        other = list(best)
        if place is not None:
            other[place] = (best[place] + 1) % 200
        (score,) = lm._loglikelihood_tokens([(None, context, other)], True)
        assert score[1] is (place is None)
        close(score, expected_score(lm.causal_lm, context, other))


def test_a_converted_model_has_scores_of_its_own():
    pairs = [pair[:2] for pair in PAIRS]
    plain, converted = (scores(harness_lm(n), *pairs) for n in NAMES[1:])
    for (score, _), (other, _) in zip(plain, converted):
        assert abs(score - other) > 0.01


def test_answers_that_are_one_token_share_a_row(monkeypatch):
    lm = HarnessLM(model_of("llama"), batch_size=4)
    shapes = []
    predict = lm._scorer.predict_on_batch

    def recorded(inputs):
        shapes.append(inputs["targets"].shape)
        return predict(inputs)

    monkeypatch.setattr(lm._scorer, "predict_on_batch", recorded)
    questions = ("2 + 2 =", "which?", "why?")
    pairs = [(question, x) for question in questions for x in "ABC"]
    found = scores(lm, *pairs, (questions[0] + "A", "B"), (questions[0], "AC"))
    # "AC" ends the row of the context with "A" in it, and scores more of it.
    assert shapes == [(4, 16, 4)]
    for score, (context, answer) in zip(found, pairs):
        tokens = lm.tok_encode(context), lm.tok_encode(answer, False)
        close(score, expected_score(lm.causal_lm, *tokens))
    ((both, _),) = scores(lm, (questions[0], "AC"))
    assert found[-1][0] == pytest.approx(both, rel=1e-5)
    assert found[-1][0] < found[0][0]


def expected_rolling(lm, text):
    """Each window scored by itself; the last one has a full context."""
    tokens = lm.tok_encode(text, add_special_tokens=False)
    whole = [lm.prefix_token_id, *tokens]
    total = 0
    for start in range(0, len(tokens), LENGTH):
        end = min(start + LENGTH, len(tokens))
        first = max(0, end - LENGTH)
        context, scored = whole[first : start + 1], whole[start + 1 : end + 1]
        total += expected_score(lm.causal_lm, context, scored)[0]
    return total


@pytest.mark.parametrize("name", NAMES)
def test_rolling_scores_have_every_token_once(name):
    lm = harness_lm(name)
    texts = ["to be", "", "x" * LENGTH, "ab" * 30, "Grüße " * 16]
    found = rolling_scores(lm, *texts)
    for total, text in zip(found, texts):
        expected = expected_rolling(lm, text)
        assert total == pytest.approx(expected, rel=1e-5)
    assert found[1] == 0
    ((score, _),) = scores(lm, ("", "to be"))
    assert found[0] == pytest.approx(score, rel=1e-6)


def test_start_tokens_can_be_left_out():
    model = model_of("llama")
    tokens = model.preprocessor.tokenizer.tokenize(["ab", "abc"])
    lm = HarnessLM(model, add_bos_token=False)
    assert [lm.tok_encode(x) for x in ("ab", "abc")] == tokens
    found, behind_spaces = scores(lm, ("ab", "c"), (" ", "ab"))
    close(found, expected_score(model, tokens[0], tokens[1][2:]))
    start = lm.prefix_token_id
    spaced = model.preprocessor.tokenizer.tokenize([" ab"])[0]
    close(behind_spaces, expected_score(model, [start], spaced))
    lm = harness_lm("llama")
    assert lm.tok_encode("ab") == [start, *tokens[0]]
    assert lm.tok_encode("<|begin_of_text|>ab") == [start, *tokens[0]]


def test_logits_in_bfloat16_are_summed_in_float32():
    vocabulary = 1000
    policy = keras.DTypePolicy("bfloat16")
    layer = keras.layers.Embedding(vocabulary, vocabulary, dtype=policy)
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = keras.Input((None,), dtype="bool", name="padding_mask")
    x = {"token_ids": ids, "padding_mask": mask}
    scorer = TokenScorer(keras.Model(x, layer(ids)))
    table = np.random.default_rng(0).normal(scale=4, size=(vocabulary,) * 2)
    layer.set_weights([table])
    table = ops.convert_to_numpy(ops.cast(layer.embeddings, "float32"))
    tokens = np.arange(8, dtype="int32")[None]
    targets = np.stack([tokens * 7, table[:8].argmax(-1)[None]], axis=-1)
    found, is_first = scorer.predict_on_batch(
        {
            "token_ids": tokens,
            "padding_mask": np.ones((1, 8), "bool"),
            "targets": targets.astype("int32"),
        }
    )
    expected = log_softmax(table[:8].astype("float64"))
    expected = np.take_along_axis(expected[None], targets, axis=-1)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert is_first[..., 1].all() and not is_first[..., 0].any()


def test_lengths_are_few_and_not_much_longer():
    lengths = [padded_length(n, 2000) for n in range(1, 2001)]
    for n, length in enumerate(lengths, start=1):
        assert n <= length <= 2000
        assert length < max(1.25 * n, n + 8)
    assert len({x for x in lengths if 512 < x <= 1024}) == 4
    assert len(set(lengths)) <= 32
