"""KerasHub families of transformers, with what was read in their sources.

A row says how to build the family as small as it goes, where its blocks are
and what they look like. `upstream` lists what the plain model does not do at
this size, so that a test does not ask the converted one for it.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

VOCABULARY = 64
IMAGE = 8


def without(config, *keys):
    return {k: v for k, v in config.items() if k not in keys}


def hub(name, **kwargs):
    """A builder; `kwargs` that are builders themselves get the dtype too."""

    def build(dtype=None):
        import keras_hub

        made = {
            key: value(dtype) if callable(value) else value
            for key, value in kwargs.items()
        }
        if dtype is not None:
            made["dtype"] = dtype
        return getattr(keras_hub.models, name)(**made)

    build.class_name = name
    return build


def internal(module, name, **kwargs):
    """The same for a class that KerasHub does not export."""

    def build(dtype=None):
        from importlib import import_module

        cls = getattr(import_module(f"keras_hub.src.models.{module}"), name)
        return cls(**kwargs, **({} if dtype is None else {"dtype": dtype}))

    return build


@contextmanager
def short_chunks(size=8):
    """Let linear attention run through `size` rows, not 64, in Python.

    The outputs are the same up to rounding; a first call on JAX, where
    each row is compiled, is several times faster.
    """
    from unittest import mock

    from keras_hub.src.models.qwen3_5 import qwen3_5_gated_delta_net

    rule = qwen3_5_gated_delta_net._chunk_gated_delta_rule
    defaults = (size, *rule.__defaults__[1:])
    with mock.patch.object(rule, "__defaults__", defaults):
        yield


def tokens(batch=2, length=8, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, VOCABULARY - 2, (batch, length), dtype="int32")
    return {
        "token_ids": ids,
        "padding_mask": np.ones((batch, length), dtype="bool"),
    }


def images(batch, seed=0, size=IMAGE):
    rng = np.random.default_rng(seed)
    return rng.random((batch, size, size, 3), dtype="float32")


def segments(batch=2, length=8, seed=0):
    return {
        **tokens(batch, length, seed),
        "segment_ids": np.zeros((batch, length), dtype="int32"),
    }


def positions(batch=2, length=8, seed=0):
    row = np.arange(length, dtype="int32")
    return {
        **tokens(batch, length, seed),
        "position_ids": np.tile(row, (batch, 1)),
    }


def image_span(batch, span):
    """Return the indices of an image in the text."""
    index = np.arange(*span, dtype="int32")
    return np.tile(index, (batch, 1))


def gemma3_image(batch=2, length=8, seed=0):
    x = tokens(batch, length, seed)
    mask = np.zeros((batch, length), dtype="bool")
    mask[:, 1:2] = True
    return {
        **x,
        "images": images(batch, seed)[:, None],
        "vision_indices": image_span(batch, (1, 2)),
        "vision_mask": mask,
    }


def gemma4_image(batch=2, length=8, seed=0):
    rng = np.random.default_rng(seed)
    x = gemma3_image(batch, length, seed)
    del x["images"]
    row, column = np.divmod(np.arange(4, dtype="int32"), 2)
    where = np.stack([column, row], axis=-1)
    return {
        **x,
        "position_ids": positions(batch, length)["position_ids"],
        "pixel_values": rng.random((batch, 1, 4, 48), dtype="float32"),
        "pixel_position_ids": np.tile(where, (batch, 1, 1, 1)),
    }


def pali_gemma(batch=2, length=8, seed=0):
    return {
        **tokens(batch, length, seed),
        "images": images(batch, seed),
        "response_mask": np.zeros((batch, length), dtype="bool"),
    }


def token_ids(batch=2, length=8, seed=0):
    return tokens(batch, length, seed)["token_ids"]


def token_ids_only(batch=2, length=8, seed=0):
    return {"token_ids": token_ids(batch, length, seed)}


def token_segments(batch=2, length=8, seed=0):
    return without(segments(batch, length, seed), "padding_mask")


def picture(batch=2, length=None, seed=0):
    return images(batch, seed)


def picture_only(batch=2, length=None, seed=0):
    return {"images": images(batch, seed)}


def picture_pixels(batch=2, length=None, seed=0):
    return {"pixel_values": images(batch, seed)}


def picture_and_text(batch=2, length=8, seed=0):
    return {**picture_only(batch, seed=seed), **token_ids_only(batch, length)}


def video(batch=2, length=2, seed=0):
    return np.stack([images(batch, seed + i) for i in range(2)], axis=1)


def text_to_text(batch=2, length=8, seed=0):
    sides = {"encoder": seed, "decoder": seed + 1}
    return {
        f"{side}_{key}": value
        for side, seed in sides.items()
        for key, value in tokens(batch, length, seed).items()
    }


def sound_to_text(batch=2, length=8, seed=0):
    rng = np.random.default_rng(seed)
    x = text_to_text(batch, length, seed)
    return {
        **without(x, "encoder_token_ids", "encoder_padding_mask"),
        "encoder_features": rng.random((batch, 16, 8), dtype="float32"),
    }


def wave_to_text(batch=2, length=8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        **without(text_to_text(batch, length, seed), "encoder_token_ids"),
        "encoder_input_values": rng.random((batch, 2048, 1), dtype="float32"),
        "encoder_padding_mask": np.ones((batch, 2048), dtype="bool"),
    }


def prompt_of(inputs):
    """The inputs of `generate`: nothing after the first `prompt` tokens."""

    def build(batch=2, length=8, prompt=4, seed=0):
        x = inputs(batch, length, seed)
        x["token_ids"][:, prompt:] = 0
        x["padding_mask"][:, prompt:] = False
        return x

    return build


def decoder_prompt_of(inputs):
    """The same for a decoder, of what its encoder has read."""

    def build(batch=2, length=8, prompt=4, seed=0):
        x = inputs(batch, length, seed)
        x["decoder_token_ids"][:, prompt:] = 0
        x["decoder_padding_mask"][:, prompt:] = False
        return x

    return build


def gemma3_prompt(batch=2, length=8, prompt=4, seed=0):
    """`generate` returns the images, and fails if there are none."""
    none = np.zeros((batch, 0, IMAGE, IMAGE, 3), dtype="float32")
    return {**prompt_of(tokens)(batch, length, prompt, seed), "images": none}


def rwkv_prompt(batch=2, length=8, prompt=4, seed=0):
    """The prompt but its last token, and what starts with that."""
    ids = tokens(batch, length, seed)["token_ids"][:, :prompt]
    answer = np.zeros((batch, length - prompt + 1), dtype="int32")
    answer[:, 0] = ids[:, -1]
    return {
        "token_ids": ids[:, :-1],
        "input_padding_mask": np.ones((batch, prompt - 1), dtype="bool"),
        "padding_mask": answer != 0,
        "predict_token_ids": answer,
    }


SEQ2SEQ_INPUTS = (text_to_text, sound_to_text, wave_to_text)


@dataclass(frozen=True)
class Family:
    """A family of KerasHub.

    Args:
        name: The name of the row.
        backbone: `backbone(dtype=None)` builds the backbone.
        blocks: Where the list of blocks is, from the backbone.
        block_class: The name of the class of the blocks.
        num_blocks: The number of blocks, by reading the configuration.
        task_class: The name of the `CausalLM`, if there is one.
        inputs: `inputs(batch, length, seed)` for backbone and task.
        prompt: `prompt(batch, length, prompt, seed)` for `generate`.
        other_stacks: Where further lists of blocks are that are converted.
        other_blocks: Where lists are that are not, as of a vision encoder.
        lora: Layers to name to `enable_lora` where its own match none.
        lacks: What the plain model does not do: "decode" (the tokens that
            it generates with a cache are not those without), "reload" (from
            `.keras` to the same outputs), "task_preset" (be loaded by
            `CausalLM.from_preset`), "preset_dtype" (be loaded so without
            `dtype`), "contrastive" (sampling), "beam" (search with more than
            one), "quantized_reload" (from `.keras` after `quantize("int8")`),
            "quantize" (that itself), "remat" (train with rematerialised
            blocks, on JAX and PyTorch), "remat_on_jax" (the same on JAX).
        slow: Whether a first call takes longer than some seconds; see
            `short_chunks`.
        times: How often each block runs in a row.
    """

    name: str
    backbone: Callable
    blocks: str
    block_class: str
    num_blocks: int
    task_class: str = ""
    inputs: Callable = tokens
    prompt: Callable = prompt_of(tokens)
    other_stacks: tuple = ()
    other_blocks: tuple = ()
    lora: tuple = ()
    lacks: tuple = ()
    slow: bool = False
    times: int = 1

    @property
    def backbone_class(self):
        """The name of the class of the backbone."""
        return self.backbone.class_name

    def block_list(self, backbone):
        """All blocks that are converted, each once."""
        blocks = [x for stack in self.block_lists(backbone) for x in stack]
        return list({id(block): block for block in blocks}.values())

    def block_lists(self, backbone):
        """For each stack its blocks as often as they run, in order."""
        stacks = [self._follow(backbone, path) for path in self.stacks]
        return [
            [block for block in _flat(stack) for _ in range(self.times)]
            for stack in stacks
        ]

    @staticmethod
    def _follow(backbone, path):
        """Follow a path, of which each part is an attribute or a layer."""
        found = backbone
        for part in path.split("."):
            if not hasattr(found, part):
                found = found.get_layer(part)
            else:
                found = getattr(found, part)
        return found

    @property
    def tokens(self):
        """The name of the tokens that are generated."""
        side = "decoder_" if self.inputs in SEQ2SEQ_INPUTS else ""
        return f"{side}token_ids"

    @property
    def stacks(self):
        """The paths of the lists of all converted blocks."""
        return (self.blocks, *self.other_stacks)

    def inputs_of(self, token_ids, prompt):
        """The inputs that recompute what `generate` makes of a prompt."""
        x = self.inputs(*token_ids.shape)
        x[self.tokens] = token_ids
        if "response_mask" in x:  # A prompt attends to both sides.
            x["response_mask"][:, prompt:] = True
        return x

    def task(self, backbone=None):
        import keras_hub

        cls = getattr(keras_hub.models, self.task_class)
        return cls(backbone=backbone or self.backbone(), preprocessor=None)

    @property
    def task_kind(self):
        """The base class of the task, which `from_preset` is called on.

        `AudioToText`, a `Seq2SeqLM`, is not exported.
        """
        causal = self.task_class.endswith("CausalLM")
        return "CausalLM" if causal else "Seq2SeqLM"

    @property
    def preset_options(self):
        """Options that `from_preset` of the task needs."""
        lacks_dtype = "preset_dtype" in self.lacks
        return {"dtype": "float32"} if lacks_dtype else {}


def _flat(blocks):
    """Of a list, or of a list of lists."""
    return [
        x for y in blocks for x in (_flat(y) if isinstance(y, list) else [y])
    ]


SMALL = dict(
    vocabulary_size=VOCABULARY,
    num_layers=4,
    hidden_dim=16,
    intermediate_dim=32,
)
GPT = dict(**SMALL, num_heads=2)
LLAMA = dict(**SMALL, num_query_heads=2, num_key_value_heads=1)
GEMMA = dict(**LLAMA, head_dim=8)
GEMMA2 = dict(
    **GEMMA,
    use_post_ffw_norm=True,
    use_post_attention_norm=True,
    use_sliding_window_attention=True,
    sliding_window_size=4,
)
LINEAR = dict(
    layer_types=["linear_attention", "full_attention"] * 2,
    linear_num_key_heads=2,
    linear_num_value_heads=2,
    linear_key_head_dim=8,
    linear_value_head_dim=8,
    linear_conv_kernel_dim=2,
)


gemma3_vision = internal(
    "gemma3.gemma3_vision_encoder",
    "Gemma3VisionEncoder",
    image_size=IMAGE,
    patch_size=4,
    num_heads=2,
    hidden_dim=16,
    num_layers=4,
    intermediate_dim=32,
    output_dim=16,
    pool_size=2,
)
gemma4_vision = internal(
    "gemma4.gemma4_vision_encoder",
    "Gemma4VisionEncoder",
    image_size=IMAGE,
    patch_size=4,
    num_heads=2,
    hidden_dim=16,
    num_layers=4,
    intermediate_dim=32,
    head_dim=8,
    output_dim=16,
    pool_size=2,
    position_embedding_size=8,
)

DECODERS = [
    Family(
        "GPT2",
        hub("GPT2Backbone", **GPT, dropout=0.0, max_sequence_length=32),
        "transformer_layers",
        "TransformerDecoder",
        4,
        "GPT2CausalLM",
    ),
    Family(
        "OPT",
        hub("OPTBackbone", **GPT, dropout=0.0, max_sequence_length=32),
        "transformer_layers",
        "TransformerDecoder",
        4,
        "OPTCausalLM",
    ),
    Family(
        "Bloom",
        hub("BloomBackbone", **GPT),
        "transformer_layers",
        "BloomDecoder",
        4,
        "BloomCausalLM",
    ),
    Family(
        "GPTNeoX",
        hub("GPTNeoXBackbone", **GPT, max_sequence_length=32),
        "transformer_layers",
        "GPTNeoXDecoder",
        4,
        "GPTNeoXCausalLM",
        lora=("query_key_value",),
        # Every query of cached decoding is rotated as the first.
        lacks=("decode",),
    ),
    Family(
        "Falcon",
        hub("FalconBackbone", **SMALL, num_attention_heads=2),
        "transformer_layers",
        "FalconTransformerDecoder",
        4,
        "FalconCausalLM",
    ),
    Family(
        "Llama",
        hub("LlamaBackbone", **LLAMA),
        "transformer_layers",
        "LlamaTransformerDecoder",
        4,
        "LlamaCausalLM",
    ),
    Family(
        "Llama3",
        hub("Llama3Backbone", **LLAMA),
        "transformer_layers",
        "LlamaTransformerDecoder",
        4,
        "Llama3CausalLM",
    ),
    Family(
        "Mistral",
        hub("MistralBackbone", **LLAMA, sliding_window=4),
        "transformer_layers",
        "MistralTransformerDecoder",
        4,
        "MistralCausalLM",
    ),
    Family(
        "Mixtral",
        hub("MixtralBackbone", **LLAMA, num_experts=2, sliding_window=4),
        "transformer_layers",
        "MixtralTransformerDecoder",
        4,
        "MixtralCausalLM",
        lacks=("quantized_reload", "remat"),
    ),
    Family(
        "Phi3",
        hub("Phi3Backbone", **LLAMA),
        "transformer_layers",
        "Phi3Decoder",
        4,
        "Phi3CausalLM",
    ),
    Family(
        "Gemma",
        hub("GemmaBackbone", **GEMMA),
        "transformer_layers",
        "GemmaDecoderBlock",
        4,
        "GemmaCausalLM",
    ),
    Family(
        "Gemma2",
        hub(
            "GemmaBackbone",
            **GEMMA2,
            attention_logit_soft_cap=50.0,
            final_logit_soft_cap=30.0,
        ),
        "transformer_layers",
        "GemmaDecoderBlock",
        4,
        "GemmaCausalLM",
    ),
    Family(
        "Gemma3",
        hub("Gemma3Backbone", **GEMMA2, image_size=IMAGE),
        "transformer_layers",
        "Gemma3DecoderBlock",
        4,
        "Gemma3CausalLM",
        prompt=gemma3_prompt,
        lacks=("beam", "contrastive"),
    ),
    Family(
        "Gemma3Vision",
        hub(
            "Gemma3Backbone",
            **GEMMA2,
            image_size=IMAGE,
            vision_encoder=gemma3_vision,
        ),
        "transformer_layers",
        "Gemma3DecoderBlock",
        4,
        "Gemma3CausalLM",
        inputs=gemma3_image,
        prompt=prompt_of(gemma3_image),
        other_blocks=("vision_encoder.image_encoder.resblocks",),
        lacks=("beam", "contrastive", "quantized_reload"),
    ),
    Family(
        "Gemma4",
        hub(
            "Gemma4Backbone",
            **GEMMA,
            image_size=IMAGE,
            sliding_window_size=4,
            sliding_window_pattern=2,
        ),
        "transformer_layers",
        "Gemma4TextDecoderBlock",
        4,
        "Gemma4CausalLM",
        inputs=positions,
        prompt=prompt_of(positions),
        lacks=("task_preset", "contrastive", "beam"),
    ),
    # Keys and values of layers 2 and 3 are those of 0 and 1; an input and a
    # residual addition for each layer's own embedding.
    Family(
        "Gemma4Shared",
        hub(
            "Gemma4Backbone",
            **GEMMA,
            image_size=IMAGE,
            sliding_window_size=4,
            sliding_window_pattern=2,
            num_kv_shared_layers=2,
            hidden_size_per_layer_input=4,
        ),
        "transformer_layers",
        "Gemma4TextDecoderBlock",
        4,
        "Gemma4CausalLM",
        inputs=positions,
        prompt=prompt_of(positions),
        lacks=("task_preset", "contrastive", "beam"),
    ),
    Family(
        "Gemma4MoE",
        hub(
            "Gemma4Backbone",
            **GEMMA,
            image_size=IMAGE,
            sliding_window_size=4,
            sliding_window_pattern=2,
            enable_moe_block=True,
            num_experts=2,
            expert_intermediate_dim=16,
            num_experts_per_token=1,
        ),
        "transformer_layers",
        "Gemma4TextDecoderBlock",
        4,
        "Gemma4CausalLM",
        inputs=positions,
        prompt=prompt_of(positions),
        lacks=("task_preset", "contrastive", "beam"),
    ),
    Family(
        "Gemma4Vision",
        hub(
            "Gemma4Backbone",
            **GEMMA,
            image_size=IMAGE,
            sliding_window_size=4,
            sliding_window_pattern=2,
            vision_encoder=gemma4_vision,
        ),
        "transformer_layers",
        "Gemma4TextDecoderBlock",
        4,
        "Gemma4CausalLM",
        inputs=gemma4_image,
        prompt=prompt_of(gemma4_image),
        other_blocks=("vision_encoder.image_encoder.encoder_blocks",),
        lacks=("task_preset", "contrastive", "beam", "quantized_reload"),
    ),
    Family(
        "Qwen",
        hub("QwenBackbone", **LLAMA),
        "transformer_layers",
        "QwenTransformerDecoder",
        4,
        "QwenCausalLM",
    ),
    Family(
        "Qwen3",
        hub("Qwen3Backbone", **GEMMA),
        "transformer_layers",
        "Qwen3TransformerDecoder",
        4,
        "Qwen3CausalLM",
    ),
    Family(
        "Qwen3_5",
        hub("Qwen3_5Backbone", **GEMMA, **LINEAR),
        "transformer_layers",
        "Qwen3_5TransformerDecoder",
        4,
        "Qwen3_5CausalLM",
        lacks=("decode",),
        slow=True,
    ),
    Family(
        "QwenMoe",
        hub(
            "QwenMoeBackbone",
            **LLAMA,
            moe_intermediate_dim=16,
            shared_expert_intermediate_dim=16,
            num_experts=2,
            top_k=1,
        ),
        "transformer_layers",
        "QwenMoeTransformerDecoder",
        4,
        "QwenMoeCausalLM",
        lacks=("quantized_reload", "remat_on_jax"),
    ),
    Family(
        "Qwen3Moe",
        hub(
            "Qwen3MoeBackbone",
            **GEMMA,
            moe_intermediate_dim=16,
            num_experts=2,
            top_k=1,
        ),
        "transformer_layers",
        "Qwen3MoeTransformerDecoder",
        4,
        "Qwen3MoeCausalLM",
        lacks=("quantized_reload", "remat_on_jax"),
    ),
    Family(
        "Qwen3_5Moe",
        hub(
            "Qwen3_5MoeBackbone",
            **without(GEMMA, "intermediate_dim"),
            **LINEAR,
            moe_intermediate_dim=16,
            shared_expert_intermediate_size=16,
            num_experts=2,
            top_k=1,
        ),
        "transformer_layers",
        "Qwen3_5MoeTransformerDecoder",
        4,
        "Qwen3_5MoeCausalLM",
        lacks=("decode", "remat_on_jax"),
        slow=True,
    ),
    Family(
        "SmolLM3",
        hub(
            "SmolLM3Backbone",
            **SMALL,
            num_attention_heads=2,
            num_key_value_heads=1,
            attention_bias=False,
            attention_dropout=0.0,
            rope_layer_enabled_list=[True, True, True, False],
            layer_types=["full_attention"] * 4,
            mlp_bias=False,
            layer_norm_epsilon=1e-6,
            max_position_embeddings=32,
            rope_theta=10000.0,
            partial_rotary_factor=1.0,
        ),
        "transformer_layers",
        "SmolLM3DecoderLayer",
        4,
        "SmolLM3CausalLM",
        lora=("q_proj", "v_proj"),
        lacks=("quantize",),
    ),
    Family(
        "GptOss",
        hub("GptOssBackbone", **LLAMA, num_experts=2, sliding_window=4),
        "transformer_layers",
        "GptOssTransformerDecoder",
        4,
        "GptOssCausalLM",
    ),
    Family(
        "PaliGemma",
        hub(
            "PaliGemmaBackbone",
            **GEMMA,
            image_size=IMAGE,
            vit_patch_size=4,
            vit_num_heads=2,
            vit_hidden_dim=16,
            vit_num_layers=4,
            vit_intermediate_dim=32,
        ),
        "transformer_layers",
        "PaliGemmaDecoderBlock",
        4,
        "PaliGemmaCausalLM",
        inputs=pali_gemma,
        prompt=prompt_of(pali_gemma),
        other_blocks=("vit_encoder.image_encoder.resblocks",),
        lacks=("contrastive",),
    ),
    Family(
        "RWKV7",
        hub(
            "RWKV7Backbone",
            vocabulary_size=VOCABULARY,
            num_layers=4,
            hidden_size=16,
            head_size=8,
            intermediate_dim=32,
            gate_lora=4,
            mv_lora=4,
            aaa_lora=4,
            decay_lora=4,
        ),
        "rwkv_layers",
        "RWKV7_Block",
        4,
        "RWKV7CausalLM",
        prompt=rwkv_prompt,
        lacks=("contrastive", "quantize"),
    ),
]

# Has learned augmented residual connections of its own.
GEMMA3N = Family(
    "Gemma3n",
    hub(
        "Gemma3nBackbone",
        text_vocab_size=VOCABULARY,
        text_hidden_size=16,
        num_hidden_layers=4,
        pad_token_id=0,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=[32] * 4,
        hidden_activation="gelu_approximate",
        layer_types=["sliding_attention", "full_attention"] * 2,
        sliding_window=4,
        rope_theta=10000.0,
        max_position_embeddings=32,
        vocab_size_per_layer_input=VOCABULARY,
        hidden_size_per_layer_input=4,
        altup_num_inputs=2,
        laurel_rank=2,
    ),
    "language_model.transformer_layers",
    "Gemma3nTextDecoderBlock",
    4,
    "Gemma3nCausalLM",
    lora=("q_proj", "v_proj"),
    lacks=("decode", "reload", "task_preset", "contrastive"),
)

BERT = dict(**GPT, dropout=0.0, max_sequence_length=32)
VIT = dict(
    image_shape=(IMAGE, IMAGE, 3),
    patch_size=4,
    num_layers=4,
    num_heads=2,
    hidden_dim=16,
)
CLIP_TEXT = dict(**GPT, embedding_dim=16, max_sequence_length=32)

clip_text = hub("CLIPTextEncoder", **CLIP_TEXT)
clip_vision = hub("CLIPVisionEncoder", **VIT, intermediate_dim=32)
# Takes texts of this length only.
siglip_text = hub(
    "SigLIPTextEncoder",
    **{**CLIP_TEXT, "max_sequence_length": 8},
)
siglip_vision = hub("SigLIPVisionEncoder", **VIT, intermediate_dim=32)

metaclip_text = hub("MetaCLIP2TextEncoder", **CLIP_TEXT)
metaclip_vision = hub("MetaCLIP2VisionEncoder", **VIT, intermediate_dim=32)


def tower(build, block_class, inputs):
    """One side of a pair of encoders, as a backbone of its own."""
    name = build.class_name.removesuffix("Encoder")
    return Family(
        name,
        build,
        "encoder_layers",
        block_class,
        4,
        inputs=inputs,
        lacks=("quantized_reload",),
    )


ENCODERS = [
    Family(
        "Bert",
        hub("BertBackbone", **BERT),
        "transformer_layers",
        "TransformerEncoder",
        4,
        inputs=segments,
    ),
    Family(
        "Roberta",
        hub("RobertaBackbone", **BERT),
        "transformer_layers",
        "TransformerEncoder",
        4,
    ),
    Family(
        "XLMRoberta",
        hub("XLMRobertaBackbone", **BERT),
        "transformer_layers",
        "TransformerEncoder",
        4,
    ),
    Family(
        "DistilBert",
        hub("DistilBertBackbone", **BERT),
        "transformer_layers",
        "TransformerEncoder",
        4,
    ),
    Family(
        "Electra",
        hub(
            "ElectraBackbone",
            **without(BERT, "vocabulary_size"),
            vocab_size=VOCABULARY,
            embedding_dim=16,
        ),
        "transformer_layers",
        "TransformerEncoder",
        4,
        inputs=segments,
    ),
    # A list of groups, each a list of blocks and called twice in a row.
    Family(
        "Albert",
        hub("AlbertBackbone", **BERT, embedding_dim=16, num_groups=2),
        "transformer_layers",
        "TransformerEncoder",
        2,
        inputs=segments,
        times=2,
    ),
    Family(
        "DebertaV3",
        hub("DebertaV3Backbone", **BERT, bucket_size=8),
        "transformer_layers",
        "DisentangledAttentionEncoder",
        4,
    ),
    Family(
        "FNet",
        hub("FNetBackbone", **without(BERT, "num_heads")),
        "transformer_layers",
        "FNetEncoder",
        4,
        inputs=token_segments,
        lora=("intermediate_dense", "output_dense"),
    ),
    Family(
        "XLNet",
        hub("XLNetBackbone", **GPT),
        "transformer_layers",
        "XLNetEncoder",
        4,
        inputs=segments,
    ),
    Family(
        "ESM",
        hub("ESMBackbone", **BERT),
        "transformer_layers",
        "ESMEncoder",
        4,
        inputs=token_ids_only,
        lora=("q_dense_layer", "v_dense_layer"),
    ),
    Family(
        "RoformerV2",
        hub("RoformerV2Backbone", **GPT, head_size=8, dropout=0.0),
        "transformer_layers",
        "RoformerV2Encoder",
        4,
        inputs=token_segments,
        lora=("q_dense_layer", "v_dense_layer"),
    ),
    Family(
        "ViT",
        hub("ViTBackbone", **VIT, mlp_dim=32),
        "vit_encoder.encoder_layers",
        "ViTEncoderBlock",
        4,
        inputs=picture,
    ),
    Family(
        "DeiT",
        hub("DeiTBackbone", **VIT, intermediate_dim=32),
        "deit_encoder.encoder_layers",
        "DeiTEncoderBlock",
        4,
        inputs=picture,
        lacks=("remat_on_jax",),
    ),
    Family(
        "DINOV2",
        hub("DINOV2Backbone", **VIT, intermediate_dim=32),
        "encoder.layers",
        "DINOV2Layer",
        4,
        inputs=picture_only,
        lacks=("quantized_reload",),
    ),
    Family(
        "DINOV3",
        hub("DINOV3Backbone", **VIT, intermediate_dim=32),
        "encoder.layers",
        "DINOV3Layer",
        4,
        inputs=picture_pixels,
        lacks=("quantized_reload",),
        lora=("q_proj", "v_proj"),
    ),
    Family(
        "CLIPText",
        clip_text,
        "encoder_layers",
        "CLIPEncoderLayer",
        4,
        inputs=token_ids_only,
        lacks=("quantized_reload",),
    ),
    Family(
        "CLIPVision",
        clip_vision,
        "encoder_layers",
        "CLIPEncoderLayer",
        4,
        inputs=picture_only,
        lacks=("quantized_reload",),
    ),
    tower(siglip_text, "SigLIPEncoderLayer", token_ids_only),
    tower(siglip_vision, "SigLIPEncoderLayer", picture_only),
    tower(metaclip_text, "MetaCLIP2EncoderLayer", token_ids_only),
    tower(metaclip_vision, "MetaCLIP2EncoderLayer", picture_only),
    Family(
        "CLIP",
        hub(
            "CLIPBackbone",
            vision_encoder=clip_vision,
            text_encoder=clip_text,
            projection_dim=16,
        ),
        "vision_encoder.encoder_layers",
        "CLIPEncoderLayer",
        4,
        inputs=picture_and_text,
        other_stacks=("text_encoder.encoder_layers",),
        lacks=("quantized_reload",),
    ),
    Family(
        "SigLIP",
        hub(
            "SigLIPBackbone",
            vision_encoder=siglip_vision,
            text_encoder=siglip_text,
        ),
        "vision_encoder.encoder_layers",
        "SigLIPEncoderLayer",
        4,
        inputs=picture_and_text,
        other_stacks=("text_encoder.encoder_layers",),
        lacks=("quantized_reload",),
    ),
    Family(
        "MetaCLIP2",
        hub(
            "MetaCLIP2Backbone",
            vision_encoder=metaclip_vision,
            text_encoder=metaclip_text,
            projection_dim=16,
        ),
        "vision_encoder.encoder_layers",
        "MetaCLIP2EncoderLayer",
        4,
        inputs=picture_and_text,
        other_stacks=("text_encoder.encoder_layers",),
        lacks=("quantized_reload",),
    ),
    Family(
        "VideoPrism",
        hub(
            "VideoPrismBackbone",
            num_frames=2,
            patch_size=4,
            hidden_dim=16,
            intermediate_dim=32,
            num_heads=2,
            num_spatial_layers=4,
            num_temporal_layers=4,
            num_auxiliary_layers=0,
            image_shape=(IMAGE, IMAGE, 3),
        ),
        "spatial_encoder.encoder_layers",
        "VideoPrismEncoderBlock",
        4,
        inputs=video,
        other_stacks=("temporal_encoder.encoder_layers",),
    ),
]

T5GEMMA = {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in dict(
        hidden_dim=16,
        intermediate_dim=32,
        num_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        layer_types=["full_attention"] * 4,
    ).items()
}

# Two lists, and blocks with a third addition in the decoder.
ENCODER_DECODERS = [
    Family(
        "Bart",
        hub("BartBackbone", **BERT),
        "decoder_transformer_layers",
        "TransformerDecoder",
        4,
        "BartSeq2SeqLM",
        inputs=text_to_text,
        prompt=decoder_prompt_of(text_to_text),
        other_stacks=("encoder_transformer_layers",),
    ),
    Family(
        "T5",
        hub("T5Backbone", **GPT, dropout=0.0),
        "decoder_transformer_layers",
        "T5TransformerLayer",
        4,
        "T5Seq2SeqLM",
        inputs=text_to_text,
        prompt=decoder_prompt_of(text_to_text),
        other_stacks=("encoder_transformer_layers",),
        lora=("query_projector", "value_projector"),
    ),
    Family(
        "T5Gemma",
        hub("T5GemmaBackbone", vocabulary_size=VOCABULARY, **T5GEMMA),
        "decoder_layers",
        "T5GemmaDecoderLayer",
        4,
        "T5GemmaSeq2SeqLM",
        inputs=text_to_text,
        prompt=decoder_prompt_of(text_to_text),
        other_stacks=("encoder_layers",),
        lacks=("contrastive", "beam"),
    ),
    Family(
        "T5Gemma2",
        hub("T5Gemma2Backbone", vocabulary_size=VOCABULARY, **T5GEMMA),
        "decoder_layers",
        "T5Gemma2DecoderLayer",
        4,
        "T5Gemma2Seq2SeqLM",
        inputs=text_to_text,
        prompt=decoder_prompt_of(text_to_text),
        other_stacks=("encoder_layers",),
        lacks=("contrastive", "beam"),
    ),
    Family(
        "EdRec",
        hub(
            "EdRecBackbone",
            vocab_size=VOCABULARY,
            num_layers_enc=4,
            num_layers_dec=4,
            hidden_dim=16,
            intermediate_dim=32,
            num_heads=2,
        ),
        "decoder_layers",
        "EdRecDecoderBlock",
        4,
        "EdRecSeq2SeqLM",
        inputs=text_to_text,
        prompt=decoder_prompt_of(text_to_text),
        other_stacks=("encoder_layers",),
        lacks=("decode", "contrastive", "quantized_reload"),
    ),
    Family(
        "Whisper",
        hub(
            "WhisperBackbone",
            **GPT,
            num_mels=8,
            max_encoder_sequence_length=32,
            max_decoder_sequence_length=32,
        ),
        "decoder_transformer_layers",
        "WhisperDecoder",
        4,
        inputs=sound_to_text,
        other_stacks=("encoder_transformer_layers",),
    ),
    Family(
        "Moonshine",
        hub(
            "MoonshineBackbone",
            vocabulary_size=VOCABULARY,
            filter_dim=16,
            encoder_num_layers=4,
            decoder_num_layers=4,
            hidden_dim=16,
            intermediate_dim=32,
            encoder_num_heads=2,
            decoder_num_heads=2,
        ),
        "decoder_blocks",
        "MoonshineDecoderBlock",
        4,
        "MoonshineAudioToText",
        inputs=wave_to_text,
        prompt=decoder_prompt_of(wave_to_text),
        other_stacks=("encoder_blocks",),
        lacks=("preset_dtype", "quantized_reload"),
    ),
]


def with_queries(build):
    """Let the queries of a Q-Former start as trained ones do, not at zero.

    At zero, where they are normalised, a step of 1e-6 in them moves the
    outputs by a fifth, and the loss is no straight line for any step.
    """

    def build_with_queries(dtype=None):
        qformer = build(dtype)
        queries = qformer.get_layer("query_tokens_layer").query_tokens
        rng = np.random.default_rng(0)
        queries.assign(rng.normal(scale=0.02, size=queries.shape))
        return qformer

    return build_with_queries


BLIP2_QFORMER = with_queries(
    internal(
        "blip2.blip2_qformer",
        "BLIP2QFormer",
        num_query_tokens=2,
        num_layers=4,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        vision_dim=16,
        cross_attention_frequency=2,
        dropout=0.0,
        layer_norm_epsilon=1e-6,
    )
)
BLIP2_VISION = internal(
    "blip2.blip2_vision_encoder",
    "BLIP2VisionEncoder",
    image_size=IMAGE,
    patch_size=4,
    num_layers=4,
    num_heads=2,
    hidden_dim=16,
    intermediate_dim=32,
    use_patch_bias=True,
    use_class_token=True,
    use_mha_bias=True,
    use_mlp_bias=True,
    dropout_rate=0.0,
    layer_norm_epsilon=1e-6,
    initializer_range=0.02,
)
BLIP2_LM = dict(
    vocabulary_size=VOCABULARY,
    num_layers=4,
    num_heads=2,
    hidden_dim=16,
    intermediate_dim=32,
    num_query_tokens=2,
    qformer_hidden_dim=16,
    dropout=0.0,
)
BLIP2 = dict(vision_encoder=BLIP2_VISION, qformer=BLIP2_QFORMER)
BLIP2_STACKS = (
    "vision_encoder.encoder.encoder_layers",
    "qformer.transformer_layers",
)


def pictures_and_tokens(batch=2, length=8, seed=0):
    return {**tokens(batch, length, seed), "images": images(batch, seed)}


def pictures_and_texts(batch=2, length=8, seed=0):
    return {**text_to_text(batch, length, seed), "images": images(batch, seed)}


# Models made of models.
COMPOSED = [
    Family(
        "BLIP2",
        hub(
            "BLIP2Backbone",
            **BLIP2,
            language_model=internal(
                "blip2.blip2_custom_opt",
                "BLIP2CustomOPT",
                **BLIP2_LM,
                max_sequence_length=32,
            ),
        ),
        "language_model.transformer_layers",
        "TransformerDecoder",
        4,
        inputs=pictures_and_tokens,
        other_stacks=BLIP2_STACKS,
        lacks=("quantized_reload",),
    ),
    Family(
        "BLIP2T5",
        hub(
            "BLIP2Backbone",
            **BLIP2,
            language_model=internal(
                "blip2.blip2_flan_t5_lm", "BLIP2FlanT5", **BLIP2_LM
            ),
        ),
        "language_model.t5.decoder_transformer_layers",
        "T5TransformerLayer",
        4,
        inputs=pictures_and_texts,
        other_stacks=(
            "language_model.t5.encoder_transformer_layers",
            *BLIP2_STACKS,
        ),
        lacks=("quantize",),
    ),
    Family(
        "PARSeq",
        hub(
            "PARSeqBackbone",
            vocabulary_size=VOCABULARY,
            max_label_length=8,
            image_encoder=hub(
                "ViTBackbone", **VIT, mlp_dim=32, use_class_token=False
            ),
            num_decoder_heads=2,
            num_decoder_layers=4,
            decoder_hidden_dim=16,
            decoder_mlp_dim=32,
            dropout_rate=0.0,
            attention_dropout=0.0,
        ),
        "decoder.decoder_layers",
        "PARSeqDecoderBlock",
        4,
        inputs=pictures_and_tokens,
        other_stacks=("image_encoder.vit_encoder.encoder_layers",),
        lacks=("quantized_reload",),
    ),
]


def large_picture(batch=2, length=None, seed=0):
    """Its convolutions shrink what smaller ones become to nothing."""
    return images(batch, seed, size=32)


COMPOSED.append(
    Family(
        "DepthAnything",
        hub(
            "DepthAnythingBackbone",
            image_encoder=hub(
                "DINOV2Backbone",
                **{**VIT, "image_shape": (32, 32, 3)},
                intermediate_dim=32,
            ),
            reassemble_factors=[4, 2, 1, 0.5],
            neck_hidden_dims=[16] * 4,
            fusion_hidden_dim=16,
            head_hidden_dim=16,
            head_in_index=-1,
            feature_keys=["stage1", "stage2", "stage3", "stage4"],
        ),
        "image_encoder.encoder.layers",
        "DINOV2Layer",
        4,
        inputs=large_picture,
        lacks=("quantized_reload",),
    )
)

FAMILIES = [*DECODERS, GEMMA3N, *ENCODERS, *ENCODER_DECODERS, *COMPOSED]
