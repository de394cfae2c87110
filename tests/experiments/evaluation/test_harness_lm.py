"""The harness itself with the adapter, and what the adapter refuses."""

import doctest
import subprocess
import sys

import keras
import keras_hub
import lm_eval
import numpy as np
import pytest

from experiments.evaluation import HarnessLM
from tests.backends import once
from tests.experiments.evaluation import tasks
from tests.experiments.evaluation.models import LENGTH
from tests.experiments.evaluation.models import expected_score
from tests.experiments.evaluation.models import greedy_tokens
from tests.experiments.evaluation.models import harness_lm
from tests.experiments.evaluation.models import llama
from tests.experiments.evaluation.models import model_of
from tests.experiments.evaluation.requests import scores
from tests.experiments.evaluation.test_token_scores import expected_rolling

pytestmark = once


@pytest.fixture(autouse=True)
def only_local_tasks(monkeypatch):
    monkeypatch.setattr("lm_eval.evaluator.TaskManager", tasks.LocalTasks)


def expected_accuracies(lm):
    """Of the likeliest choice, and of the likeliest by character."""
    hits = []
    for row in tasks.CAPITALS:
        context = lm.tok_encode(row["question"])
        following = [f" {choice}" for choice in row["choices"]]
        scores = [
            expected_score(lm.causal_lm, context, lm.tok_encode(x, False))[0]
            for x in following
        ]
        lengths = [len(choice) for choice in row["choices"]]
        by_character = np.array(scores) / lengths
        answer = row["answer"]
        hits.append(
            [np.argmax(scores) == answer, np.argmax(by_character) == answer]
        )
    return np.mean(hits, axis=0)


def expected_perplexity(lm):
    texts = [row["text"] for row in tasks.TEXTS]
    total = sum(expected_rolling(lm, text) for text in texts)
    return np.exp(-total / sum(len(text.encode()) for text in texts))


def test_the_harness_finds_what_is_computed_by_hand():
    lm = harness_lm("laurel")
    prompts = ["Once", "in the "]
    rows = greedy_tokens(lm.causal_lm, [lm.tok_encode(x) for x in prompts], 8)
    right, wrong = (lm.tok_decode(row) for row in rows)
    results = lm_eval.simple_evaluate(
        model=lm,
        tasks=[
            tasks.multiple_choice(),
            tasks.writing([(prompts[0], right), (prompts[1], wrong + "?")]),
            tasks.perplexity(),
        ],
        bootstrap_iters=0,
    )
    found = results["results"]
    accuracies = [found["capitals"][f"{x},none"] for x in ("acc", "acc_norm")]
    assert accuracies == pytest.approx(expected_accuracies(lm))
    assert found["writing"]["exact_match,none"] == 0.5
    perplexity = found["perplexity"]["byte_perplexity,none"]
    assert perplexity == pytest.approx(expected_perplexity(lm), rel=1e-5)
    about = results["config"]
    assert about["laurel_layers"] == 2
    assert about["backend"] == keras.backend.backend()


def test_the_docstring_example_runs():
    names = {
        "causal_lm": model_of("llama"),
        "tasks": [tasks.multiple_choice(tasks.CAPITALS[:2])],
    }
    example = doctest.DocTestParser().get_doctest(
        HarnessLM.__doc__, names, "HarnessLM", None, None
    )
    result = doctest.DocTestRunner().run(example)
    assert result.attempted == 4 and not result.failed


def test_answers_are_kept_for_another_run(tmp_path):
    cache = str(tmp_path / "answers")

    def run(lm):
        return lm_eval.simple_evaluate(
            model=lm,
            tasks=[tasks.multiple_choice()],
            use_cache=cache,
            bootstrap_iters=0,
        )["results"]

    lm = HarnessLM(model_of("llama"), batch_size=2)
    first = run(lm)
    del lm._scorer
    assert run(lm) == first


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("ab", "x" * 41), "tokens, 40. Received: a continuation of 41 t"),
        (("ab", ""), "have no token more than the context"),
        # Together they are one token.
        (("t", "h"), "have no token more than the context"),
    ],
)
def test_continuations_that_cannot_be_scored_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        scores(harness_lm("gpt2"), ("a", "b"), arguments)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": "auto"}, "be an integer.*Received: batch_size='auto'"),
        ({"batch_size": 0}, "must be an integer.*Received: batch_size=0"),
        ({"max_length": 0}, "must be an integer.*Received: max_length=0"),
        ({"max_length": LENGTH + 1}, f"has {LENGTH} positions"),
        ({"max_gen_toks": -5}, "must be an integer.*Received: max_gen_toks=-5"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HarnessLM(model_of("gpt2"), **options)


def test_only_learned_positions_end():
    tokenizer = model_of("gpt2").preprocessor.tokenizer
    backbone = keras_hub.models.GPTNeoXBackbone(
        vocabulary_size=300,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=16,
        max_sequence_length=LENGTH,
    )
    preprocessor = keras_hub.models.GPTNeoXCausalLMPreprocessor(
        keras_hub.models.GPTNeoXTokenizer(
            tokenizer.vocabulary, tokenizer.merges
        ),
        sequence_length=2 * LENGTH,
    )
    model = keras_hub.models.GPTNeoXCausalLM(backbone, preprocessor)
    assert HarnessLM(model).max_length == 2 * LENGTH


def test_models_that_cannot_be_evaluated_are_refused():
    with pytest.raises(ValueError, match="must be a `keras_hub.models.Caus"):
        HarnessLM(model_of("llama").backbone)
    model = llama()
    model.preprocessor = None
    with pytest.raises(ValueError, match="without a preprocessor"):
        HarnessLM(model)
    backbone = keras_hub.models.PaliGemmaBackbone(
        vocabulary_size=262,
        image_size=8,
        num_layers=1,
        num_query_heads=1,
        num_key_value_heads=1,
        hidden_dim=8,
        intermediate_dim=8,
        head_dim=8,
        vit_patch_size=4,
        vit_num_heads=1,
        vit_hidden_dim=8,
        vit_num_layers=1,
        vit_intermediate_dim=8,
    )
    pictures = keras_hub.models.PaliGemmaCausalLM(
        preprocessor=None, backbone=backbone
    )
    with pytest.raises(ValueError, match="also reads images, response_mask"):
        HarnessLM(pictures)


def test_the_package_does_without_the_harness_and_says_how_to_get_it():
    program = (
        "import sys; sys.modules['lm_eval'] = None\n"
        "import keras_laurel; print('imported')\n"
        "import experiments.evaluation"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert run.stdout == "imported\n"
    assert 'pip install "keras-laurel[eval]"' in run.stderr
