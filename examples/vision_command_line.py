"""The options of `vision_experiments.py`, parsed before Keras is imported."""

import argparse

from command_line import HelpFormatter
from command_line import check_names
from experiment_command_line import add_system_options
from experiment_command_line import fill_in_results
from llm_command_line import AT_LEAST_ONE
from llm_command_line import RANGES
from llm_command_line import check_ranges

DESCRIPTION = """\
The LAuReL paper's vision experiments (arXiv 2411.07501) with several seeds:
Table 1, Figure 3, and one table for each choice of the design. Runs of one seed
begin with the same shared weights and see the same images in the same order.

Each run is kept in the output folder with its settings, versions and seed. The
same command goes on with what is missing, after kill -9 too, and a larger
--seeds adds to what there is.
"""

EXAMPLES = """\
examples:
  # All of it, on a narrow ResNet and Fashion-MNIST.
  python examples/vision_experiments.py --workers 2

  # The learning rate, on the baseline and a validation part.
  python examples/vision_experiments.py --tune --workers 2

  # ResNet-50 on ImageNet, on a machine where TFDS has prepared it.
  python examples/vision_experiments.py --scale full --tables table_1 \\
      --data-dir /data/tensorflow_datasets --output runs/vision_full
"""

TABLES = (
    "table_1",
    "figure_3",
    "initialization",
    "residual_weights",
    "per_channel",
    "sites",
    "scale",
)
EXPERIMENT_RANGES = {
    **{
        name: AT_LEAST_ONE
        for name in ("seeds", "workers", "epochs", "batch_size", "width")
    },
    "learning_rate": RANGES["learning_rate"],
}


def build_parser():
    parser = argparse.ArgumentParser(
        prog="vision_experiments.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    add_experiment_options(parser.add_argument_group("what is compared"))
    system = parser.add_argument_group("where and how it runs")
    add_system_options(system, "vision")
    return parser


def add_experiment_options(group):
    add = group.add_argument
    add("--scale", choices=("reduced", "full"), default="reduced")
    add(
        "--tables",
        nargs="+",
        metavar="NAME",
        default=list(TABLES),
        help=f"some of {', '.join(TABLES)}; arms that several have are trained "
        "once",
    )
    add("--seeds", type=int, default=5, help="runs of each arm: seeds 0, 1, ..")
    add(
        "--tune",
        action="store_true",
        help="train the baseline with each learning rate of the grid instead, "
        "with seed 0, and compare on the last tenth of the training images",
    )
    add(
        "--dataset",
        metavar="NAME",
        help="another packaged or TFDS image classification set (default: "
        "fashion_mnist, and mnist_5k where that is not installed; imagenet2012 "
        "at full scale)",
    )
    add("--epochs", type=int, help="passes over the training images")
    add("--batch-size", type=int, help="images in a batch")
    add("--width", type=int, help="filters of the narrow network's first stage")
    add(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="peak of the schedule; --tune has a grid of its own",
    )


def parse_options(arguments=None):
    """The options as a namespace, checked.

    Raises:
        ValueError: If a value is out of its range.
    """
    options = build_parser().parse_args(arguments)
    check_ranges(options, EXPERIMENT_RANGES)
    check_names("--tables", options.tables, TABLES)
    fill_in_results(options, "vision")
    return options
