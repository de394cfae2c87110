"""Table of KerasHub's transformer families.

A family is named by its backbone class. This table is all that needs to be
maintained: everything else is found at conversion, or is the same in all
families. The tests in `tests/conversion/hub` check each row on a running
model.
"""

import dataclasses

from keras_laurel.conversion.blocks import registry
from keras_laurel.conversion.blocks.registry import BlockRow


@dataclasses.dataclass(frozen=True)
class Family(BlockRow):
    """The row of a KerasHub backbone.

    Attributes:
        tasks: Names of the task classes, without the family's prefix.
    """

    tasks: tuple = ("CausalLM",)


def _text(block_class, **options):
    return Family(("transformer_layers",), (block_class,), **options)


def _bert_like(*more_tasks, block_class="TransformerEncoder"):
    tasks = ("MaskedLM", "TextClassifier", *more_tasks)
    return _text(block_class, tasks=tasks)


def _vision(blocks, block_class, tasks=()):
    return Family((blocks,), (block_class,), tasks=tasks)


def _pair(block_class):
    """Return the row of a pair of encoders, which have rows themselves.

    One encodes images, the other texts.
    """
    return Family(("vision_encoder", "text_encoder"), (block_class,), tasks=())


def _encoder_decoder(blocks, *block_classes, tasks=("Seq2SeqLM",)):
    return Family(
        (f"encoder_{blocks}", f"decoder_{blocks}"),
        block_classes,
        tasks=tasks,
    )


def _albert_blocks(backbone):
    """Return the blocks of ALBERT, whose groups run several times in a row."""
    times = backbone.num_layers // backbone.num_groups
    return [
        layer
        for group in backbone.transformer_layers
        for _ in range(times)
        for layer in group
    ]


def _if_there(path):
    """Return the location of a stack that some models of the class lack."""

    def find(backbone):
        found = backbone
        for name in path.split("."):
            found = getattr(found, name, None)
        return found

    return find


FAMILIES = {
    "GPT2Backbone": _text("TransformerDecoder"),
    "OPTBackbone": _text("TransformerDecoder"),
    "BloomBackbone": _text("BloomDecoder"),
    "GPTNeoXBackbone": _text("GPTNeoXDecoder"),
    "FalconBackbone": _text("FalconTransformerDecoder"),
    "LlamaBackbone": _text("LlamaTransformerDecoder"),
    "Llama3Backbone": _text("LlamaTransformerDecoder"),
    "MistralBackbone": _text("MistralTransformerDecoder"),
    "MixtralBackbone": _text("MixtralTransformerDecoder"),
    "Phi3Backbone": _text("Phi3Decoder"),
    "GemmaBackbone": _text("GemmaDecoderBlock"),
    "Gemma3Backbone": _text(
        "Gemma3DecoderBlock",
        tasks=("CausalLM", "TextEmbedder"),
    ),
    "Gemma4Backbone": _text("Gemma4TextDecoderBlock"),
    "QwenBackbone": _text("QwenTransformerDecoder"),
    "QwenMoeBackbone": _text("QwenMoeTransformerDecoder"),
    "Qwen3Backbone": _text(
        "Qwen3TransformerDecoder", tasks=("CausalLM", "TextEmbedder")
    ),
    "Qwen3MoeBackbone": _text("Qwen3MoeTransformerDecoder"),
    "Qwen3_5Backbone": _text(
        "Qwen3_5TransformerDecoder",
        delegating=("call_and_update_cache",),
    ),
    "Qwen3_5MoeBackbone": _text(
        "Qwen3_5MoeTransformerDecoder",
        delegating=("call_and_update_cache",),
    ),
    "SmolLM3Backbone": _text("SmolLM3DecoderLayer"),
    "GptOssBackbone": _text("GptOssTransformerDecoder"),
    "PaliGemmaBackbone": _text("PaliGemmaDecoderBlock"),
    "RWKV7Backbone": Family(
        ("rwkv_layers",),
        ("RWKV7_Block",),
        # Decoding runs `generate_call`, and not `call`.
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
    "ESMBackbone": _text(
        "ESMEncoder", tasks=("MaskedPLM", "ProteinClassifier")
    ),
    "ViTBackbone": _vision(
        "vit_encoder.encoder_layers",
        "ViTEncoderBlock",
        tasks=("ImageClassifier",),
    ),
    "DeiTBackbone": _vision(
        "deit_encoder.encoder_layers",
        "DeiTEncoderBlock",
        tasks=("ImageClassifier",),
    ),
    "DINOV2Backbone": _vision("encoder.layers", "DINOV2Layer"),
    "DINOV3Backbone": _vision("encoder.layers", "DINOV3Layer"),
    # Its groups of blocks run several times, so no attribute lists them in the
    # order they run.
    "AlbertBackbone": Family(
        (_albert_blocks,),
        ("TransformerEncoder",),
        tasks=("MaskedLM", "TextClassifier"),
    ),
    "XLNetBackbone": Family(
        ("transformer_layers",),
        ("XLNetEncoder",),
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
    "CLIPBackbone": _pair("CLIPEncoderLayer"),
    "CLIPVisionEncoder": _vision("encoder_layers", "CLIPEncoderLayer"),
    "CLIPTextEncoder": _vision("encoder_layers", "CLIPEncoderLayer"),
    "MetaCLIP2Backbone": _pair("MetaCLIP2EncoderLayer"),
    "MetaCLIP2VisionEncoder": _vision(
        "encoder_layers", "MetaCLIP2EncoderLayer"
    ),
    "MetaCLIP2TextEncoder": _vision("encoder_layers", "MetaCLIP2EncoderLayer"),
    "SigLIPBackbone": _pair("SigLIPEncoderLayer"),
    "SigLIPVisionEncoder": _vision("encoder_layers", "SigLIPEncoderLayer"),
    "SigLIPTextEncoder": _vision("encoder_layers", "SigLIPEncoderLayer"),
    "VideoPrismBackbone": Family(
        (
            "spatial_encoder.encoder_layers",
            "temporal_encoder.encoder_layers",
            _if_there("auxiliary_encoder.encoder_layers"),
            _if_there("text_encoder.encoder_layers"),
        ),
        ("VideoPrismEncoderBlock",),
        tasks=(),
    ),
    "DepthAnythingBackbone": _vision(
        "image_encoder", "DINOV2Layer", tasks=("DepthEstimator",)
    ),
    "PARSeqBackbone": Family(
        ("image_encoder", "decoder.decoder_layers"),
        ("PARSeqDecoderBlock",),
        streams=("query", "content"),
        delegating=("forward_stream",),
    ),
    "BLIP2Backbone": Family(
        ("vision_encoder", "qformer", "language_model"),
        (),
        tasks=("CausalLM", "Seq2SeqLM"),
    ),
}

# Rows of models that are parts of backbones.
PARTS = {
    "BLIP2VisionEncoder": _vision("encoder.encoder_layers", "ViTEncoderBlock"),
    "BLIP2QFormer": _text("QFormerLayer", tasks=()),
    "BLIP2CustomOPT": _text("TransformerDecoder", tasks=()),
    "BLIP2FlanT5": Family(("t5",), (), tasks=()),
}
# Backbones, and a task whose backbone is supported.
UNSUPPORTED = {
    "Gemma4AssistantCausalLM": "it drafts tokens from what its target computes",
    "Gemma3nBackbone": "its blocks have LAuReL and AltUp inside already",
}

for _name, _family in {**FAMILIES, **PARTS}.items():
    registry.add(("keras_hub", _name), _family)


def why_unsupported(model):
    """Return why a backbone or a task cannot be converted, or `None`.

    A subclass counts as its nearest known base, unless it has its own row
    from `register_blocks`.
    """
    for cls in type(model).__mro__:
        if registry.has_own_row(cls):
            return None
        if is_hub(cls) and cls.__name__ in UNSUPPORTED:
            return UNSUPPORTED[cls.__name__]
    return None


def is_hub(cls):
    """Return whether a class is defined in KerasHub."""
    return cls.__module__.split(".")[0] == "keras_hub"


def is_of_table(cls):
    """Return whether a class is a backbone or a task of the table."""
    if not is_hub(cls):
        return False
    if cls.__name__ in FAMILIES:
        return True
    family = FAMILIES.get(getattr(cls.backbone_cls, "__name__", None))
    prefix = getattr(cls.backbone_cls, "__name__", "").removesuffix("Backbone")
    return family is not None and cls.__name__ in [
        prefix + task for task in family.tasks
    ]
