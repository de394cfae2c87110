"""One trial: a model trained from its seed, or from where it was interrupted.

After each epoch the model, the optimizer and the history are written to disk,
so the process may be killed at any moment.
"""

import contextlib
import dataclasses
import json
import sys
import time

import keras

import keras_laurel
from rate_option import rates_of
from run_folder import write_json
from run_folder import write_whole

NOT_DECAYED = ("bias", "beta", "gamma")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every variant is trained.

    Args:
        epochs: Number of epochs.
        optimizer: "sgd" or "adamw".
        learning_rate: Peak learning rate.
        warmup_epochs: Epochs of linear warm-up before the cosine decay.
        weight_decay: Decoupled weight decay, relative to the learning rate.
        label_smoothing: Share of the label that is spread over all classes.
        laurel_rates: Factors of the learning rate for LAuReL's scalars and for
            its low-rank maps, or None.
    """

    epochs: int
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    warmup_epochs: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    laurel_rates: tuple | None = None


def compile_classifier(model, recipe, steps_per_epoch):
    """Compiles the model for padded batches: the metric is weighted."""
    model.compile(
        optimizer=build_optimizer(recipe, steps_per_epoch),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True,
            label_smoothing=recipe.label_smoothing,
            reduction="mean_with_sample_weight",
        ),
        weighted_metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    return model


def build_optimizer(recipe, steps_per_epoch):
    """SGD or AdamW whose weight decay leaves out what is not a kernel."""
    schedule = build_schedule(recipe, steps_per_epoch)
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            schedule,
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )
    else:
        optimizer = keras.optimizers.AdamW(
            schedule, weight_decay=recipe.weight_decay
        )
    optimizer.exclude_from_weight_decay(var_names=list(NOT_DECAYED))
    return keras_laurel.prepare_optimizer(optimizer, rates_of(recipe))


def build_schedule(recipe, steps_per_epoch):
    """Linear warm-up to the peak, then half a cosine down to 0."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else recipe.learning_rate,
        decay_steps=recipe.epochs * steps_per_epoch - warmup,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class EpochState(keras.callbacks.Callback):
    """Writes all that is needed to go on, after every epoch.

    Args:
        folder: Where the state lies; it holds one epoch's at a time.
        is_writer: Whether this process writes; with several processes only
            the first does, and all of them read.
    """

    def __init__(self, folder, is_writer=True):
        super().__init__()
        self.folder = folder
        self.is_writer = is_writer
        self.history = []
        self._began = None

    def restore(self, model):
        """Brings `model` to the last finished epoch, if there is one."""
        finished = sorted(self.folder.glob("epoch_*.json"))
        if finished:
            self.history = json.loads(finished[-1].read_text())
            model.optimizer.build(model.trainable_variables)
            model.load_weights(weights_path(finished[-1]))

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **as_floats(logs)}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = time.perf_counter() - self._began
        self.history.append(row)
        if self.is_writer:
            self._write(epoch + 1)

    def _write(self, epoch):
        """The JSON file comes last: where it exists the weights do too."""
        record = self.folder / f"epoch_{epoch:04d}.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        with without_distribution():
            write_whole(weights_path(record), self.model.save_weights)
        write_json(record, self.history)
        for path in self.folder.iterdir():
            if not path.name.startswith(record.stem):
                path.unlink()

    def clear(self):
        """Removes the state of a trial whose result is written."""
        if self.is_writer and self.folder.exists():
            for path in self.folder.iterdir():
                path.unlink()
            self.folder.rmdir()


class BestModel(keras.callbacks.Callback):
    """Keeps the most accurate model of all trials in one `.keras` file.

    Args:
        path: The `.keras` file; a JSON file beside it says whose it is.
        label: What to call the models of this trial there.
    """

    def __init__(self, path, label):
        super().__init__()
        self.path = path
        self.label = label

    def on_epoch_end(self, epoch, logs=None):
        accuracy = float(logs["val_accuracy"])
        if accuracy > best_accuracy(self.path):
            with without_distribution():
                write_whole(self.path, self._save)
            write_json(
                self.path.with_suffix(".json"),
                {**self.label, "epoch": epoch + 1, "accuracy": accuracy},
            )

    def _save(self, path):
        self.model.save(path, include_optimizer=False)


@contextlib.contextmanager
def without_distribution():
    """For what one of several processes does alone: under a distribution it
    would wait for the others whenever an array is made."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def best_accuracy(path):
    record = path.with_suffix(".json")
    if not record.exists():
        return float("-inf")
    return json.loads(record.read_text())["accuracy"]


def train(model, recipe, pipeline, splits, seed, callbacks, state):
    """Trains a model for the epochs that are left.

    Args:
        model: The model, as its seed made it; it is compiled here.
        recipe: A `Recipe`.
        pipeline: An `ImagePipeline`.
        splits: Names of the training and of the evaluation split.
        seed: Seed of the order and the augmentation of the images.
        callbacks: Further callbacks; they run before the state is written.
        state: The trial's `EpochState`.

    Returns:
        The history: a list of one dict per epoch.
    """
    train_split, eval_split = splits
    compile_classifier(model, recipe, pipeline.training_steps(train_split))
    state.restore(model)
    done = len(state.history)
    if done < recipe.epochs:
        model.fit(
            pipeline.training_batches(
                train_split, seed, range(done, recipe.epochs)
            ),
            initial_epoch=done,
            epochs=recipe.epochs,
            steps_per_epoch=pipeline.training_steps(train_split),
            validation_data=pipeline.evaluation_batches(eval_split),
            validation_steps=pipeline.evaluation_steps(eval_split),
            callbacks=[*callbacks, state],
            shuffle=False,
            verbose=1 if sys.stdout.isatty() else 2,
        )
    return state.history


def evaluate(model, recipe, pipeline, split):
    """The accuracy of a model on a split, as in training."""
    compile_classifier(model, recipe, steps_per_epoch=1)
    logs = model.evaluate(
        pipeline.evaluation_batches(split),
        steps=pipeline.evaluation_steps(split),
        return_dict=True,
        verbose=0,
    )
    return float(logs["accuracy"])


def weights_path(record):
    return record.with_suffix(".weights.h5")


def as_floats(logs):
    return {name: float(value) for name, value in logs.items()}
