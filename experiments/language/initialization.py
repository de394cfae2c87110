"""First weights other than KerasHub's, and noise on them."""

import dataclasses
import math

import numpy as np

from experiments.language.models import build_plain
from experiments.variants import copy_shared_weights

# The layers whose output is added to the stream, twice in a block.
OUTPUTS = ("attention_output", "feedforward_output_dense")


def initialize(model, settings, sizes, seed):
    """Give a new model the first weights of its settings.

    Each variant starts like the baseline of its seed: LAuReL's weights stay as
    they are, and a deeper model gets the baseline's blocks.
    """
    weights = [
        weight
        for weight in model.backbone.weights
        if not weight.name.startswith("laurel_")
    ]
    if settings.initialization == "fan_in":
        draw_by_fan_in(weights, len(model.backbone.transformer_layers), seed)
    if settings.variant == "deeper":
        plain = build_plain(sizes, seed)
        of_plain = dataclasses.replace(settings, variant="baseline")
        initialize(plain, of_plain, sizes, seed)
        copy_shared_weights(plain.backbone, model.backbone)
    if settings.fixed_gamma is not None:
        fix_gamma(model, settings.fixed_gamma)
    if settings.perturbation:
        random = np.random.default_rng((seed, 1))
        for weight in weights:
            noise = random.normal(size=weight.shape)
            weight.assign_add(settings.perturbation * noise.astype("float32"))


def fix_gamma(model, value):
    for weight in model.backbone.weights:
        if weight.name == "laurel_gamma":
            weight.assign(np.full(weight.shape, value, "float32"))
            weight.trainable = False


def draw_by_fan_in(weights, depth, seed):
    """Normal weights of deviation 1 / sqrt(inputs); scales stay at 1.

    What is added to the stream is smaller by sqrt(2 depth), so that the stream
    does not grow with depth; embeddings, of which one is an input, have the
    deviation 1.
    """
    random = np.random.default_rng((seed, 0))
    for weight in weights:
        if len(weight.shape) > 1:
            deviation = 1 / math.sqrt(inputs_of(weight))
            if layer_of(weight) in OUTPUTS:
                deviation /= math.sqrt(2 * depth)
            values = random.normal(scale=deviation, size=weight.shape)
            weight.assign(values.astype("float32"))


def inputs_of(weight):
    """Return how many numbers each output of a weight sums."""
    if weight.name == "embeddings":
        return 1
    # (heads, width of a head, width): both axes in front are summed over.
    if layer_of(weight) == "attention_output":
        return math.prod(weight.shape[:-1])
    return weight.shape[0]


def layer_of(weight):
    return weight.path.split("/")[-2]
