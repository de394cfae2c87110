"""Tasks of the harness that need no network."""

import functools

from datasets import Dataset
from lm_eval.tasks import TaskManager

# Without the harness' own, of which there are thousands to look through.
LocalTasks = functools.partial(TaskManager, include_defaults=False)

CAPITALS = [
    {"question": "the cat", "choices": ["sat", "mat", "rat"], "answer": 0},
    {"question": "Grüße", "choices": ["a", "b", "c"], "answer": 2},
    {"question": "in the", "choices": ["end", "beginning"], "answer": 1},
    {"question": "2 + 2 =", "choices": ["3", "4", "5", "22"], "answer": 1},
    {"question": "", "choices": ["the", "of"], "answer": 0},
]
TEXTS = [{"text": "to be or not to be"}, {"text": "that is " * 12}]


def local(rows):
    """Return the options by which rows become the data of a task."""
    data = Dataset.from_list(rows)
    return {"custom_dataset": lambda **_: {"test": data}, "test_split": "test"}


def multiple_choice(documents=CAPITALS):
    return {
        "task": "capitals",
        **local(documents),
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }


def writing(answers):
    """Return a task with the expected greedy text for each prompt."""
    rows = [{"prompt": p, "answer": a} for p, a in answers]
    return {
        "task": "writing",
        **local(rows),
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [], "max_gen_toks": 8},
        "metric_list": [{"metric": "exact_match"}],
    }


def perplexity():
    return {
        "task": "perplexity",
        **local(TEXTS),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "byte_perplexity"}],
    }
