"""Llama-style language models, without LAuReL.

Every model is a KerasHub `Llama3CausalLM`, so KerasHub's generation, presets,
LoRA and quantisation apply to it.
"""

import contextlib
import dataclasses

import keras


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
#
# The narrow one has the depth and the proportions of the 157M model. The one of
# 10M is what a GPU trains in a minute: wide heads, and few blocks to compile.
ARCHITECTURES = {
    "tiny": Architecture(4, 128, 4, 384, 1024, 128),
    "ablation-157m": Architecture(
        24, 784, 14, 1296, 15_940, 1024, extra_blocks=4
    ),
    "ablation-narrow": Architecture(
        24, 48, 2, 80, 1024, 128, extra_blocks=4, paper_rank=2
    ),
    "ablation-10m": Architecture(
        12, 256, 4, 640, 4096, 256, extra_blocks=2, paper_rank=10
    ),
    "llm-1b": Architecture(16, 1024, 8, 10_240, 256_000, 2048, paper_rank=4),
    "llm-4b": Architecture(40, 1152, 9, 28_160, 128_000, 4096, paper_rank=64),
}


def architecture_of(settings):
    """The `Architecture` of some settings, checked.

    Raises:
        ValueError: If it is unknown, or has not the sizes asked for.
    """
    if settings.model not in ARCHITECTURES:
        raise ValueError(
            f"Setting `model` must be one of {', '.join(ARCHITECTURES)}. "
            f"Received: model={settings.model!r}."
        )
    sizes = ARCHITECTURES[settings.model]
    if settings.width:
        sizes = of_width(sizes, settings.width)
    longest = sizes.sequence_length
    given = {
        "num_blocks": settings.depth,
        "intermediate_size": settings.intermediate_size,
        "vocabulary_size": settings.vocabulary_size,
        "sequence_length": settings.sequence_length,
        "paper_rank": settings.rank,
    }
    given = {name: value for name, value in given.items() if value}
    sizes = dataclasses.replace(sizes, **given)
    if sizes.sequence_length > longest:
        raise ValueError(
            f"Setting `sequence_length` must be at most {longest} for "
            f"model={settings.model!r}. Received: "
            f"sequence_length={sizes.sequence_length}."
        )
    return sizes


def of_width(sizes, width):
    """Another width, with heads as wide and feed-forward in proportion."""
    head = sizes.width // sizes.num_heads
    if width % head:
        raise ValueError(
            f"Setting `width` must be a multiple of {head}, the width of a "
            f"head. Received: width={width}."
        )
    return dataclasses.replace(
        sizes,
        width=width,
        num_heads=width // head,
        intermediate_size=round(sizes.intermediate_size * width / sizes.width),
    )


def build_plain(architecture, seed=0, remat=False, extra_blocks=0):
    """A model without LAuReL, not compiled.

    Args:
        architecture: An `Architecture`.
        seed: Integer, of the weights.
        remat: Boolean. Keep only the inputs of the blocks for the backward
            pass, and compute the rest once more.
        extra_blocks: How many more blocks it has.
    """
    import keras_hub

    keras.utils.set_random_seed(seed)
    blocks = architecture.num_blocks + extra_blocks
    names = [f"transformer_layer_{index}" for index in range(blocks)]
    scope = keras.RematScope(mode="list_of_layers", layer_names=names)
    with scope if remat else contextlib.nullcontext():
        backbone = build_backbone(architecture, blocks)
        model = keras_hub.models.Llama3CausalLM(backbone, compile=False)
    if remat:
        for block in backbone.transformer_layers:
            keep_flags(block)
    return model


def build_backbone(architecture, blocks):
    import keras_hub

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


def keep_flags(block):
    """Let a rematerialised plain block see `training` as it is.

    Keras passes every argument through the backend's rematerialisation, out of
    which JAX gives a flag as a tensor, on which the block's dropout cannot
    branch; TensorFlow takes no keywords there. Here tensors alone go through.
    Blocks that `laurelize` converted do so by themselves.
    """

    def rematerialized_call(call, *args, **kwargs):
        tensors = {k: v for k, v in kwargs.items() if keras.ops.is_tensor(v)}
        flags = {k: v for k, v in kwargs.items() if k not in tensors}

        def call_on(*values):
            inputs, masks = values[: len(args)], values[len(args) :]
            return call(*inputs, **dict(zip(tensors, masks)), **flags)

        return lambda *args, **kwargs: keras.remat(call_on)(
            *args, *tensors.values()
        )

    block.rematerialized_call = rematerialized_call
