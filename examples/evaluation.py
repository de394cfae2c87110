"""
Title: Evaluation with lm-evaluation-harness
Author: keras_laurel
Date created: 2026/11/27
Last modified: 2026/11/27
Description: Ask a plain and a converted Llama the questions of a task.
Accelerator: GPU
"""

"""
## Setup

EleutherAI's lm-evaluation-harness asks language models the questions of many
tasks. `HarnessLM`, in the experiments of this repository, lets it ask any
CausalLM of KerasHub. Run this in the root of a clone, after
`pip install -e ".[eval]"`.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.append(".")

import keras
import keras_hub
import lm_eval
from datasets import Dataset
from lm_eval.tasks import TaskManager

import keras_laurel
from experiments.evaluation import HarnessLM
from experiments.language.tokenizers import byte_tokenizer

"""
## Two models

Tiny ones that read bytes and are trained on three sentences, plain and
converted. Take `CausalLM.from_preset(...)` in their place.
"""

SENTENCES = ["the cat sat on a mat", "the dog lay in a box", "a cow ate grass"]


def train(layer=None):
    keras.utils.set_random_seed(0)
    tokenizer = byte_tokenizer()
    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=2,
        num_query_heads=4,
        num_key_value_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
    )
    preprocessor = keras_hub.models.Llama3CausalLMPreprocessor(tokenizer, 24)
    model = keras_hub.models.Llama3CausalLM(backbone, preprocessor)
    if layer is not None:
        keras_laurel.laurelize(model, layer)
    model.compile(
        keras.optimizers.AdamW(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(SENTENCES * 8, batch_size=8, epochs=20, shuffle=False, verbose=0)
    return model


models = {"plain": train(), "rw+lr": train(keras_laurel.get("rw+lr", rank=4))}

"""
## A task

This one is made here, so that nothing is downloaded. For the harness' own give
their names, such as `tasks=["hellaswag"]`, and leave `task_manager` out.
"""

rows = [
    {"question": "the cat", "choices": ["sat", "ate", "lay"], "answer": 0},
    {"question": "the dog", "choices": ["sat", "ate", "lay"], "answer": 2},
    {"question": "a cow", "choices": ["sat", "ate", "lay"], "answer": 1},
]
task = {
    "task": "animals",
    "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    ],
}

"""
## Evaluate both

The harness takes the choice that the model finds most likely.
"""

for name, model in models.items():
    results = lm_eval.simple_evaluate(
        model=HarnessLM(model, batch_size=4),
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    print(name, results["results"]["animals"]["acc,none"])
