"""Choices on text: gamma, k, rank, bounds, A's start, other members of (2)."""

from experiments.configs import text
from experiments.configs.table_5 import NAMES
from experiments.experiment import Claim
from experiments.experiment import Experiment

RANKS = (1, 8, 16, 32)


def arm(variant, **options):
    """A variant with other arguments of the layer than the paper's."""
    return {"variant": variant, "layer_options": options}


def sublayer(variant):
    return {"variant": variant, "granularity": "sublayer"}


LANGUAGE_CHOICES = Experiment(
    name="language_choices",
    title="Choices of the design on text.",
    settings=text.REDUCED,
    seeds=text.FEWER_SEEDS,
    arms={
        "baseline": {"keep_model": True},
        "rw": {"variant": "rw"},
        "pa": {"variant": "pa"},
        "rw+lr": {"variant": "rw+lr"},
        "pa-fixed": {"variant": "pa", "fixed_gamma": 0.1},
        **{
            f"pa-{k}": {"variant": "pa", "num_activations": k}
            for k in (1, 2, 5)
        },
        **{
            f"rank-{rank}": {"variant": "rw+lr", "rank": rank} for rank in RANKS
        },
        "rw-free": arm("rw", residual_weights="free"),
        "rw-sigmoid": arm("rw", residual_weights="sigmoid"),
        "glorot": arm("rw+lr", a_initializer="glorot_uniform"),
        "orthogonal": arm("rw+lr", a_initializer="orthogonal"),
        "rw-sublayer": sublayer("rw"),
        "pa-sublayer": sublayer("pa"),
        "rw+lr-sublayer": sublayer("rw+lr"),
        "first": arm("pa", num_activations=1, first_activation=True),
        "all": arm("rw+pa", residual_weights="free", num_activations="all"),
        "slow-scalars": {"variant": "rw", "laurel_rates": (0.1, 1.0)},
        "fast-scalars": {"variant": "rw", "laurel_rates": (10.0, 1.0)},
    },
    claims=(
        Claim("γ learned beats γ fixed at 0.1", "pa", "pa-fixed", "better"),
        Claim("k = 3 reaches k = 5", "pa", "pa-5", "no worse"),
        Claim("k = 3 beats k = 1", "pa", "pa-1", "better"),
        *(
            Claim(
                f"RW+LR at r = {rank} lowers the loss",
                f"rank-{rank}",
                "baseline",
                "better",
            )
            for rank in RANKS
        ),
        Claim("α and β bounded reach free ones", "rw", "rw-free", "no worse"),
        Claim("How A starts matters: Glorot", "glorot", "rw+lr", "differs"),
        Claim(
            "How A starts matters: orthogonal", "orthogonal", "rw+lr", "differs"
        ),
        Claim("k = 2 in place of 3", "pa-2", "pa"),
        Claim("Sigmoid in place of softmax", "rw-sigmoid", "rw"),
        *(
            Claim(
                f"{NAMES[x]}: at each addition in place of around each block",
                f"{x}-sublayer",
                x,
            )
            for x in ("rw", "pa", "rw+lr")
        ),
        Claim("The first activation x₀ beside x", "first", "baseline"),
        Claim("x₀ in place of the last 3", "first", "pa"),
        Claim("All activations, free weights (DenseFormer)", "all", "baseline"),
        Claim("α and β at a tenth of the rate", "slow-scalars", "rw"),
        Claim("α and β at ten times the rate", "fast-scalars", "rw"),
    ),
    family=text.FAMILY,
)
EXPERIMENTS = (LANGUAGE_CHOICES,)
