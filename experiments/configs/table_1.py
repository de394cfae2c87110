"""Table 1: ResNet-50 with the variants, and with one more layer."""

from experiments.configs.images import REDUCED
from experiments.configs.images import TRAINER
from experiments.configs.images import at_full_scale
from experiments.experiment import Claim
from experiments.experiment import Experiment

# Accuracy in per cent, and per cent of parameters added.
PAPER = {
    "baseline": ("74.95 ± 0.01", "0"),
    "deeper": ("75.20 ± 0.12", "4.37"),
    "rw": ("75.10 ± 0.10", "0.003"),
    "rw+lr": ("75.20 ± 0.07", "1.68"),
    "rw+lr+pa": ("75.25 ± 0.09", "2.40"),
}
VARIANTS = ("baseline", "deeper", "rw", "lr", "pa", "rw+lr", "rw+lr+pa")
# The paper's rank is no low one in a network so narrow, where r = 1 has about
# the share of parameters that the paper's arms have.
RANKS = {"": "r = 16, the paper's", "-rank-1": "r = 1, about the paper's share"}


def claim(text, arm, reference, paper, rule="better"):
    return Claim(text, arm, reference, rule, "Table 1", paper)


def at_both_ranks(text, variant, *others):
    return [
        claim(f"{text}: {rank}", f"{variant}{ending}", *others)
        for ending, rank in RANKS.items()
    ]


TABLE_1 = Experiment(
    name="table_1",
    title="Table 1: every variant on images, against one more layer.",
    trainer=TRAINER,
    settings=REDUCED,
    seeds=5,
    arms={
        **{variant: {"variant": variant} for variant in VARIANTS},
        **{
            f"{variant}-rank-1": {"variant": variant, "rank": 1}
            for variant in ("rw+lr", "rw+lr+pa")
        },
    },
    claims=(
        claim("One more layer gains accuracy", "deeper", "baseline", 0.25),
        claim("RW gains accuracy", "rw", "baseline", 0.15),
        *at_both_ranks("RW+LR gains accuracy", "rw+lr", "baseline", 0.25),
        *at_both_ranks("RW+LR+PA gains accuracy", "rw+lr+pa", "baseline", 0.30),
        *at_both_ranks(
            "RW+LR+PA beats one more layer", "rw+lr+pa", "deeper", 0.05
        ),
        *at_both_ranks(
            "RW+LR reaches one more layer", "rw+lr", "deeper", 0.0, "no worse"
        ),
        Claim("PA alone", "pa"),
        Claim("LR alone", "lr"),
    ),
    paper={
        f"{variant}{ending}": numbers
        for variant, numbers in PAPER.items()
        for ending in RANKS
    },
    family="vision",
)
EXPERIMENTS = (TABLE_1, at_full_scale(TABLE_1))
