"""Choices that the paper leaves open on images.

For RW+LR at r = 4, the share of the first stage's width that the paper's
r = 16 is.
"""

from experiments.configs.images import REDUCED
from experiments.experiment import Claim
from experiments.experiment import Experiment

USUAL = {"variant": "rw+lr", "rank": 4}


def arm(**options):
    """RW+LR with other arguments of the layer than the paper's."""
    return {**USUAL, "layer_options": options}


def initialized(name):
    return arm(a_initializer={"class_name": name, "config": {}})


def matters(text, name):
    return Claim(text, name, "rank-4", "differs", "text")


VISION_CHOICES = Experiment(
    name="vision_choices",
    title="Choices of the design on images: how A starts, bounds of the sum.",
    settings=REDUCED,
    seeds=4,
    arms={
        "rank-4": USUAL,
        "orthogonal": initialized("Orthogonal"),
        "column-orthogonal": initialized("keras_laurel>ColumnOrthogonal"),
        "sigmoid": arm(residual_weights="sigmoid"),
        "complement": arm(residual_weights="complement"),
        "lr-rank-4": {"variant": "lr", "rank": 4},
        "per-channel": arm(per_channel=True),
        "identity-sites": {**USUAL, "sites": "identity"},
        "scale-0.5": arm(scale=0.5),
    },
    claims=(
        matters("How A starts matters: orthogonal", "orthogonal"),
        matters("How A starts matters: column-orthogonal", "column-orthogonal"),
        Claim("Sigmoid in place of softmax", "sigmoid", "rank-4"),
        Claim("One parameter, β = 2 − α", "complement", "rank-4"),
        Claim("No weights, α = β = 1", "lr-rank-4", "rank-4"),
        Claim("α and β for each channel", "per-channel", "rank-4"),
        Claim(
            "Only where the skip is the identity", "identity-sites", "rank-4"
        ),
        Claim("Start at α = β = 0.5", "scale-0.5", "rank-4"),
    ),
    family="vision",
)
EXPERIMENTS = (VISION_CHOICES,)
