"""What is known of KerasHub's transformer families: all there is to maintain.

A family is named by its backbone class. Everything else is found at
conversion, or is the same in all of them. The tests in `tests/conversion`
prove each row on a running model.
"""

import dataclasses

from keras_laurel.conversion.blocks import registry
from keras_laurel.conversion.blocks.registry import BlockRow


@dataclasses.dataclass(frozen=True)
class Family(BlockRow):
    """The row of a backbone of KerasHub.

    Attributes:
        tasks: Names of the task classes without the family's prefix.
    """

    tasks: tuple = ("CausalLM",)


def _llama_like(block_class, middle_norm="_feedforward_layernorm", **options):
    return Family(
        ("transformer_layers",), (block_class,), middle_norm, **options
    )


def _bert_like(*more_tasks, block_class="TransformerEncoder"):
    return Family(
        ("transformer_layers",),
        (block_class,),
        why_not_sublayer="its blocks normalise after each addition",
        tasks=("MaskedLM", "TextClassifier", *more_tasks),
    )


def _vision(blocks, block_class, middle_norm, tasks=()):
    return Family((blocks,), (block_class,), middle_norm, tasks=tasks)


FAMILIES = {
    "GPT2Backbone": _llama_like(
        "TransformerDecoder", "_feedforward_layer_norm"
    ),
    "OPTBackbone": _llama_like("TransformerDecoder", "_feedforward_layer_norm"),
    "BloomBackbone": _llama_like("BloomDecoder", "_post_attention_layernorm"),
    "GPTNeoXBackbone": Family(
        ("transformer_layers",),
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
        ("transformer_layers",),
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
        ("rwkv_layers",),
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
        ("transformer_layers",),
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


for _name, _family in FAMILIES.items():
    registry.add(("keras_hub", _name), _family)


def family_of(backbone):
    """The `Family` of a backbone, or `None` where it is none of KerasHub's."""
    row = registry.row_of(backbone)
    return row if isinstance(row, Family) else None


def why_unsupported(model):
    """The reason why a backbone or a task cannot be converted, or `None`.

    A subclass is as its nearest class that is known; one that has a row of
    its own, by `register_blocks`, is converted.
    """
    for cls in type(model).__mro__:
        if registry.has_own_row(cls):
            return None
        if is_hub(cls) and cls.__name__ in UNSUPPORTED:
            return UNSUPPORTED[cls.__name__]
    return None


def is_hub(cls):
    """Whether a class is KerasHub's own."""
    return cls.__module__.split(".")[0] == "keras_hub"


def is_of_table(cls):
    """Whether a class is a backbone of the table, or a task of such a row."""
    if not is_hub(cls):
        return False
    if cls.__name__ in FAMILIES:
        return True
    family = FAMILIES.get(getattr(cls.backbone_cls, "__name__", None))
    prefix = getattr(cls.backbone_cls, "__name__", "").removesuffix("Backbone")
    return family is not None and cls.__name__ in [
        prefix + task for task in family.tasks
    ]
