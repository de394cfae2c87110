"""Settings that the experiments on text share."""

import dataclasses

from experiments.language.settings import LanguageSettings

TRAINER = "experiments.language.trainer"
# The paper's 24 blocks, narrow; rank 2 of 48 is its share of the width.
REDUCED = LanguageSettings(
    model="ablation-narrow",
    eval_split="test",
    tokens=368_640,
    tokens_per_step=512,
    rounds=4,
    evaluation_batches=64,
    # The best of results/language_tuning.json.
    learning_rate=6e-3,
    measure_memory=True,
)
# 10 B tokens, 0.5 M in an update. The rate is not tuned: pass the one that
# language_tuning_full finds best.
FULL = LanguageSettings(
    model="ablation-157m",
    precision="mixed_bfloat16",
    dataset="c4",
    eval_split="validation",
    max_tokens=10_100_000_000,
    tokens=19_000 * 524_288,
    tokens_per_step=524_288,
    accumulate=4,
    rounds=38,
    evaluation_batches=64,
)


def at_full_scale(experiment, **changes):
    """The same arms with the paper's size and length of training."""
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}_full",
        title=f"{experiment.title[:-1]}, at the paper's size.",
        settings=dataclasses.replace(FULL, **changes),
        family=f"{experiment.folder}_full",
        claims=(),
    )
