"""Weights of the sum in bfloat16.

Under mixed_bfloat16 the library keeps alpha, beta and gamma in float32 and
applies them there. The arms `-cast` apply them rounded to bfloat16, in which
1.002 is 1; the sum stays in float32, so that nothing else differs.
"""

import dataclasses

from experiments.configs import text
from experiments.configs.table_5 import NAMES
from experiments.experiment import Claim
from experiments.experiment import Experiment

VARIANTS = ("rw", "pa", "rw+lr")


def claims(variant):
    name = NAMES[variant]
    return (
        Claim(
            f"{name}: trained with the sum's weights in bfloat16",
            f"{variant}-cast",
            variant,
        ),
        Claim(
            f"{name}: the sum's weights rounded after training",
            variant,
            variant,
            value="held_out_loss_after_casting",
        ),
    )


BFLOAT16 = Experiment(
    name="bfloat16",
    title="Weights of the sum in bfloat16 against float32, half of the steps.",
    settings=dataclasses.replace(
        text.REDUCED,
        precision="mixed_bfloat16",
        tokens=text.REDUCED.tokens // 2,
    ),
    seeds=text.FEWER_SEEDS,
    arms={
        "baseline": {},
        **{x: {"variant": x} for x in VARIANTS},
        **{
            f"{x}-cast": {"variant": x, "weights_in": "bfloat16"}
            for x in VARIANTS
        },
    },
    references={f"{variant}-cast": variant for variant in VARIANTS},
    claims=tuple(claim for variant in VARIANTS for claim in claims(variant)),
)
EXPERIMENTS = (
    BFLOAT16,
    BFLOAT16.at_full_scale(
        dataclasses.replace(text.FULL, tokens=text.FULL.tokens // 2)
    ),
)
