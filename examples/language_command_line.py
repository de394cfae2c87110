"""The options of `language_experiments.py`, parsed before Keras is imported."""

import argparse

from command_line import HelpFormatter
from command_line import check_names
from experiment_command_line import add_system_options
from experiment_command_line import fill_in_results
from llm_command_line import AT_LEAST_ONE
from llm_command_line import RANGES
from llm_command_line import check_ranges

DESCRIPTION = """\
The LAuReL paper's language experiments (arXiv 2411.07501) with several seeds:
every variant of its Table 5 around blocks and at each addition, residual
weights in bfloat16, and trained models that are converted and trained further.
Runs of one seed see the same text in the same order.

Each run is kept in the output folder with its settings, versions and seed. The
same command goes on with what is missing, after kill -9 too, and a larger
--seeds adds to what there is.
"""

EXAMPLES = """\
examples:
  # All of it, reduced: about an hour on two CPU cores.
  python examples/language_experiments.py --workers 2

  # The learning rate, on the baseline and a validation part.
  python examples/language_experiments.py --tune --workers 2

  # The paper's size, on a machine with accelerators and C4 prepared by TFDS.
  python examples/language_experiments.py --scale full --parts table_5 \\
      --data-dir /data/tensorflow_datasets --output runs/language_full
"""

PARTS = ("table_5", "bfloat16", "upcycling")
EXPERIMENT_RANGES = {
    "seeds": AT_LEAST_ONE,
    "workers": AT_LEAST_ONE,
    "steps": AT_LEAST_ONE,
    "batch_size": AT_LEAST_ONE,
    "learning_rate": RANGES["learning_rate"],
}


def build_parser():
    parser = argparse.ArgumentParser(
        prog="language_experiments.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    add_experiment_options(parser.add_argument_group("what is compared"))
    system = parser.add_argument_group("where and how it runs")
    add_system_options(system, "language")
    return parser


def add_experiment_options(group):
    add = group.add_argument
    add("--scale", choices=("reduced", "full"), default="reduced")
    add(
        "--parts",
        nargs="+",
        metavar="NAME",
        default=list(PARTS),
        help=f"some of {', '.join(PARTS)}; upcycling begins with the baselines "
        "of table_5, and trains them if they are missing",
    )
    add(
        "--arms",
        nargs="+",
        metavar="NAME",
        help="only these of each part, such as baseline rw+lr-sublayer "
        "(default: all)",
    )
    add("--seeds", type=int, default=3, help="runs of each arm: seeds 0, 1, ..")
    add(
        "--tune",
        action="store_true",
        help="train the baseline with each learning rate of the grid instead, "
        "and compare on a validation part of the training text",
    )
    add("--configuration", metavar="NAME", help="another size of model")
    add(
        "--steps",
        type=int,
        help="batches of a run of table_5; runs of the other parts have half",
    )
    add("--batch-size", type=int, help="sequences in a batch")
    add("--learning-rate", type=float, metavar="RATE", help="peak of AdamW's")


def parse_options(arguments=None):
    """The options as a namespace, checked.

    Raises:
        ValueError: If a value is out of its range.
    """
    options = build_parser().parse_args(arguments)
    check_ranges(options, EXPERIMENT_RANGES)
    check_names("--parts", options.parts, PARTS)
    fill_in_results(options, "language")
    return options
