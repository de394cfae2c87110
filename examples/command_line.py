"""The options of `resnet50_imagenet.py`, parsed before Keras is imported."""

import argparse
import sys
from pathlib import Path

from backend_option import DEVICES
from backend_option import add_backend_option
from distribution_options import add_distribution_options
from distribution_options import check_distribution
from rate_option import add_rate_option
from rate_option import check_rates

AUGMENTATIONS = ("crop", "flip", "rand_augment")
FLIP_CHANGES_MEANING = ("digits", "mnist_5k", "mnist", "svhn_cropped")

RANGES = {
    "trials": (lambda value: value >= 1, "a number of 1 or more"),
    "rank": (lambda value: value >= 1, "a number of 1 or more"),
    "num_activations": (lambda value: value >= 1, "a number of 1 or more"),
    "epochs": (lambda value: value >= 1, "a number of 1 or more"),
    "batch_size": (lambda value: value >= 1, "a number of 1 or more"),
    "image_size": (lambda value: value >= 32, "32 pixels or more"),
    "magnitude": (lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "learning_rate": (lambda value: value > 0, "a number above 0"),
    "warmup_epochs": (lambda value: value >= 0, "0 or more"),
    "weight_decay": (lambda value: value >= 0, "0 or more"),
    "label_smoothing": (lambda value: 0 <= value < 1, "0 or more, below 1"),
    "batch_norm_momentum": (lambda v: 0 <= v < 1, "0 or more, below 1"),
}

DESCRIPTION = """\
Train ResNet-50 with and without LAuReL and compare the accuracies: section 3.1
of the LAuReL paper (arXiv 2411.07501) as a program.

Every variant is trained --trials times; trial i uses the same seed in all
variants. The output folder gets history.csv, results.json, accuracy.png,
table.png and best.keras. A run that was interrupted continues when the same
command is given again, and ends with the numbers it would have had.
"""

EXAMPLES = """\
examples:
  # Ten minutes on two CPU cores, no download: see it work.
  python examples/resnet50_imagenet.py --demo

  # All variants of the paper's Table 1 on Debian's Fashion-MNIST.
  python examples/resnet50_imagenet.py --dataset fashion_mnist \\
      --variants baseline extra-layer rw rw+lr rw+lr+pa --trials 5 \\
      --image-size 32 --epochs 20 --batch-size 128 --output runs/fashion

  # The paper's experiment, on a machine where TFDS has prepared ImageNet.
  python examples/resnet50_imagenet.py --dataset imagenet2012 \\
      --data-dir /data/tensorflow_datasets --precision mixed_bfloat16 \\
      --variants baseline extra-layer rw rw+lr rw+lr+pa --trials 5 \\
      --batch-size 4096 --augment crop flip rand_augment --output runs/table1
"""

DEMO = {
    "dataset": "mnist_5k",
    "train_split": "train[:3000]",
    "image_size": 32,
    "variants": ["baseline", "rw+lr"],
    "trials": 1,
    "epochs": 3,
    "warmup_epochs": 0.5,
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 5e-4,
    "augment": [],
    "output": Path("runs/demo"),
}


class HelpFormatter(
    argparse.ArgumentDefaultsHelpFormatter,
    argparse.RawDescriptionHelpFormatter,
):
    """Keeps the layout of the description; shows defaults that exist."""

    def _get_help_string(self, action):
        if action.default in (None, False, argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)


def build_parser():
    parser = argparse.ArgumentParser(
        prog="resnet50_imagenet.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="a short run on real images that needs no download; other "
        "options given beside it win over its settings",
    )
    add_experiment_options(parser.add_argument_group("what is compared"))
    add_data_options(parser.add_argument_group("data"))
    add_training_options(parser.add_argument_group("training"))
    add_system_options(parser.add_argument_group("where and how it runs"))
    return parser


def add_experiment_options(group):
    group.add_argument(
        "--variants",
        nargs="+",
        metavar="NAME",
        default=["baseline", "rw", "rw+lr", "rw+lr+pa"],
        help="`baseline`, `extra-layer` (one more block in the third stage), "
        "or parts of LAuReL joined by +: rw (residual weights), lr (low "
        "rank), pa (previous activations)",
    )
    group.add_argument(
        "--trials", type=int, default=5, help="runs of each variant"
    )
    group.add_argument(
        "--rank", type=int, default=16, help="rank of the lr part"
    )
    group.add_argument(
        "--num-activations",
        type=int,
        default=3,
        metavar="K",
        help="activations of the pa part, the block's own input included",
    )
    group.add_argument(
        "--sites",
        choices=("all", "identity"),
        default="all",
        help="residual connections to convert: all 16, or the 12 whose "
        "shortcut has no convolution",
    )
    group.add_argument(
        "--backbone",
        choices=("keras_cv", "keras_hub", "applications"),
        default="keras_cv",
        help="whose ResNet-50; `applications` has no `extra-layer` and, with "
        "biases in its convolutions, 0.1 %% more parameters",
    )


def add_data_options(group):
    group.add_argument(
        "--dataset",
        default="imagenet2012",
        help="digits, mnist_5k, fashion_mnist (read from installed packages) "
        "or any TFDS image classification set that is already prepared",
    )
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help="TFDS folder of prepared sets (default: OUTPUT/data for the "
        "three packaged sets, which are written there at first use; TFDS's "
        "own default, $TFDS_DATA_DIR or ~/tensorflow_datasets, for others)",
    )
    group.add_argument(
        "--train-split", default="train", help="TFDS split to train on"
    )
    group.add_argument(
        "--eval-split",
        metavar="SPLIT",
        help="TFDS split to evaluate on, slices such as `train[90%%:]` "
        "included (default: `validation` if the set has it, else `test`)",
    )
    group.add_argument(
        "--image-size",
        type=int,
        default=224,
        metavar="PIXELS",
        help="side of the square images, at least 32",
    )
    group.add_argument(
        "--augment",
        nargs="*",
        metavar="NAME",
        help="any of crop, flip, rand_augment; nothing after it means no "
        "augmentation (default: crop flip, without flip for digits)",
    )
    group.add_argument(
        "--magnitude",
        type=float,
        default=0.3,
        help="strength of rand_augment, from 0 to 1",
    )


def add_training_options(group):
    group.add_argument("--epochs", type=int, default=90)
    group.add_argument(
        "--batch-size",
        type=int,
        default=256,
        help="images per step over all devices together",
    )
    group.add_argument(
        "--optimizer",
        choices=("sgd", "adamw"),
        default="sgd",
        help="sgd has Nesterov momentum 0.9; in both, weight decay is "
        "decoupled from the gradient and scaled by the learning rate",
    )
    group.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="peak rate, after the warm-up and before the cosine decay to 0 "
        "(default: 0.1 per 256 images of batch for sgd, 0.001 for adamw)",
    )
    add_rate_option(group)
    group.add_argument(
        "--warmup-epochs",
        type=float,
        default=5.0,
        metavar="EPOCHS",
        help="epochs of linear warm-up from 0, fractions allowed",
    )
    group.add_argument(
        "--weight-decay",
        type=float,
        metavar="RATE",
        help="leaves out biases, normalisation and LAuReL's alpha, beta and "
        "gamma (default: 0.001 for sgd, about the customary L2 penalty of "
        "0.0001 under momentum 0.9; 0.05 for adamw)",
    )
    group.add_argument(
        "--label-smoothing", type=float, default=0.1, metavar="FRACTION"
    )
    group.add_argument(
        "--batch-norm-momentum",
        type=float,
        default=0.9,
        metavar="M",
        help="of the running mean and variance, the same for every backbone",
    )
    group.add_argument(
        "--seed", type=int, default=0, help="seed of the first trial"
    )


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
        "--output",
        type=Path,
        default=Path("runs/resnet50"),
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
    fill_in_defaults(options)
    check_options(options)
    return options


def fill_in_defaults(options):
    """The defaults that depend on other options."""
    sgd = options.optimizer == "sgd"
    if options.learning_rate is None:
        options.learning_rate = 0.1 * options.batch_size / 256 if sgd else 1e-3
    if options.weight_decay is None:
        options.weight_decay = 1e-3 if sgd else 0.05
    if options.augment is None:
        flip = [] if options.dataset in FLIP_CHANGES_MEANING else ["flip"]
        options.augment = ["crop", *flip]


def check_options(options):
    for name, (is_valid, expected) in RANGES.items():
        value = getattr(options, name)
        if not is_valid(value):
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"Received `{flag} {value}`, expected {expected}. Change "
                f"`{flag}`."
            )
    check_names("--augment", options.augment, AUGMENTATIONS)
    check_names("--variants", options.variants)
    check_distribution(options)
    check_rates(options)
    if options.warmup_epochs >= options.epochs:
        raise ValueError(
            f"Received `--warmup-epochs {options.warmup_epochs}` with "
            f"`--epochs {options.epochs}`; expected a warm-up that ends before "
            "the training does. Lower `--warmup-epochs`."
        )


def check_names(flag, names, allowed=None):
    """Raises for a name given twice, or, if any are listed, not allowed."""
    unknown = [n for n in names if allowed is not None and n not in allowed]
    if unknown:
        raise ValueError(
            f"Received `{flag} {' '.join(names)}`, expected some of "
            f"{', '.join(allowed)}. Replace {', '.join(unknown)}."
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"Received `{flag} {' '.join(names)}`, expected each name once. "
            "Remove the repeated name."
        )


def parse_or_exit(arguments, module_name):
    """The options of a program, or the defaults in a module.

    What is wrong with a command line is told without a traceback, and before
    Keras takes its seconds to import.
    """
    if module_name != "__main__":
        return parse_options([])
    try:
        return parse_options(arguments[1:])
    except ValueError as error:
        sys.exit(f"{arguments[0]}: error: {error}")
