"""
Title: ResNet-50 with learned residual connections
Author: The keras_laurel authors
Date created: 2026/11/22
Last modified: 2026/11/22
Description: Train ResNet-50 with and without LAuReL and compare.
Accelerator: TPU
"""
# ruff: noqa: E402

"""
## Introduction

A residual connection adds: `x + f(x)`.
[LAuReL](https://arxiv.org/abs/2411.07501) learns how to, for a few more
parameters: `alpha * f(x) + beta * (x + B A x)`, for example. Section 3.1 of the
paper trains ResNet-50 on ImageNet with several such variants and compares them
with the plain network and with one that is a block deeper. This program does
that, on ImageNet or on another image classification set:

    python examples/resnet50_imagenet.py --demo
    python examples/resnet50_imagenet.py --help

Each subject has its own file beside this one: `command_line.py`,
`image_datasets.py`, `image_pipeline.py`, `image_augmentation.py`,
`resnet50_models.py`, `trial_training.py`, `accelerators.py`, `device_plan.py`
and `training_report.py`.

## Setup

Keras reads the name of its backend when it is imported, so the command line
comes first.
"""

import os
import sys

from command_line import parse_or_exit

os.environ["KERAS_BACKEND"] = parse_or_exit(sys.argv, __name__).backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import contextlib
import dataclasses
import importlib.metadata
import platform
import time
import typing

import keras
from tqdm import tqdm

import keras_laurel
from command_line import parse_options
from device_plan import describe_plan
from experiments.devices import Devices
from experiments.devices import check_batch_size
from experiments.devices import find_devices
from experiments.devices import writer_first
from experiments.vision.datasets import choose_splits
from experiments.vision.datasets import open_builder
from experiments.vision.pipeline import ImagePipeline
from resnet50_models import Architecture
from resnet50_models import build_classifier
from resnet50_models import check_variant
from resnet50_models import trainable_parameters
from run_folder import RunFolder
from run_folder import read_json
from settings import pick
from training_report import describe_difference
from training_report import draw_accuracy
from training_report import draw_table
from training_report import format_table
from training_report import summarize
from training_report import write_history
from training_report import write_results
from trial_training import BestModel
from trial_training import EpochState
from trial_training import Recipe
from trial_training import evaluate
from trial_training import train

"""
## The experiment

Everything that can be wrong with a command is found here, before a model is
trained.
"""


class Experiment(typing.NamedTuple):
    """What all trials share."""

    options: argparse.Namespace
    folder: RunFolder
    devices: Devices
    pipeline: ImagePipeline
    splits: tuple
    architecture: Architecture
    recipe: Recipe


def prepare(options):
    """Checks the options and opens the data set.

    Raises:
        ValueError: If this command cannot be run.
    """
    check_backend(options.backend)
    folder = RunFolder(options.output)
    folder.check(comparable(options))
    devices = find_devices(
        options.distribution,
        options.mesh,
        keras_laurel.distribution.convolution_layout_map,
    )
    check_processes(options.distribution, devices)
    check_batch_size(options.batch_size, devices)
    with writer_first(devices):
        pipeline = open_pipeline(options, devices)
    splits = choose_splits(
        pipeline.builder, options.train_split, options.eval_split
    )
    check_enough_images(pipeline, splits[0])
    architecture = Architecture(
        num_classes=pipeline.num_classes, **pick(vars(options), Architecture)
    )
    for variant in options.variants:
        check_variant(variant, architecture)
    recipe = Recipe(**pick(vars(options), Recipe))
    return Experiment(
        options, folder, devices, pipeline, splits, architecture, recipe
    )


def open_pipeline(options, devices):
    builder = open_builder(
        options.dataset, options.data_dir, options.output / "data"
    )
    return ImagePipeline(
        builder=builder,
        image_size=options.image_size,
        batch_size=options.batch_size,
        augmentations=tuple(options.augment),
        magnitude=options.magnitude,
        process_index=devices.data_shard,
        process_count=devices.data_shards,
    )


def comparable(options):
    """The options that the numbers depend on, rounding aside."""
    without = ("demo", "output", "data_dir", "distribution", "mesh")
    return {n: v for n, v in vars(options).items() if n not in without}


def check_backend(backend):
    if keras.backend.backend() != backend:
        raise ValueError(
            f"Received `--backend {backend}`, but Keras was already imported "
            f"with {keras.backend.backend()}. Set KERAS_BACKEND={backend} "
            "before the import, or run this file as a program."
        )


def check_processes(distribution, devices):
    """The first process writes the weights, so it has to have all of them."""
    if distribution != "data" and devices.process_count > 1:
        raise ValueError(
            f"Received `--distribution {distribution}` in "
            f"{devices.process_count} processes; expected data, since a "
            "ResNet-50 fits every device. Leave out `--distribution`."
        )


def check_enough_images(pipeline, split):
    if pipeline.training_steps(split) < 1:
        raise ValueError(
            f"Received `--batch-size {pipeline.batch_size}`, but the split "
            f"`{split}` has {pipeline.count(split)} images; expected at least "
            "one full batch. Lower `--batch-size`."
        )


"""
## The trials

A trial builds its model from its seed, trains it and writes the result; the
result of a finished trial is read instead. Trial i has the same seed in every
variant: the weights that variants share begin alike, and the images come in
the same order. Keras's state is cleared before each trial, so a trial is the
same whether others ran before it or not.
"""


def run_trials(experiment):
    options = experiment.options
    plan = [(v, i) for i in range(options.trials) for v in options.variants]
    found = [experiment.folder.result(*trial) for trial in plan]
    progress = TrialProgress(len(plan), len(plan) - found.count(None))
    results = []
    for (variant, index), result in zip(plan, found, strict=True):
        if result is None:
            progress.show(f"training {variant}, trial {index + 1}")
            result = run_trial(experiment, variant, index)
            progress.done += 1
        results.append(result)
    progress.show("all trials are finished")
    return sorted(results, key=lambda r: options.variants.index(r["variant"]))


class TrialProgress:
    """A bar over the trials, on a line of its own above each epoch's bar."""

    def __init__(self, total, done):
        self.total, self.done, self.resumed = total, done, done
        self.began = time.perf_counter()

    def show(self, text):
        bar = tqdm.format_meter(
            self.done,
            self.total,
            time.perf_counter() - self.began,
            ncols=60,
            prefix="Trials",
            unit="trial",
            initial=self.resumed,
        )
        print(f"{bar} {text}", flush=True)


def run_trial(experiment, variant, index):
    folder, recipe = experiment.folder, experiment.recipe
    state = EpochState(
        folder.trial(variant, index) / "state", experiment.devices.is_writer
    )
    seed = experiment.options.seed + index
    with fresh_keras(experiment, experiment.devices.scope):
        model = build_classifier(variant, experiment.architecture, seed)
        history = train(
            model,
            recipe,
            experiment.pipeline,
            experiment.splits,
            seed,
            keep_best(experiment, variant, index),
            state,
        )
    result = {
        "variant": variant,
        "trial": index + 1,
        "seed": seed,
        "parameters": trainable_parameters(model),
        "history": history,
    }
    if experiment.devices.is_writer:
        folder.finish(result, variant, index)
        state.clear()
    return result


@contextlib.contextmanager
def fresh_keras(experiment, scope):
    """No names and graphs of earlier models; this run's policy and devices."""
    keras.utils.clear_session()
    keras.config.set_dtype_policy(experiment.options.precision)
    with scope():
        yield


def keep_best(experiment, variant, index):
    if not experiment.devices.is_writer:
        return []
    whose = {"variant": variant, "trial": index + 1}
    return [BestModel(experiment.folder["best.keras"], whose)]


"""
## The results

The best model is loaded from its file and evaluated again: a file that does
not hold what the table says is of no use.
"""


def check_best_model(experiment):
    """Accuracy of `best.keras`, beside the one it had in training."""
    path = experiment.folder["best.keras"]
    pipeline = dataclasses.replace(
        experiment.pipeline, process_index=0, process_count=1
    )
    with fresh_keras(experiment, experiment.devices.local_scope):
        model = keras.models.load_model(path)
        reloaded = evaluate(
            model, experiment.recipe, pipeline, experiment.splits[1]
        )
    best = read_json(path.with_suffix(".json"))
    return {**best, "accuracy_reloaded": reloaded}


def count_baseline_parameters(experiment):
    with fresh_keras(experiment, experiment.devices.local_scope):
        model = build_classifier("baseline", experiment.architecture, 0)
    return trainable_parameters(model)


def describe_run(experiment, best):
    """What belongs to the numbers: options, data, device and versions."""
    train_split, eval_split = experiment.splits
    return {
        "config": comparable(experiment.options),
        "training_images": experiment.pipeline.count(train_split),
        "evaluation_images": experiment.pipeline.count(eval_split),
        "classes": experiment.pipeline.num_classes,
        "baseline_parameters": count_baseline_parameters(experiment),
        "device": str(experiment.devices),
        "versions": versions(experiment.options.backend),
        "best_model": best,
    }


def versions(backend):
    packages = ("keras", backend, "tensorflow-datasets")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {
        "python": platform.python_version(),
        "keras_laurel": keras_laurel.__version__,
        **found,
    }


def report(experiment, trials):
    """Writes the files of the results and prints the table."""
    folder = experiment.folder
    about = describe_run(experiment, check_best_model(experiment))
    summary = summarize(trials, about["baseline_parameters"])
    write_history(folder["history.csv"], trials)
    write_results(folder["results.json"], summary, about)
    draw_accuracy(folder["accuracy.png"], trials, about)
    draw_table(folder["table.png"], summary, describe_difference(about))
    print(f"\n{format_table(summary)}\n")
    print(describe_files(folder, about["best_model"]))


def describe_files(folder, best):
    same = abs(best["accuracy"] - best["accuracy_reloaded"]) < 1e-6
    checked = (
        "the same after reloading"
        if same
        else f"but {best['accuracy_reloaded']:.4f} AFTER RELOADING"
    )
    return f"""\
Pictures   {folder["accuracy.png"]}, {folder["table.png"]}
Numbers    {folder["results.json"]}, {folder["history.csv"]}
Best model {folder["best.keras"]}: {best["variant"]}, trial {best["trial"]},
           accuracy {best["accuracy"]:.4f}, {checked}

What next
  Look at the pictures, or use the model:
    import keras, keras_laurel
    model = keras.models.load_model("{folder["best.keras"]}")
  One short trial says little about which variant is better. Add trials,
  epochs and variants:
    python examples/resnet50_imagenet.py --dataset fashion_mnist \\
        --image-size 32 --variants baseline rw rw+lr rw+lr+pa --trials 5 \\
        --epochs 20 --batch-size 128 --output runs/fashion
  All options, and ImageNet: python examples/resnet50_imagenet.py --help"""


def main(options):
    try:
        experiment = prepare(options)
        start = describe_start(experiment)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if experiment.devices.is_writer:
        experiment.folder.claim(comparable(options))
        print(start, flush=True)
    trials = run_trials(experiment)
    if experiment.devices.is_writer:
        report(experiment, trials)


def describe_start(experiment):
    options, pipeline = experiment.options, experiment.pipeline
    train_count, eval_count = map(pipeline.count, experiment.splits)
    return (
        f"ResNet-50 from {options.backbone} on {options.dataset}, "
        f"{train_count:,} + {eval_count:,} images at {options.image_size} x "
        f"{options.image_size}, {pipeline.num_classes} classes\n"
        f"Keras {keras.__version__} with {options.backend} on "
        f"{experiment.devices}, {options.precision}; results in "
        f"{options.output}\n{describe_last_plan(experiment)}"
    )


def describe_last_plan(experiment):
    """What devices keep in the last variant."""
    variant = experiment.options.variants[-1]
    return describe_plan(
        variant,
        lambda: build_classifier(variant, experiment.architecture, 0),
        experiment.devices,
        # SGD has its momentum, AdamW two.
        1 if experiment.recipe.optimizer == "sgd" else 2,
    )


if __name__ == "__main__":
    main(parse_options())
