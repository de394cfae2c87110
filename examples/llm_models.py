"""What the language models' programs check and say of the paper's models."""

import dataclasses
import math
from pathlib import Path

import keras

from experiments.language.models import ARCHITECTURES
from experiments.language.models import Architecture
from experiments.language.models import build_language_model
from experiments.variants import PLAIN_VARIANTS
from run_folder import read_json

LAUREL_PARTS = ("rw", "lr", "pa")


def find_architecture(name, **changes):
    """The architecture of a configuration, with some sizes changed.

    Args:
        name: A name in `ARCHITECTURES`.
        changes: Other values for its fields; None leaves a field alone.
    """
    if name not in ARCHITECTURES:
        raise ValueError(
            f"Unknown configuration: received `--configuration {name}`, "
            f"expected one of {', '.join(ARCHITECTURES)}. Choose one of them, "
            "and change its sizes by `--sequence-length` and "
            "`--vocabulary-size`."
        )
    given = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(ARCHITECTURES[name], **given)


def sizes_of_preset(folder):
    """The `Architecture` of a preset on disk, without reading its weights."""
    backbone, preprocessor = (
        read_json(Path(folder) / name)
        for name in ("config.json", "preprocessor.json")
    )
    if not backbone or not preprocessor or "Llama3" not in str(backbone):
        raise ValueError(
            f"Received `--model {folder}`; expected the folder of a KerasHub "
            "Llama 3 preset with its preprocessor, such as `llm_pretrain.py` "
            "leaves in OUTPUT/baseline/preset. Pass one, or leave out "
            "`--model` to train a tiny one first."
        )
    sizes = backbone["config"]
    return Architecture(
        num_blocks=sizes["num_layers"],
        width=sizes["hidden_dim"],
        num_heads=sizes["num_query_heads"],
        intermediate_size=sizes["intermediate_dim"],
        vocabulary_size=sizes["vocabulary_size"],
        sequence_length=preprocessor["config"]["sequence_length"],
    )


def check_sequence_length(length, architecture):
    """Raises for sequences that the model was not made for."""
    if length > architecture.sequence_length:
        raise ValueError(
            f"Received sequences of {length} tokens; the model is made for "
            f"{architecture.sequence_length} at most. Pass "
            f"`--sequence-length {architecture.sequence_length}` or less."
        )


def check_variant(variant, architecture, laurel):
    """Raises a ValueError for a variant that cannot be built."""
    if variant in PLAIN_VARIANTS:
        return
    parts = variant.split("+")
    if not set(parts) <= set(LAUREL_PARTS) or len(set(parts)) < len(parts):
        raise ValueError(
            f"Unknown variant: received `{variant}`, expected one of "
            f"{', '.join(PLAIN_VARIANTS)} or {', '.join(LAUREL_PARTS)} joined "
            "by `+`. For example: `--variants baseline rw+lr`."
        )
    if "pa" in parts and laurel.num_activations > architecture.num_blocks:
        raise ValueError(
            f"Received `--num-activations {laurel.num_activations}` for a "
            f"model of {architecture.num_blocks} blocks; expected at most as "
            "many as blocks, since no block has more activations before it. "
            "Lower `--num-activations`."
        )
    if "lr" in parts and laurel.rank > architecture.width:
        raise ValueError(
            f"Received `--rank {laurel.rank}` for a model of width "
            f"{architecture.width}; expected less, or the map would not be "
            "of low rank. Lower `--rank`."
        )
    laurel.layer(variant)


def count_parameters(variant, architecture, laurel):
    """The parameters of a variant, counted on a model without memory.

    In Keras' stateless scope a new variable has a shape and no value yet, so
    this also counts models that this machine could not hold.
    """
    with keras.StatelessScope(initialize_variables=False):
        model = build_language_model(variant, architecture, laurel, seed=0)
    # Or the next scope that ends would give them their values after all.
    keras.utils.clear_session()
    return sum(math.prod(weight.shape) for weight in model.weights)


def describe_parameters(variant, architecture, laurel):
    """A line such as `rw+lr: 158,400,048 parameters, 0.766 % added`."""
    count = count_parameters(variant, architecture, laurel)
    plain = count_parameters("baseline", architecture, laurel)
    added = count - plain
    return (
        f"{variant}: {count:,} parameters, {added:+,} "
        f"({100 * added / plain:+.3f} %)"
    )
