"""
Title: The paper's vision experiments, with seeds
Author: The keras_laurel authors
Date created: 2026/11/22
Last modified: 2026/11/22
Description: Table 1, Figure 3 and the choices of the design, several seeds.
Accelerator: TPU
"""
# ruff: noqa: E402

"""
## Introduction

This program trains every arm of the paper's vision experiments with several
seeds, all arms of a seed on the same images in the same order, and reports
means, deviations and paired differences:

    python examples/vision_experiments.py --workers 2
    python examples/vision_experiments.py --help

What one run does is in `vision_trials.py`; how runs are spread over processes
and kept, in `experiment_runs.py`; the tables are made in `vision_report.py`.

## Setup

Keras reads the name of its backend when it is imported, so the command line
comes first. What JAX has compiled is kept, so that an arm is compiled with its
first seed only.
"""

import os
import sys

from experiment_command_line import keep_compiled
from llm_command_line import parse_or_exit
from vision_command_line import parse_options

OPTIONS = parse_or_exit(parse_options, sys.argv, __name__)
os.environ["KERAS_BACKEND"] = OPTIONS.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if __name__ == "__main__":
    keep_compiled(OPTIONS.output)

import functools

import keras

from experiment_runs import Arm
from experiment_runs import Experiment
from experiment_runs import run_all
from experiment_runs import versions
from experiments.devices import check_batch_size
from experiments.devices import find_devices
from experiments.vision.datasets import check_split
from resnet50_models import build_classifier
from resnet50_models import check_variant
from resnet50_models import trainable_parameters
from run_folder import write_json
from vision_report import NOTE
from vision_report import describe_table
from vision_trials import Images
from vision_trials import architecture_of
from vision_trials import find_fashion_images
from vision_trials import train_classifier

"""
## The scales

The reduced network has ResNet-50's 16 residual connections and is narrow: of
its 64 to 128 features a rank of 16 is a larger share than of 256 to 2048.
At rank 1, RW+LR adds about the share of parameters that it has in the paper.
"""

SHARED = {
    "variant": "baseline",
    "rank": 16,
    "num_activations": 3,
    "sites": "all",
    "layer_options": {},
    "train_split": "train",
}
SCALES = {
    "reduced": {
        **SHARED,
        "backbone": "narrow",
        "width": 16,
        "image_size": 28,
        "dataset": "fashion_mnist",
        "eval_split": "test",
        "augment": [],
        "epochs": 3,
        "batch_size": 128,
        "optimizer": "sgd",
        # The best of results/vision_tuning.json.
        "learning_rate": 0.2,
        "warmup_epochs": 0.25,
        "weight_decay": 1e-3,
        "label_smoothing": 0.0,
        "precision": "float32",
    },
    "full": {
        **SHARED,
        "backbone": "keras_cv",
        "image_size": 224,
        "dataset": "imagenet2012",
        "eval_split": "validation",
        "augment": ["crop", "flip", "rand_augment"],
        "epochs": 90,
        "batch_size": 4096,
        "optimizer": "sgd",
        # Not tuned: pass that which `--scale full --tune` finds best.
        "learning_rate": 1.6,
        "warmup_epochs": 5.0,
        "weight_decay": 1e-3,
        "label_smoothing": 0.1,
        "precision": "mixed_bfloat16",
    },
}
CHANGEABLE = ("dataset", "epochs", "batch_size", "width", "learning_rate")

LEARNING_RATES = {
    "reduced": (0.05, 0.1, 0.2, 0.4, 0.8),
    "full": (0.4, 0.8, 1.6, 3.2, 6.4),
}

"""
## The arms

An arm is what it changes of the settings. A table compares its arms with the
first one; an arm that several tables have is trained once.
"""


def low_rank(**changes):
    return {"variant": "rw+lr", **changes}


def layer(**options):
    """RW+LR with other arguments of the layer than the paper's."""
    return low_rank(layer_options=options)


def initialized(name):
    return layer(a_initializer={"class_name": name, "config": {}})


ARMS = {
    "baseline": {},
    "extra-layer": {"variant": "extra-layer"},
    **{
        variant: {"variant": variant}
        for variant in ("rw", "lr", "pa", "rw+lr", "rw+lr+pa")
    },
    **{
        f"{variant}-rank-1": {"variant": variant, "rank": 1}
        for variant in ("rw+lr", "rw+lr+pa")
    },
    **{f"rank-{rank}": low_rank(rank=rank) for rank in (4, 8, 32, 64)},
    "orthogonal": initialized("Orthogonal"),
    "column-orthogonal": initialized("keras_laurel>ColumnOrthogonal"),
    "sigmoid": layer(residual_weights="sigmoid"),
    "complement": layer(residual_weights="complement"),
    "per-channel": layer(per_channel=True),
    "identity-sites": low_rank(sites="identity"),
    "scale-0.5": layer(scale=0.5),
}
TABLES = {
    "table_1": (
        "baseline extra-layer rw lr pa rw+lr rw+lr+pa "
        "rw+lr-rank-1 rw+lr+pa-rank-1"
    ).split(),
    "figure_3": ["rw", "rank-4", "rank-8", "rw+lr", "rank-32", "rank-64"],
    "initialization": ["rw+lr", "orthogonal", "column-orthogonal"],
    "residual_weights": ["rw+lr", "sigmoid", "complement", "lr"],
    "per_channel": ["rw+lr", "per-channel"],
    "sites": ["rw+lr", "identity-sites"],
    "scale": ["rw+lr", "scale-0.5"],
}


def arms_of(tables):
    names = dict.fromkeys(name for table in tables for name in TABLES[table])
    return [Arm(name, ARMS[name]) for name in names]


"""
The learning rate is chosen once, on the baseline, by the accuracy on the last
tenth of the training images. All arms then use it.
"""

TUNING_SPLITS = {"train_split": "train[:90%]", "eval_split": "train[90%:]"}


def tuning_arms(scale):
    return [
        Arm(f"rate_{rate:g}", {"learning_rate": rate})
        for rate in LEARNING_RATES[scale]
    ]


"""
## Before the runs

Everything that can be wrong with a command is found here.
"""


def prepare(options):
    """The experiment, its arms and seeds, with the data set on disk.

    Raises:
        ValueError: If this command cannot be run.
    """
    settings = choose_settings(options)
    images = Images(options.output / "data", options.data_dir)
    devices = find_devices()
    check_processes(devices)
    check_batch_size(settings["batch_size"], devices)
    check_data(images.open(settings), settings)
    train = functools.partial(train_classifier, images=images)
    folder = options.output / ("tuning" if options.tune else "runs")
    experiment = Experiment(folder, settings, train)
    arms = choose_arms(options)
    seeds = range(1 if options.tune else options.seeds)
    for arm in arms:
        check_arm(experiment, arm, seeds)
    return experiment, arms, seeds, images


def choose_arms(options):
    if options.tune:
        return tuning_arms(options.scale)
    return arms_of(options.tables)


def choose_settings(options):
    """The scale's settings, with those that the command line changes."""
    given = {
        name: getattr(options, name)
        for name in CHANGEABLE
        if getattr(options, name) is not None
    }
    check_changes(given, options.scale)
    settings = {**SCALES[options.scale], **given}
    if settings["dataset"] == "fashion_mnist":
        settings["dataset"] = find_fashion_images(options.data_dir)
    if settings["warmup_epochs"] >= settings["epochs"]:
        raise ValueError(
            f"Received `--epochs {settings['epochs']}`; expected more than "
            f"the {settings['warmup_epochs']} of the warm-up. Pass more."
        )
    return settings if not options.tune else {**settings, **TUNING_SPLITS}


def check_changes(given, scale):
    """The backbone of the full scale has one width."""
    for name in given:
        if name not in SCALES[scale]:
            raise ValueError(
                f"Received `--{name}` with `--scale {scale}`, which has none; "
                f"expected it with the reduced scale. Leave out `--{name}`."
            )


def check_processes(devices):
    if devices.process_count > 1:
        raise ValueError(
            f"Received {devices.process_count} processes that train one "
            "model; expected one, with all devices of one machine. For "
            "several machines use `resnet50_imagenet.py`."
        )


def check_data(pipeline, settings):
    train_split = settings["train_split"]
    for split in (train_split, settings["eval_split"]):
        check_split(pipeline.builder, split)
    if pipeline.training_steps(train_split) < 1:
        raise ValueError(
            f"Received `--batch-size {pipeline.batch_size}`, but the split "
            f"`{train_split}` has {pipeline.count(train_split)} images; "
            "expected at least one full batch. Lower `--batch-size`."
        )


def check_arm(experiment, arm, seeds):
    settings = experiment.settings_of(arm)
    check_variant(settings["variant"], architecture_of(settings, 10))
    for seed in seeds:
        experiment.result(arm, seed)


"""
## The results
"""


def report(options, about, rows):
    """Writes the numbers of all runs and prints the tables."""
    options.results.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.results, {"about": about, "rows": rows})
    for name, arms in about["tables"].items():
        print(f"\n{name}\n{describe_table(rows, arms)}")
    print(f"\n{NOTE}\n\nNumbers  {options.results}")


def tables_of(options):
    """Dict, the names of the arms of each table; the first is compared to."""
    if options.tune:
        return {"tuning": [arm.name for arm in choose_arms(options)]}
    return {name: TABLES[name] for name in options.tables}


def with_added_parameters(rows, baseline):
    """The rows, with what their arm adds to the baseline, in per cent."""
    name = "parameters_added_percent"
    return [
        {**row, name: 100 * (row["parameters"] - baseline) / baseline}
        for row in rows
    ]


def describe_run(options, settings, pipeline):
    """What belongs to the numbers and is the same in all runs."""
    command = ["python examples/vision_experiments.py", *sys.argv[1:]]
    baseline = build_classifier(
        "baseline", architecture_of(settings, pipeline.num_classes), 0
    )
    return {
        "command": " ".join(command),
        "scale": options.scale,
        "tables": tables_of(options),
        "settings": settings,
        "training_images": pipeline.count(settings["train_split"]),
        "evaluation_images": pipeline.count(settings["eval_split"]),
        "classes": pipeline.num_classes,
        "baseline_parameters": trainable_parameters(baseline),
        "backend": keras.backend.backend(),
        "device": str(find_devices()),
        "workers": options.workers,
        "cores": os.cpu_count(),
        "versions": versions(),
    }


def describe_start(about):
    settings = about["settings"]
    return (
        f"{settings['dataset']}: {about['training_images']:,} + "
        f"{about['evaluation_images']:,} images; {about['backend']} on "
        f"{about['device']}; {about['baseline_parameters']:,} parameters in "
        "the baseline"
    )


def main(options):
    try:
        experiment, arms, seeds, images = prepare(options)
    except ValueError as error:
        sys.exit(f"error: {error}")
    settings = experiment.settings
    about = describe_run(options, settings, images.open(settings))
    print(describe_start(about), flush=True)
    rows = run_all(experiment, arms, seeds, options.workers)
    rows = with_added_parameters(rows, about["baseline_parameters"])
    report(options, about, rows)


if __name__ == "__main__":
    main(OPTIONS)
