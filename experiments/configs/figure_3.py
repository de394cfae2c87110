"""Figure 3: the rank of RW+LR.

The first stage of the narrow network is a quarter as wide as ResNet-50's, so
that r = 4 here is the share of its width that r = 16 is there.
"""

from experiments.configs import images
from experiments.experiment import Claim
from experiments.experiment import Experiment

# The paper's ranks, and those that are the same share of the width here.
RANKS = {4: 1, 8: 2, 16: 4, 32: 8, 64: 16}


def name_of(rank, usual=images.REDUCED.rank):
    return "rw+lr" if rank == usual else f"rank-{rank}"


def arms_of(ranks, usual):
    """RW, and RW+LR at some ranks, of which the usual one is set already."""
    return {"rw": {"variant": "rw"}} | {
        name_of(rank, usual): {"variant": "rw+lr"}
        | ({} if rank == usual else {"rank": rank})
        for rank in ranks
    }


def claim(text, arm, reference, rule="better"):
    return Claim(text, arm, reference, rule, "Figure 3")


def gains_nothing(paper_rank):
    rank = RANKS[paper_rank]
    return claim(
        f"r = {rank} ({paper_rank} in the paper) gains nothing: RW reaches it",
        "rw",
        name_of(rank),
        "no worse",
    )


def beats(better, worse):
    ranks = RANKS[better], RANKS[worse]
    return claim(
        "r = {} beats r = {} ({} and {} in the paper)".format(
            *ranks, better, worse
        ),
        *map(name_of, ranks),
    )


FIGURE_3 = Experiment(
    name="figure_3",
    title="Figure 3: the rank of RW+LR on images.",
    settings=images.REDUCED,
    seeds=images.SEEDS,
    arms=arms_of(RANKS.values(), images.REDUCED.rank),
    claims=(
        gains_nothing(4),
        gains_nothing(8),
        beats(16, 8),
        beats(32, 8),
        beats(16, 64),
        beats(32, 64),
        claim("r = 16 (64 in the paper) beats RW", "rank-16", "rw"),
    ),
    family="vision",
)
EXPERIMENTS = (
    FIGURE_3,
    FIGURE_3.at_full_scale(images.FULL, arms_of(RANKS, images.FULL.rank)),
)
