"""What is known of KerasHub's transformer families: all there is to maintain.

A family is named by its backbone class. Everything else is found at
conversion, or is the same in all of them. The tests in `tests/conversion/hub`
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


_POST_NORM = "its blocks normalise after each addition"
_CROSS = "its decoder blocks add three times"


def _llama_like(block_class, middle_norm="_feedforward_layernorm", **options):
    return Family(
        ("transformer_layers",), (block_class,), middle_norm, **options
    )


def _bert_like(*more_tasks, block_class="TransformerEncoder"):
    return Family(
        ("transformer_layers",),
        (block_class,),
        why_not_sublayer=_POST_NORM,
        tasks=("MaskedLM", "TextClassifier", *more_tasks),
    )


def _vision(blocks, block_class, middle_norm, tasks=()):
    return Family((blocks,), (block_class,), middle_norm, tasks=tasks)


def _pair(block_class, middle_norm):
    """An encoder of images and one of texts, which have rows themselves."""
    return Family(
        ("vision_encoder", "text_encoder"),
        (block_class,),
        middle_norm,
        tasks=(),
    )


def _encoder_decoder(blocks, *block_classes, tasks=("Seq2SeqLM",)):
    return Family(
        (f"encoder_{blocks}", f"decoder_{blocks}"),
        block_classes,
        why_not_sublayer=_CROSS,
        tasks=tasks,
    )


def _albert_blocks(backbone):
    """Groups of layers, each of which runs several times in a row."""
    times = backbone.num_layers // backbone.num_groups
    return [
        layer
        for group in backbone.transformer_layers
        for _ in range(times)
        for layer in group
    ]


def _if_there(path):
    """A stack that not every model of the class has."""

    def find(backbone):
        found = backbone
        for name in path.split("."):
            found = getattr(found, name, None)
        return found

    return find


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
    "AlbertBackbone": Family(
        (_albert_blocks,),
        ("TransformerEncoder",),
        why_not_sublayer=_POST_NORM,
        tasks=("MaskedLM", "TextClassifier"),
    ),
    "XLNetBackbone": Family(
        ("transformer_layers",),
        ("XLNetEncoder",),
        why_not_sublayer=_POST_NORM,
        streams=("output_content", "output_query"),
        tasks=(),
    ),
    "BartBackbone": _encoder_decoder(
        "transformer_layers", "TransformerEncoder", "TransformerDecoder"
    ),
    "T5Backbone": _encoder_decoder("transformer_layers", "T5TransformerLayer"),
    "T5GemmaBackbone": _encoder_decoder(
        "layers", "T5GemmaEncoderLayer", "T5GemmaDecoderLayer"
    ),
    "T5Gemma2Backbone": Family(
        ("encoder_layers", "decoder_layers"),
        ("T5Gemma2EncoderLayer", "T5Gemma2DecoderLayer"),
        why_not_sublayer="its decoder attends to both sides in one addition",
        tasks=("Seq2SeqLM",),
    ),
    "EdRecBackbone": _encoder_decoder(
        "layers", "EdRecEncoderBlock", "EdRecDecoderBlock"
    ),
    "WhisperBackbone": _encoder_decoder(
        "transformer_layers", "WhisperEncoder", "WhisperDecoder", tasks=()
    ),
    "MoonshineBackbone": _encoder_decoder(
        "blocks",
        "MoonshineEncoderBlock",
        "MoonshineDecoderBlock",
        tasks=("AudioToText",),
    ),
    "CLIPBackbone": _pair("CLIPEncoderLayer", "layer_norm_2"),
    "CLIPVisionEncoder": _vision(
        "encoder_layers", "CLIPEncoderLayer", "layer_norm_2"
    ),
    "CLIPTextEncoder": _vision(
        "encoder_layers", "CLIPEncoderLayer", "layer_norm_2"
    ),
    "MetaCLIP2Backbone": _pair("MetaCLIP2EncoderLayer", "layer_norm_2"),
    "MetaCLIP2VisionEncoder": _vision(
        "encoder_layers", "MetaCLIP2EncoderLayer", "layer_norm_2"
    ),
    "MetaCLIP2TextEncoder": _vision(
        "encoder_layers", "MetaCLIP2EncoderLayer", "layer_norm_2"
    ),
    "SigLIPBackbone": _pair("SigLIPEncoderLayer", "layer_norm2"),
    "SigLIPVisionEncoder": _vision(
        "encoder_layers", "SigLIPEncoderLayer", "layer_norm2"
    ),
    "SigLIPTextEncoder": _vision(
        "encoder_layers", "SigLIPEncoderLayer", "layer_norm2"
    ),
    "VideoPrismBackbone": Family(
        (
            "spatial_encoder.encoder_layers",
            "temporal_encoder.encoder_layers",
            _if_there("auxiliary_encoder.encoder_layers"),
            _if_there("text_encoder.encoder_layers"),
        ),
        ("VideoPrismEncoderBlock",),
        "layer_norm_2",
        tasks=(),
    ),
    "DepthAnythingBackbone": _vision(
        "image_encoder", "DINOV2Layer", "norm2", tasks=("DepthEstimator",)
    ),
    "PARSeqBackbone": Family(
        ("image_encoder", "decoder.decoder_layers"),
        ("PARSeqDecoderBlock",),
        why_not_sublayer="its decoder blocks add three times to two streams",
        streams=("query", "content"),
        delegating=("forward_stream",),
    ),
    "BLIP2Backbone": Family(
        ("vision_encoder", "qformer", "language_model"),
        (),
        why_not_sublayer="its Q-Former normalises after each addition",
        tasks=("CausalLM", "Seq2SeqLM"),
    ),
}

# Models that are parts of backbones.
PARTS = {
    "BLIP2VisionEncoder": _vision(
        "encoder.encoder_layers", "ViTEncoderBlock", "layer_norm_2"
    ),
    "BLIP2QFormer": Family(
        ("transformer_layers",),
        ("QFormerLayer",),
        why_not_sublayer=_POST_NORM,
        tasks=(),
    ),
    "BLIP2CustomOPT": _llama_like(
        "TransformerDecoder", "_feedforward_layer_norm", tasks=()
    ),
    "BLIP2FlanT5": Family(("t5",), (), why_not_sublayer=_CROSS, tasks=()),
}
# Backbones, and a task that has a supported one.
UNSUPPORTED = {
    "Gemma4AssistantCausalLM": "it drafts tokens from what its target computes",
    "Gemma3nBackbone": "its blocks have LAuReL and AltUp inside already",
}

for _name, _family in {**FAMILIES, **PARTS}.items():
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
