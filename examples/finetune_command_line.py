"""The options of `finetune.py`, parsed before Keras is imported."""

import argparse
from pathlib import Path

from backend_option import add_backend_option
from command_line import HelpFormatter
from llm_command_line import AT_LEAST_ONE
from llm_command_line import NOT_NEGATIVE
from llm_command_line import RANGES
from llm_command_line import check_ranges
from llm_command_line import check_steps

DESCRIPTION = """\
Fine-tune a trained language model on other text with LAuReL and LoRA: section
"Works with" of the LAuReL paper (arXiv 2411.07501) as a program.

The model is converted after its training, so it starts as what it was. Then
its own weights are frozen, and LoRA's and LAuReL's are trained. A run that was
interrupted continues when the same command is given again.
"""

EXAMPLES = """\
examples:
  # Trains a tiny model on Python's source first, then tunes it on Shakespeare.
  python examples/finetune.py

  # The baseline of `make demo-llm`, on Shakespeare.
  python examples/finetune.py --model runs/llm_demo/baseline/preset
"""

FINETUNE_RANGES = {
    **{
        name: RANGES[name] for name in ("rank", "num_activations", "max_tokens")
    },
    **{name: RANGES[name] for name in ("steps", "batch_size", "seed")},
    **{name: RANGES[name] for name in ("learning_rate", "warmup_steps")},
    "evaluate_every": AT_LEAST_ONE,
    "evaluation_batches": AT_LEAST_ONE,
    "lora_rank": AT_LEAST_ONE,
    "pretraining_steps": AT_LEAST_ONE,
    "weight_decay": NOT_NEGATIVE,
}


def build_parser():
    parser = argparse.ArgumentParser(
        prog="finetune.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    add_model_options(parser.add_argument_group("model"))
    add_data_options(parser.add_argument_group("data"))
    add_training_options(parser.add_argument_group("training"))
    add_system_options(parser.add_argument_group("where and how it runs"))
    return parser


def add_model_options(group):
    add = group.add_argument
    add(
        "--model",
        type=Path,
        metavar="PRESET",
        help="KerasHub preset with a Llama 3 tokenizer, such as "
        "llm_pretrain.py leaves (default: train a tiny baseline first, in "
        "OUTPUT/pretrained)",
    )
    add(
        "--pretraining-steps",
        type=int,
        default=200,
        metavar="N",
        help="how long, if there is no --model",
    )
    add(
        "--variant",
        default="rw+lr",
        metavar="NAME",
        help="what LAuReL to convert it to, as in llm_pretrain.py; `baseline` "
        "trains LoRA alone; a model that has LAuReL keeps what it has",
    )
    add("--rank", type=int, default=32, help="rank of LAuReL's lr part")
    add(
        "--num-activations",
        type=int,
        default=3,
        metavar="K",
        help="activations of LAuReL's pa part",
    )
    add("--lora-rank", type=int, default=4, metavar="R", help="rank of LoRA")


def add_data_options(group):
    add = group.add_argument
    add(
        "--dataset",
        default="shakespeare",
        help="shakespeare, python_stdlib or any prepared TFDS text set",
    )
    add("--data-dir", metavar="DIR", help="TFDS folder of prepared sets")
    add("--train-split", default="train", help="TFDS split to train on")
    add("--eval-split", metavar="SPLIT", help="TFDS split to evaluate on")
    add(
        "--max-tokens",
        type=int,
        metavar="N",
        help="stop reading the training split at this many tokens",
    )


def add_training_options(group):
    add = group.add_argument
    add("--steps", type=int, default=200, help="batches to train on")
    add("--batch-size", type=int, default=16, help="sequences in a batch")
    add(
        "--learning-rate",
        type=float,
        default=3e-3,
        metavar="RATE",
        help="peak rate of AdamW",
    )
    add("--warmup-steps", type=int, default=20, metavar="N")
    add("--weight-decay", type=float, default=0.0, metavar="RATE")
    add("--evaluate-every", type=int, default=50, metavar="STEPS")
    add("--evaluation-batches", type=int, default=16, metavar="N")
    add("--seed", type=int, default=0)


def add_system_options(group):
    add = group.add_argument
    add_backend_option(group)
    add(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="Keras dtype policy of the model",
    )
    add("--prompt", help="beginning of the sample text")
    add(
        "--output",
        type=Path,
        default=Path("runs/finetune"),
        metavar="DIR",
        help="folder of the results and of the state to resume from",
    )


def parse_options(arguments=None):
    """The options as a namespace, checked.

    Raises:
        ValueError: If a value is out of its range.
    """
    options = build_parser().parse_args(arguments)
    check_ranges(options, FINETUNE_RANGES)
    check_steps(options)
    return options
