"""The learning rate on text: the baseline, on a validation part."""

import dataclasses

from experiments.configs.text import FULL
from experiments.configs.text import REDUCED
from experiments.configs.text import TRAINER
from experiments.experiment import Experiment

VALIDATION = {"train_split": "train[:95%]", "eval_split": "train[95%:]"}
RATES = (2e-3, 4e-3, 8e-3, 1.6e-2)


def tuning(name, settings):
    return Experiment(
        name=name,
        title="The learning rate of the baseline on text.",
        trainer=TRAINER,
        settings=dataclasses.replace(settings, **VALIDATION),
        arms={f"rate_{rate:g}": {"learning_rate": rate} for rate in RATES},
    )


EXPERIMENTS = (
    tuning("language_tuning", REDUCED),
    tuning("language_tuning_full", FULL),
)
