"""Measure the chance that pairing by seed leaves, by setting of the baseline.

The null arms differ from the baseline by nothing that matters: `moved` has
noise of 1e-6 on its first weights, `frozen` has LAuReL layers that stay at
their start. The deviation of their paired differences is what any effect has
to be seen against. `python -m experiments language_pilot` prints it.
"""

from experiments.configs.text import TRAINER
from experiments.experiment import Experiment
from experiments.language.settings import LanguageSettings

SETTINGS = LanguageSettings(
    model="tiny",
    depth=8,
    width=64,
    vocabulary_size=264,
    tokenizer="bytes",
    eval_split="test",
    initialization="fan_in",
    tokens=1_048_576,
    tokens_per_step=2048,
    rounds=4,
    evaluation_batches=64,
    learning_rate=4e-3,
)
NULL_ARMS = {
    "moved": {"perturbation": 1e-6},
    "frozen": {"variant": "rw+lr", "trained": "plain"},
}
# What each setting changes.
GRID = {
    "base": {},
    "more-tokens": {"tokens": 3 * 1_048_576},
    "large-steps": {"tokens_per_step": 8192},
    "low-rate": {"learning_rate": 1.5e-3},
    "long-warmup": {"warmup": 0.25},
    "no-decay": {"weight_decay": 0.0},
    "averaged": {"averaging": 0.99},
    "keras-hub-start": {"initialization": "keras_hub"},
    "deep": {"model": "ablation-narrow", "depth": 24, "width": 48},
}


def arms_of(setting, changes):
    return {
        setting: changes,
        **{
            f"{setting}-{null}": {**changes, **more}
            for null, more in NULL_ARMS.items()
        },
    }


LANGUAGE_PILOT = Experiment(
    name="language_pilot",
    title="Null arms on text: what pairing leaves of chance, by setting.",
    trainer=TRAINER,
    settings=SETTINGS,
    seeds=3,
    arms={
        name: arm
        for setting, changes in GRID.items()
        for name, arm in arms_of(setting, changes).items()
    },
    references={
        **dict.fromkeys(GRID),
        **{
            f"{setting}-{null}": setting
            for setting in GRID
            for null in NULL_ARMS
        },
    },
)
EXPERIMENTS = (LANGUAGE_PILOT,)
