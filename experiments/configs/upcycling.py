"""Trained models that go on: with LAuReL, with LoRA, or as they are.

They begin with the baselines of Table 5, with a fresh optimizer and the same
schedule: on the same text, and on another one, where LoRA is compared with
LAuReL's weights alone, of which there are as many, each at its best rate.
"""

import dataclasses

from experiments.configs import text
from experiments.experiment import Claim
from experiments.experiment import Experiment

METHODS = {
    "plain": {},
    "laurel": {"variant": "rw+lr"},
    "lora": {"lora_rank": 2},
    "laurel-alone": {"variant": "rw+lr", "trained": "laurel"},
}
# Of few weights in a trained model the best rate is another one.
FASTER = {"": 1, "-fast": 4, "-faster": 16, "-fastest": 64}


def upcycling(name, settings, start, new_text, rank, size=""):
    """At this rank LAuReL trains as many weights as LoRA, within 1 %."""
    rates = {
        f"{method}{ending}-new-text": {
            **METHODS[method],
            "dataset": new_text,
            "learning_rate": factor * settings.learning_rate,
        }
        for method in ("lora", "laurel-alone")
        for ending, factor in FASTER.items()
    }
    return Experiment(
        name=name,
        title="Models converted after training, and trained on, half of the "
        f"steps{size}.",
        settings=dataclasses.replace(
            settings, start_from=start, rank=rank, tokens=settings.tokens // 2
        ),
        seeds=text.FEWER_SEEDS,
        arms={
            "plain": METHODS["plain"],
            "laurel": METHODS["laurel"],
            "plain-new-text": {"dataset": new_text},
            "laurel-new-text": {**METHODS["laurel"], "dataset": new_text},
            **rates,
        },
        references={
            "plain-new-text": None,
            "laurel-new-text": "plain-new-text",
            **{
                arm: arm.replace("laurel-alone", "lora")
                if arm.startswith("laurel")
                else "plain-new-text"
                for arm in rates
            },
        },
        claims=(
            Claim("RW+LR, not plain: same text", "laurel", "plain"),
            Claim("The same on new text", "laurel-new-text", "plain-new-text"),
            *(
                Claim(
                    "On new text, RW+LR's weights alone in place of LoRA's, "
                    f"at {factor} times the rate",
                    f"laurel-alone{ending}-new-text",
                    f"lora{ending}-new-text",
                )
                for ending, factor in FASTER.items()
            ),
        ),
    )


EXPERIMENTS = (
    upcycling("upcycling", text.REDUCED, "language/baseline", "shakespeare", 5),
    upcycling(
        "upcycling_full",
        text.FULL,
        "language_full/baseline",
        "wiki40b/en",
        28,
        ", at the paper's size",
    ),
)
