"""Choices that the paper leaves open on images, for RW+LR at r = 16."""

from experiments.configs.images import REDUCED
from experiments.configs.images import TRAINER
from experiments.configs.images import at_full_scale
from experiments.experiment import Claim
from experiments.experiment import Experiment


def arm(**options):
    """RW+LR with other arguments of the layer than the paper's."""
    return {"variant": "rw+lr", "layer_options": options}


def initialized(name):
    return arm(a_initializer={"class_name": name, "config": {}})


def matters(text, name):
    return Claim(text, name, "rw+lr", "differs", "text")


VISION_CHOICES = Experiment(
    name="vision_choices",
    title="Choices of the design on images: how A starts, bounds of the sum.",
    trainer=TRAINER,
    settings=REDUCED,
    seeds=5,
    arms={
        "rw+lr": {"variant": "rw+lr"},
        "orthogonal": initialized("Orthogonal"),
        "column-orthogonal": initialized("keras_laurel>ColumnOrthogonal"),
        "sigmoid": arm(residual_weights="sigmoid"),
        "complement": arm(residual_weights="complement"),
        "lr": {"variant": "lr"},
        "per-channel": arm(per_channel=True),
        "identity-sites": {"variant": "rw+lr", "sites": "identity"},
        "scale-0.5": arm(scale=0.5),
    },
    claims=(
        matters("How A starts matters: orthogonal", "orthogonal"),
        matters("How A starts matters: column-orthogonal", "column-orthogonal"),
        Claim("Sigmoid in place of softmax", "sigmoid", "rw+lr"),
        Claim("One parameter, β = 2 − α", "complement", "rw+lr"),
        Claim("No weights, α = β = 1", "lr", "rw+lr"),
        Claim("α and β for each channel", "per-channel", "rw+lr"),
        Claim("Only where the skip is the identity", "identity-sites", "rw+lr"),
        Claim("Start at α = β = 0.5", "scale-0.5", "rw+lr"),
    ),
    family="vision",
)
EXPERIMENTS = (VISION_CHOICES, at_full_scale(VISION_CHOICES))
