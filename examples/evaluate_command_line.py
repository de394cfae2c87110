"""The options of `evaluate.py`, parsed before Keras is imported."""

import argparse
import sys
from pathlib import Path

from backend_option import add_backend_option
from command_line import HelpFormatter
from evaluate_tasks import describe_tables
from evaluate_tasks import expand
from llm_command_line import AT_LEAST_ONE
from llm_command_line import NOT_NEGATIVE
from llm_command_line import check_ranges

DESCRIPTION = """\
Evaluate language models with EleutherAI's lm-evaluation-harness: KerasHub's
CausalLMs, with and without LAuReL. Of two models the difference is shown too,
with its standard error.

Most tasks of the harness download their data.
"""

EXAMPLES = """\
examples:
  # What the tasks of the paper are called in the harness; needs no network.
  python examples/evaluate.py --list

  # The paper's tasks without those that run code, 100 questions of each.
  python examples/evaluate.py --model runs/llm_1b/baseline/preset \\
      runs/llm_1b/rw+lr/preset --tasks mmlu boolq hellaswag gsm8k_cot \\
      --limit 100 --max-length 2048 --precision mixed_bfloat16

  # A task of your own, in a YAML file of the harness' format.
  python examples/evaluate.py --model runs/llm_demo/rw+lr/preset \\
      --include-path my_tasks --tasks my_task --max-gen-toks 32
"""

EVALUATE_RANGES = {
    "limit": AT_LEAST_ONE,
    "num_fewshot": NOT_NEGATIVE,
    "batch_size": AT_LEAST_ONE,
    "max_length": (lambda value: value >= 2, "2 tokens or more"),
    "max_gen_toks": AT_LEAST_ONE,
}


def build_parser():
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="show the paper's tasks and their names, and evaluate nothing",
    )
    add_model_options(parser.add_argument_group("models"))
    add_task_options(parser.add_argument_group("tasks"))
    add_system_options(parser.add_argument_group("where and how it runs"))
    return parser


def add_model_options(group):
    add = group.add_argument
    add(
        "--model",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="KerasHub presets or .keras files of tasks with a preprocessor; "
        "the first is the one that others are compared with",
    )
    add(
        "--max-length",
        type=int,
        metavar="TOKENS",
        help="of prompt and answer together (default: the sequence length of "
        "the model's preprocessor)",
    )
    add(
        "--max-gen-toks",
        type=int,
        default=256,
        metavar="TOKENS",
        help="to generate where a task does not say",
    )


def add_task_options(group):
    add = group.add_argument
    add(
        "--tasks",
        nargs="+",
        default=["table_2"],
        metavar="NAME",
        help="tasks, groups and tags of the harness, patterns of these, "
        "table_2, table_3",
    )
    add(
        "--include-path",
        metavar="DIR",
        help="folder with further tasks as YAML files",
    )
    add(
        "--num-fewshot",
        type=int,
        metavar="N",
        help="examples in a prompt (default: as the task says)",
    )
    add(
        "--limit",
        type=int,
        metavar="N",
        help="questions of each task, to try things out",
    )
    add(
        "--allow-code",
        action="store_true",
        help="also run what the model has written, as humaneval and mbpp do; "
        "use a sandbox",
    )


def add_system_options(group):
    add = group.add_argument
    add("--batch-size", type=int, default=8, help="sequences in a batch")
    add_backend_option(group)
    add(
        "--precision",
        choices=("float32", "bfloat16", "mixed_bfloat16"),
        default="float32",
        help="Keras dtype policy of presets; .keras files keep theirs",
    )
    add(
        "--output",
        type=Path,
        default=Path("runs/evaluation/results.json"),
        metavar="FILE",
        help="where the results go, as JSON",
    )


def parse_options(arguments=None):
    """The options as a namespace, checked; `--list` is answered here.

    Raises:
        ValueError: If a value is out of its range.
    """
    options = build_parser().parse_args(arguments)
    if options.list:
        print(describe_tables())
        sys.exit()
    check_ranges(options, EVALUATE_RANGES)
    options.tasks, options.left_out = expand(options.tasks, options.allow_code)
    if len(set(options.model)) < len(options.model):
        raise ValueError(
            f"Received `--model {' '.join(options.model)}`, expected each "
            "model once. Remove the repeated one."
        )
    return options
