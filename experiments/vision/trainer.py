"""The trainer for images: one arm with one seed.

The order of the images and their augmentation follow from the seed and the
epoch alone, so that arms of one seed see the same images, and a resumed run
sees those it would have seen.
"""

import dataclasses
import functools

import keras

from experiments import training
from experiments.devices import check_batch_size
from experiments.devices import find_devices
from experiments.devices import writer_first
from experiments.plan import count
from experiments.prepared_sets import choose_splits
from experiments.vision.datasets import open_builder
from experiments.vision.models import build_classifier
from experiments.vision.pipeline import Images
from keras_laurel.distribution import convolution_layout_map

NOT_DECAYED = ["bias", "beta", "gamma"]
layout_map = convolution_layout_map


def open_images(settings, machine, devices, seed=0):
    """The `Images` of some settings, in the order of a seed."""
    builder = open_builder(
        settings.dataset, machine.data_dir, machine.output / "data"
    )
    splits = choose_splits(builder, settings.train_split, settings.eval_split)
    return Images(builder, settings, splits, seed, devices.shard)


def prepare(settings, seeds, machine, devices):
    """Put the images of some settings on disk; numbers that describe them."""
    check_batch_size(settings.batch_size, devices)
    with writer_first(devices):
        images = open_images(settings, machine, devices)
    if images.training_steps < 1:
        raise ValueError(
            f"Split `{images.splits[0]}` must have at least one batch. "
            f"Received: {images.counts[0]} images, batch_size="
            f"{settings.batch_size}. Lower `--batch-size`."
        )
    return {
        "training_images": images.counts[0],
        "evaluation_images": images.counts[1],
        "classes": images.num_classes,
    }


def build_model(settings, machine, devices):
    """The model of some settings, for counting."""
    images = open_images(settings, machine, devices)
    return build_classifier(settings, images.num_classes, seed=0)


def optimizer_slots(settings):
    """SGD has its momentum, AdamW two."""
    return 1 if settings.optimizer == "sgd" else 2


def train(settings, seed, folder, machine):
    """Train one model; the numbers of its run.

    `accuracy_last` is that of the last epoch, by which nothing was chosen;
    `accuracy_best` that of the best one, as in the paper's table.
    `held_out_loss` is cross-entropy in nats, without label smoothing.

    Returns:
        Dict, or None in all processes except the first.
    """
    devices = find_devices(machine, layout_map)
    images = open_images(settings, machine, devices, seed)
    classes = images.num_classes
    build = functools.partial(build_classifier, settings, classes, seed)
    with training.fresh_keras(settings.precision, devices.scope):
        steps = images.training_steps
        model = compiled(build(), settings, steps)
        history = training.fit(
            model, images, settings.epochs, steps, folder, devices
        )
        parameters = parameters_of(model)
        if settings.keep_model:
            model = training.gathered(model, build, settings.precision, devices)
    if not devices.is_writer:
        return None
    numbers = summarize(history, parameters)
    if settings.keep_model:
        numbers["accuracy_reloaded"] = save(model, images, folder, devices)
    return numbers


def parameters_of(model):
    """Trainable ones, without the statistics of batch normalisation."""
    return count(model.trainable_weights)


def summarize(history, parameters):
    accuracies = [row["val_accuracy"] for row in history]
    return {
        "accuracy_last": accuracies[-1],
        "accuracy_best": max(accuracies),
        "held_out_loss": history[-1]["val_cross_entropy"],
        "parameters": parameters,
        "history": history,
    }


def save(model, images, folder, devices):
    """Write the model to `model.keras`; the accuracy of what is read back."""
    with training.fresh_keras(images.settings.precision, devices.local_scope):
        model.save(folder / "model.keras", include_optimizer=False)
        model = keras.models.load_model(folder / "model.keras")
        compiled(model, images.settings, steps_per_epoch=1)
        alone = dataclasses.replace(images, shard=(0, 1))
        logs = training.evaluate(model, alone)
    return float(logs["accuracy"])


def compiled(model, settings, steps_per_epoch):
    """Compile the model for padded batches: metrics are weighted."""
    model.compile(
        optimizer=build_optimizer(settings, steps_per_epoch),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True,
            label_smoothing=settings.label_smoothing,
            reduction="mean_with_sample_weight",
        ),
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.CategoricalCrossentropy(
                name="cross_entropy", from_logits=True
            ),
        ],
    )
    return model


def build_optimizer(settings, steps_per_epoch):
    """SGD or AdamW: linear warm-up to the peak, then half a cosine to 0."""
    schedule = training.warmed_up(
        settings.learning_rate,
        round(settings.warmup_epochs * steps_per_epoch),
        settings.epochs * steps_per_epoch,
    )
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            schedule, momentum=0.9, nesterov=True, weight_decay=decay
        )
    else:
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay)
    return training.prepared(optimizer, settings, NOT_DECAYED)
