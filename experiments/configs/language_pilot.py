"""Measure the chance that pairing by seed leaves, by setting of the baseline.

The null arms differ from the baseline by nothing that matters: `moved` has
noise of 1e-6 on its first weights, `shaken` of 1e-2, a tenth of what most
weights are, and `frozen` has LAuReL layers that stay at their start. The
deviation of their paired differences is what any effect has to be seen
against. `python -m experiments language_pilot` prints it.
"""

import dataclasses

from experiments.configs import text
from experiments.experiment import Experiment

SETTINGS = dataclasses.replace(
    text.REDUCED, vocabulary_size=264, tokenizer="bytes", rank=None, rounds=2
)
NULL_ARMS = {
    "moved": {"perturbation": 1e-6},
    "shaken": {"perturbation": 1e-2},
    "frozen": {"variant": "rw+lr", "trained": "plain"},
}
# What each setting changes.
GRID = {
    "base": {},
    "low-rate": {"learning_rate": 1.5e-3},
    "high-rate": {"learning_rate": 8e-3},
    "to-zero": {"schedule": "wsd", "decay": 0.9},
    "averaged": {"averaging": 0.99},
    "large-steps": {"tokens_per_step": 8192},
    "bpe": {"tokenizer": "bpe", "vocabulary_size": 1024},
    "no-decay": {"weight_decay": 0.0},
    "keras-hub-start": {"initialization": "keras_hub"},
    "more-tokens": {"tokens": 2 * 1_048_576},
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
    title="Null arms on text: how far paired runs differ by chance.",
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
