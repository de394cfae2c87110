"""Trained models that go on: with LAuReL, with LoRA, or as they are.

They begin with the baselines of Table 5, with a fresh optimizer and the same
schedule: on the same text, and on another one, where LoRA is compared with
LAuReL's weights alone, of which there are as many.
"""

import dataclasses

from experiments.configs.text import FULL
from experiments.configs.text import REDUCED
from experiments.configs.text import TRAINER
from experiments.experiment import Claim
from experiments.experiment import Experiment

METHODS = {
    "plain": {},
    "laurel": {"variant": "rw+lr"},
    "lora": {"lora_rank": 2},
    "laurel-alone": {"variant": "rw+lr", "trained": "laurel"},
}


def upcycling(name, settings, start, new_text, rank):
    """At this rank LAuReL trains as many weights as LoRA, within 1 %."""
    return Experiment(
        name=name,
        title="Trained models that go on, half of the steps.",
        trainer=TRAINER,
        settings=dataclasses.replace(
            settings, start_from=start, rank=rank, tokens=settings.tokens // 2
        ),
        seeds=3,
        arms={
            "plain": METHODS["plain"],
            "laurel": METHODS["laurel"],
            **{
                f"{method}-new-text": {**changes, "dataset": new_text}
                for method, changes in METHODS.items()
            },
        },
        references={
            "plain-new-text": None,
            "laurel-new-text": "plain-new-text",
            "lora-new-text": "plain-new-text",
            "laurel-alone-new-text": "lora-new-text",
        },
        claims=(
            Claim("RW+LR, not plain: same text", "laurel", "plain"),
            Claim("The same on new text", "laurel-new-text", "plain-new-text"),
            Claim(
                "On new text, LoRA in place of all weights",
                "lora-new-text",
                "plain-new-text",
            ),
            Claim(
                "On new text, RW+LR's weights alone in place of LoRA's",
                "laurel-alone-new-text",
                "lora-new-text",
            ),
        ),
    )


EXPERIMENTS = (
    upcycling("upcycling", REDUCED, "table_5/baseline", "shakespeare", 5),
    upcycling(
        "upcycling_full", FULL, "table_5_full/baseline", "wiki40b/en", 28
    ),
)
