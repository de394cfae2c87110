"""Llama-style language models: the baseline, a deeper one, and with LAuReL.

Every model is a KerasHub `Llama3CausalLM`, so KerasHub's generation, presets,
LoRA and quantisation apply to it.
"""

import contextlib
import dataclasses
import math
from pathlib import Path

import keras
import keras_hub

import keras_laurel
from rematerialisation import keep_flags
from rematerialisation import rematerialised
from run_folder import read_json

PLAIN_VARIANTS = ("baseline", "deeper")
LAUREL_PARTS = ("rw", "lr", "pa")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The sizes of a model.

    Args:
        num_blocks: Transformer blocks; the paper's N.
        width: Size of the residual stream; the paper's D.
        num_heads: Attention heads; `width / num_heads` has to be even.
        intermediate_size: Width inside the feed-forward network.
        vocabulary_size: Number of tokens that have an embedding.
        sequence_length: The longest sequence the model is used for.
        extra_blocks: How many more blocks the variant `deeper` has.
        paper_rank: The rank that the paper has for a model of this size.
    """

    num_blocks: int
    width: int
    num_heads: int
    intermediate_size: int
    vocabulary_size: int
    sequence_length: int
    extra_blocks: int = 1
    paper_rank: int = 32


# The paper gives the 157M model's blocks, parameters and (by what its variants
# add) width; the rest is chosen to give 157.20 M with 24 blocks and 179.23 M
# with 28. Of the two large models it gives no sizes but 1B, and 4.400B with 40
# blocks. Theirs are chosen to give those and the parameters that LAuReL adds:
# 0.012 % at rank 4, 0.1 % at rank 64. That asks for a narrow stream, hence the
# wide feed-forward networks. Its 3.63 % for one more layer of the 4B model
# cannot come of 40 equal blocks; here it is 2.33 %.
#
# Input and output embeddings are two matrices: KerasHub's Llama does not save
# that they are tied, so that a model with tied ones cannot be read back.
ARCHITECTURES = {
    "tiny": Architecture(4, 128, 4, 384, 1024, 128),
    "ablation-157m": Architecture(
        24, 784, 14, 1296, 15_940, 1024, extra_blocks=4
    ),
    "llm-1b": Architecture(16, 1024, 8, 10_240, 256_000, 2048, paper_rank=4),
    "llm-4b": Architecture(40, 1152, 9, 28_160, 128_000, 4096, paper_rank=64),
}


@dataclasses.dataclass(frozen=True)
class LaurelSizes:
    """The sizes of LAuReL, where a variant has them.

    Args:
        rank: r of the variants with a low-rank part.
        num_activations: k of the variants with previous activations.
    """

    rank: int = 32
    num_activations: int = 3


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
    laurel_layer(variant, laurel)


def laurel_layer(variant, laurel):
    """The layer of a LAuReL variant, with the options that it has."""
    options = {}
    if "lr" in variant.split("+"):
        options["rank"] = laurel.rank
        options["a_initializer"] = keras_laurel.ColumnOrthogonal()
    if "pa" in variant.split("+"):
        options["num_activations"] = laurel.num_activations
    return keras_laurel.get(variant, **options)


def build_language_model(variant, architecture, laurel, seed, remat=False):
    """The model of a variant.

    With one seed the baseline and all LAuReL variants compute the same at
    first; `deeper` draws weights of its own.
    """
    keras.utils.set_random_seed(seed)
    extra = architecture.extra_blocks if variant == "deeper" else 0
    blocks = architecture.num_blocks + extra
    with rematerialised(blocks) if remat else contextlib.nullcontext():
        backbone = build_backbone(architecture, blocks)
        model = keras_hub.models.Llama3CausalLM(backbone, compile=False)
    if variant not in PLAIN_VARIANTS:
        return keras_laurel.laurelize(model, laurel_layer(variant, laurel))
    if remat:
        for block in backbone.transformer_layers:
            keep_flags(block)
    return model


def build_backbone(architecture, blocks):
    return keras_hub.models.Llama3Backbone(
        vocabulary_size=architecture.vocabulary_size,
        num_layers=blocks,
        num_query_heads=architecture.num_heads,
        num_key_value_heads=architecture.num_heads,
        hidden_dim=architecture.width,
        intermediate_dim=architecture.intermediate_size,
        rope_max_wavelength=10_000,
        layer_norm_epsilon=1e-5,
    )


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
