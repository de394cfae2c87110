"""Table 5: every variant on text, around blocks and at their additions."""

from experiments.configs import text
from experiments.experiment import Claim
from experiments.experiment import Experiment

NAMES = {
    "rw": "RW",
    "lr": "LR",
    "pa": "PA",
    "rw+lr": "RW+LR",
    "rw+lr+pa": "RW+LR+PA",
}
# The paper's test losses, step times in seconds, peak memories in GB and
# millions of parameters.
PAPER = {
    "baseline": (3.0159, 0.095, 11.65, 157.20),
    "deeper": (2.9963, 0.105, 13.23, 179.23),
    "rw": (2.9557, 0.095, 11.93, 157.20),
    "lr": (2.9624, 0.098, 12.29, 158.40),
    "pa": (2.9512, 0.100, 12.55, 157.22),
    "rw+lr": (2.9531, 0.099, 12.57, 158.40),
    "rw+lr+pa": (2.9499, 0.104, 12.90, 160.83),
}


def lowers_loss(text, arm, reference):
    paper = PAPER[arm][0] - PAPER[reference][0]
    return Claim(text, arm, reference, "better", "Table 5", paper)


def gains(blocks):
    """The paper's claims on each variant, also against more blocks."""
    return (
        *(
            lowers_loss(f"{NAMES[x]} lowers the loss", x, "baseline")
            for x in NAMES
        ),
        lowers_loss(
            f"{blocks.capitalize()} lower the loss", "deeper", "baseline"
        ),
        *(
            lowers_loss(f"{NAMES[x]} beats {blocks}", x, "deeper")
            for x in NAMES
        ),
    )


# Two more feed-forward units in each block are as many parameters as RW+LR's
# map of rank 3: 3 * 64 * 2 in a block against 2 * 3 * 64, and two scalars.
WIDER = {"intermediate_size": 194}
# Some 6 % more steps, more than the step time that RW, PA or RW+LR adds.
LONGER = {"tokens": text.REDUCED.tokens * 17 // 16}
AT_FULL_SCALE = {
    "wider": {"intermediate_size": 1317},
    "longer": {"tokens": 38 * 531 * text.FULL.tokens_per_step},
}

TABLE_5 = Experiment(
    name="table_5",
    title="Table 5: every variant on text, against more blocks.",
    settings=text.REDUCED,
    seeds=text.SEEDS,
    arms={
        # Kept for upcycling, which trains them further.
        "baseline": {"keep_model": True},
        "wider": WIDER,
        "longer": LONGER,
        "deeper": {"variant": "deeper"},
        **{variant: {"variant": variant} for variant in NAMES},
    },
    claims=(
        *gains("more blocks"),
        lowers_loss("RW+LR+PA beats RW+LR", "rw+lr+pa", "rw+lr"),
        Claim(
            "RW+LR beats as many parameters in the width",
            "rw+lr",
            "wider",
            "better",
        ),
        *(
            Claim(f"{NAMES[x]} beats 6 % more steps", x, "longer", "better")
            for x in ("rw", "pa", "rw+lr")
        ),
    ),
    paper={
        arm: (f"{numbers[0]:.4f}", f"{100 * (numbers[3] / 157.20 - 1):.2f}")
        for arm, numbers in PAPER.items()
    },
    family=text.FAMILY,
)
EXPERIMENTS = (
    TABLE_5,
    TABLE_5.at_full_scale(text.FULL, {**TABLE_5.arms, **AT_FULL_SCALE}),
)
