"""What is known of KerasHub's transformer families: all there is to maintain.

A family is named by its backbone class. Everything else is found at
conversion, or is the same in all of them. The tests in `tests/conversion`
prove each row on a running model.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Family:
    """Where the blocks of a backbone are and how they are built.

    Attributes:
        blocks: Attribute of the backbone that lists the blocks, in the order
            they run; after a dot where a layer of the backbone, by its
            attribute or its name, has the list.
        block_classes: Names of the classes of the blocks.
        middle_norm: Attribute of a block: the norm whose input is the sum of
            the block's first addition. `None` where the block does not have
            two plain additions with a norm between them.
        why_not_sublayer: What it has instead, where `middle_norm` is `None`.
        entry_points: Methods through which a block is run.
        delegating: Methods that run it through one of those.
        input_norm: Attribute of a block: a norm before its first addition,
            whose output is the skip.
        tasks: Names of the task classes without the family's prefix.
    """

    blocks: str
    block_classes: tuple
    middle_norm: str | None = None
    why_not_sublayer: str | None = None
    entry_points: tuple = ("call",)
    delegating: tuple = ()
    input_norm: str | None = None
    tasks: tuple = ("CausalLM",)


def _llama_like(block_class, middle_norm="_feedforward_layernorm", **options):
    return Family("transformer_layers", (block_class,), middle_norm, **options)


def _bert_like(*more_tasks, block_class="TransformerEncoder"):
    return Family(
        "transformer_layers",
        (block_class,),
        why_not_sublayer="its blocks normalise after each addition",
        tasks=("MaskedLM", "TextClassifier", *more_tasks),
    )


def _vision(blocks, block_class, middle_norm, tasks=()):
    return Family(blocks, (block_class,), middle_norm, tasks=tasks)


FAMILIES = {
    "GPT2Backbone": _llama_like(
        "TransformerDecoder", "_feedforward_layer_norm"
    ),
    "OPTBackbone": _llama_like("TransformerDecoder", "_feedforward_layer_norm"),
    "BloomBackbone": _llama_like("BloomDecoder", "_post_attention_layernorm"),
    "GPTNeoXBackbone": Family(
        "transformer_layers",
        ("GPTNeoXDecoder",),
        why_not_sublayer="attention and feed-forward run in parallel",
    ),
    "FalconBackbone": _llama_like(
        "FalconTransformerDecoder", "post_attention_layernorm"
    ),
    "LlamaBackbone": _llama_like("LlamaTransformerDecoder"),
    "Llama3Backbone": _llama_like("LlamaTransformerDecoder"),
    "MistralBackbone": _llama_like("MistralTransformerDecoder"),
    "MixtralBackbone": _llama_like("MixtralTransformerDecoder"),
    "Phi3Backbone": _llama_like("Phi3Decoder", "post_attention_layernorm"),
    "GemmaBackbone": _llama_like("GemmaDecoderBlock", "pre_ffw_norm"),
    "Gemma3Backbone": _llama_like(
        "Gemma3DecoderBlock",
        "pre_ffw_norm",
        tasks=("CausalLM", "TextEmbedder"),
    ),
    "Gemma4Backbone": Family(
        "transformer_layers",
        ("Gemma4TextDecoderBlock",),
        why_not_sublayer="the block scales its sum and may add a third term",
    ),
    "QwenBackbone": _llama_like("QwenTransformerDecoder"),
    "QwenMoeBackbone": _llama_like("QwenMoeTransformerDecoder"),
    "Qwen3Backbone": _llama_like(
        "Qwen3TransformerDecoder", tasks=("CausalLM", "TextEmbedder")
    ),
    "Qwen3MoeBackbone": _llama_like("Qwen3MoeTransformerDecoder"),
    "Qwen3_5Backbone": _llama_like(
        "Qwen3_5TransformerDecoder",
        "_post_attention_layernorm",
        delegating=("call_and_update_cache",),
    ),
    "Qwen3_5MoeBackbone": _llama_like(
        "Qwen3_5MoeTransformerDecoder",
        "_post_attention_layernorm",
        delegating=("call_and_update_cache",),
    ),
    "SmolLM3Backbone": _llama_like(
        "SmolLM3DecoderLayer", "post_attention_layernorm"
    ),
    "GptOssBackbone": _llama_like(
        "GptOssTransformerDecoder", "post_attention_layernorm"
    ),
    "PaliGemmaBackbone": _llama_like("PaliGemmaDecoderBlock", "pre_ffw_norm"),
    "RWKV7Backbone": Family(
        "rwkv_layers",
        ("RWKV7_Block",),
        "ln2",
        entry_points=("call", "generate_call"),
        input_norm="ln0",
    ),
    "BertBackbone": _bert_like("TextEmbedder"),
    "RobertaBackbone": _bert_like(),
    "XLMRobertaBackbone": _bert_like("TextEmbedder"),
    "DistilBertBackbone": _bert_like(),
    "ElectraBackbone": dataclasses.replace(_bert_like(), tasks=()),
    "DebertaV3Backbone": _bert_like(block_class="DisentangledAttentionEncoder"),
    "FNetBackbone": _bert_like(block_class="FNetEncoder"),
    "RoformerV2Backbone": _bert_like(block_class="RoformerV2Encoder"),
    "ESMBackbone": Family(
        "transformer_layers",
        ("ESMEncoder",),
        why_not_sublayer="dropout stands between its sum and the norm",
        tasks=("MaskedPLM", "ProteinClassifier"),
    ),
    "ViTBackbone": _vision(
        "vit_encoder.encoder_layers",
        "ViTEncoderBlock",
        "layer_norm_2",
        tasks=("ImageClassifier",),
    ),
    "DeiTBackbone": _vision(
        "deit_encoder.encoder_layers",
        "DeiTEncoderBlock",
        "layer_norm_2",
        tasks=("ImageClassifier",),
    ),
    "DINOV2Backbone": _vision("encoder.layers", "DINOV2Layer", "norm2"),
    "DINOV3Backbone": _vision("encoder.layers", "DINOV3Layer", "norm2"),
}

_STACKS = "it has more than one stack of blocks"
# Backbones, and a task that has a supported one.
UNSUPPORTED = {
    "Gemma4AssistantCausalLM": "it drafts tokens from what its target computes",
    "AlbertBackbone": "its layers are one block, called again and again",
    "Gemma3nBackbone": "its blocks have LAuReL and AltUp inside already",
    "XLNetBackbone": "its blocks run two streams, content and query",
    "BLIP2Backbone": _STACKS,
    "BartBackbone": _STACKS,
    "CLIPBackbone": _STACKS,
    "EdRecBackbone": _STACKS,
    "MetaCLIP2Backbone": _STACKS,
    "MoonshineBackbone": _STACKS,
    "PARSeqBackbone": _STACKS,
    "SigLIPBackbone": _STACKS,
    "T5Backbone": _STACKS,
    "T5Gemma2Backbone": _STACKS,
    "T5GemmaBackbone": _STACKS,
    "VideoPrismBackbone": _STACKS,
    "WhisperBackbone": _STACKS,
}


def family_of(backbone):
    """The `Family` of a backbone, or `None` where it is none of KerasHub's."""
    cls = type(backbone)
    return FAMILIES.get(cls.__name__) if _is_hub(cls) else None


def why_unsupported(model):
    """The reason why a backbone or a task cannot be converted, or `None`."""
    base = hub_class(model, {*FAMILIES, *UNSUPPORTED})
    if base not in (None, type(model)):
        return (
            f"it is a subclass of KerasHub's {base.__name__}, and a converted "
            "model is saved, and found again, as one of KerasHub's own class. "
            f"Convert a {base.__name__}, and put what is yours around it"
        )
    return base and UNSUPPORTED.get(base.__name__)


def hub_class(model, names):
    """The nearest class of `model` that is KerasHub's and is in `names`."""
    for cls in type(model).__mro__:
        if _is_hub(cls) and cls.__name__ in names:
            return cls
    return None


def blocks_of(backbone, family):
    """The blocks, in the order they run.

    Raises:
        ValueError: if they are not where, or not what, `family` says.
    """
    *layer_names, list_name = family.blocks.split(".")
    owner = backbone
    for name in layer_names:
        owner = _attribute_or_layer(owner, name)
    blocks = getattr(owner, list_name, None)
    found = sorted({type(x).__name__ for x in blocks or ()})
    if not found or not set(found) <= set(family.block_classes):
        raise ValueError(
            f"`{type(backbone).__name__}.{family.blocks}` holds "
            f"{found or 'no layers'}; LAuReL knows it with blocks of "
            f"{list(family.block_classes)}. This version of KerasHub is not "
            "supported: install one that is, or report it."
        )
    return list(blocks)


def _attribute_or_layer(backbone, name):
    found = getattr(backbone, name, None)
    if found is None and name in [layer.name for layer in backbone.layers]:
        found = backbone.get_layer(name)
    return found


def _is_hub(cls):
    return cls.__module__.split(".")[0] == "keras_hub"
