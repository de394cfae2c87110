"""Figure 3: the rank of RW+LR; `rw+lr` has r = 16."""

from experiments.configs.images import REDUCED
from experiments.configs.images import TRAINER
from experiments.configs.images import at_full_scale
from experiments.experiment import Claim
from experiments.experiment import Experiment


def claim(text, arm, reference, rule="better"):
    return Claim(text, arm, reference, rule, "Figure 3")


FIGURE_3 = Experiment(
    name="figure_3",
    title="Figure 3: the rank of RW+LR on images.",
    trainer=TRAINER,
    settings=REDUCED,
    seeds=5,
    arms={
        "rw": {"variant": "rw"},
        "rank-4": {"variant": "rw+lr", "rank": 4},
        "rank-8": {"variant": "rw+lr", "rank": 8},
        "rw+lr": {"variant": "rw+lr"},
        "rank-32": {"variant": "rw+lr", "rank": 32},
        "rank-64": {"variant": "rw+lr", "rank": 64},
    },
    claims=(
        claim("r = 4 gains nothing: RW reaches it", "rw", "rank-4", "no worse"),
        claim("r = 8 gains nothing: RW reaches it", "rw", "rank-8", "no worse"),
        claim("r = 16 beats r = 8", "rw+lr", "rank-8"),
        claim("r = 32 beats r = 8", "rank-32", "rank-8"),
        claim("r = 16 beats r = 64", "rw+lr", "rank-64"),
        claim("r = 32 beats r = 64", "rank-32", "rank-64"),
        claim("RW+LR at r = 64 beats RW", "rank-64", "rw"),
    ),
    family="vision",
)
EXPERIMENTS = (FIGURE_3, at_full_scale(FIGURE_3))
