"""What one run of the vision experiments does: open the data, build, train.

Its functions are those that `experiment_runs.Experiment` calls, in a process
of their own where there are several. What Keras prints goes to `log.txt` in
the folder of the run.
"""

import contextlib
import dataclasses
from pathlib import Path

import keras

from experiments.devices import find_devices
from experiments.vision.datasets import check_prepared
from experiments.vision.datasets import choose_splits
from experiments.vision.datasets import find_builder
from experiments.vision.datasets import find_fashion_mnist
from experiments.vision.datasets import open_builder
from experiments.vision.pipeline import ImagePipeline
from resnet50_models import Architecture
from resnet50_models import build_classifier
from resnet50_models import trainable_parameters
from settings import pick
from trial_training import EpochState
from trial_training import Recipe
from trial_training import train


@dataclasses.dataclass(frozen=True)
class Images:
    """Where the images of all runs are.

    Args:
        folder: Where packaged sets are prepared without a `data_dir`.
        data_dir: TFDS folder of prepared sets, or None for TFDS's own.
    """

    folder: Path
    data_dir: str | None = None

    def open(self, settings):
        """The `ImagePipeline` of the settings of a run."""
        builder = open_builder(settings["dataset"], self.data_dir, self.folder)
        return ImagePipeline(
            builder=builder,
            image_size=settings["image_size"],
            batch_size=settings["batch_size"],
            augmentations=tuple(settings["augment"]),
        )


def find_fashion_images(data_dir):
    """Fashion-MNIST as Debian or TFDS has it here; without it, less MNIST."""
    try:
        find_fashion_mnist()
        return "fashion_mnist"
    except ValueError:
        of_tfds = "fashion_mnist:3.*.*"
    try:
        check_prepared(find_builder(of_tfds, data_dir), of_tfds)
        return of_tfds
    except ValueError:
        print(
            "Fashion-MNIST is neither installed (Debian's "
            "`dataset-fashion-mnist`) nor prepared by TFDS. This run takes "
            "`mnist_5k`, 4,000 training images, whose results say LITTLE."
        )
        return "mnist_5k"


def train_classifier(settings, seed, folder, images):
    """Trains one model; the numbers of its run.

    Accuracies are of the evaluation split. `accuracy_last` is that of the
    last epoch, which nothing was chosen by; `accuracy_best` is that of the
    best, as in the paper's table.
    """
    state = EpochState(folder / "state")
    with started(settings, folder):
        pipeline = images.open(settings)
        splits = choose_splits(
            pipeline.builder, settings["train_split"], settings["eval_split"]
        )
        architecture = architecture_of(settings, pipeline.num_classes)
        model = build_classifier(settings["variant"], architecture, seed)
        recipe = Recipe(**pick(settings, Recipe))
        history = train(model, recipe, pipeline, splits, seed, [], state)
    state.clear()
    return summarize(history, trainable_parameters(model))


@contextlib.contextmanager
def started(settings, folder):
    """This run's log, precision and devices; no names of earlier models."""
    keras.utils.clear_session()
    keras.config.set_dtype_policy(settings["precision"])
    with (folder / "log.txt").open("a") as log:
        with contextlib.redirect_stdout(log), find_devices().scope():
            yield


def architecture_of(settings, num_classes):
    fields = pick(settings, Architecture)
    return Architecture(num_classes=num_classes, **fields)


def summarize(history, parameters):
    accuracies = [row["val_accuracy"] for row in history]
    return {
        "accuracy_last": accuracies[-1],
        "accuracy_best": max(accuracies),
        "loss": history[-1]["val_loss"],
        "parameters": parameters,
        "history": history,
    }
