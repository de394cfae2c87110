"""The learning rate on images: the baseline, on a validation part."""

import dataclasses

from experiments.configs.images import FULL
from experiments.configs.images import REDUCED
from experiments.configs.images import TRAINER
from experiments.experiment import Experiment

VALIDATION = {"train_split": "train[:90%]", "eval_split": "train[90%:]"}


def tuning(name, settings, rates):
    return Experiment(
        name=name,
        title="The learning rate of the baseline on images.",
        trainer=TRAINER,
        settings=dataclasses.replace(settings, **VALIDATION),
        arms={f"rate_{rate:g}": {"learning_rate": rate} for rate in rates},
    )


EXPERIMENTS = (
    tuning("vision_tuning", REDUCED, (0.05, 0.1, 0.2, 0.4, 0.8)),
    tuning("vision_tuning_full", FULL, (0.4, 0.8, 1.6, 3.2, 6.4)),
)
