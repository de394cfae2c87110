"""Table 1: ResNet-50 with the variants, and with one more layer."""

from experiments.configs import images
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


def claim(text, arm, reference, paper, rule="better"):
    return Claim(text, arm, reference, rule, "Table 1", paper)


TABLE_1 = Experiment(
    name="table_1",
    title="Table 1: every variant on images, against one more layer.",
    settings=images.REDUCED,
    seeds=images.SEEDS,
    arms={variant: {"variant": variant} for variant in VARIANTS},
    claims=(
        claim("RW gains accuracy", "rw", "baseline", 0.15),
        claim("RW+LR gains accuracy", "rw+lr", "baseline", 0.25),
        claim("RW+LR+PA gains accuracy", "rw+lr+pa", "baseline", 0.30),
        claim("One more layer gains accuracy", "deeper", "baseline", 0.25),
        claim("RW+LR reaches one more layer", "rw+lr", "deeper", 0, "no worse"),
        claim("RW+LR+PA beats one more layer", "rw+lr+pa", "deeper", 0.05),
        Claim("PA alone", "pa"),
        Claim("LR alone", "lr"),
    ),
    paper=PAPER,
    family="vision",
)
EXPERIMENTS = (TABLE_1, TABLE_1.at_full_scale(images.FULL))
