"""The learning rates: the baselines, on a validation part."""

import dataclasses

from experiments.configs import images
from experiments.configs import text
from experiments.experiment import Experiment


def tuning(name, settings, percent, rates):
    """Rates of a baseline that trains on some percent of the training split."""
    kind = "images" if "vision" in name else "text"
    ending = ", at the paper's size" if name.endswith("_full") else ""
    return Experiment(
        name=name,
        title=f"The learning rate of the baseline on {kind}{ending}.",
        settings=dataclasses.replace(
            settings,
            train_split=f"train[:{percent}%]",
            eval_split=f"train[{percent}%:]",
        ),
        arms={f"rate_{rate:g}": {"learning_rate": rate} for rate in rates},
    )


ON_TEXT = (95, (2e-3, 4e-3, 8e-3, 1.6e-2))
EXPERIMENTS = (
    tuning("language_tuning", text.REDUCED, *ON_TEXT),
    tuning("language_tuning_full", text.FULL, *ON_TEXT),
    tuning("vision_tuning", images.REDUCED, 90, (0.05, 0.1, 0.2, 0.4, 0.8)),
    tuning("vision_tuning_full", images.FULL, 90, (0.4, 0.8, 1.6, 3.2, 6.4)),
)
