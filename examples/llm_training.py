"""How a language model is trained: schedule, optimizer, checkpoints, `fit`.

Training goes in rounds of some steps. After each the model is evaluated and
everything that is needed to go on is written to disk, so the process may be
killed at any moment.
"""

import dataclasses
import importlib.util
import logging
import shutil
import sys
import warnings

import grain
import keras

import keras_laurel
from rate_option import rates_of
from training_log import RoundLog


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every variant is trained. A step is one batch.

    Args:
        steps: Number of steps.
        evaluate_every: Steps in a round.
        schedule: "cosine" or "wsd" (warm-up, stable, decay).
        learning_rate: Peak learning rate.
        warmup_steps: Steps of linear warm-up from 0.
        decay_fraction: Share of the steps in which "wsd" decays to 0.
        weight_decay: Decoupled weight decay, relative to the learning rate.
        clip_norm: Largest global norm of the gradient.
        accumulate: Batches whose gradients make one update.
        laurel_rates: Factors of the learning rate for LAuReL's scalars and for
            its low-rank maps, or None.
    """

    steps: int
    evaluate_every: int = 100
    schedule: str = "cosine"
    learning_rate: float = 3e-3
    warmup_steps: int = 0
    decay_fraction: float = 0.2
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    accumulate: int = 1
    laurel_rates: tuple | None = None

    @property
    def rounds(self):
        return self.steps // self.evaluate_every


@keras.saving.register_keras_serializable(package="keras_laurel_examples")
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Up to the peak, along it, and down to 0, all in straight lines."""

    def __init__(self, peak, warmup_steps, decay_steps, steps):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps
        self.steps = steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        up = step / max(self.warmup_steps, 1) if self.warmup_steps else 1.0
        down = (self.steps - step) / self.decay_steps
        return self.peak * keras.ops.clip(keras.ops.minimum(up, down), 0, 1)

    def get_config(self):
        return dict(vars(self))


def build_schedule(recipe):
    """The learning rate as a function of the step."""
    warmup, peak = recipe.warmup_steps, recipe.learning_rate
    if recipe.schedule == "wsd":
        decay = max(1, round(recipe.decay_fraction * recipe.steps))
        return WarmupStableDecay(peak, warmup, decay, recipe.steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else peak,
        decay_steps=recipe.steps - warmup,
        alpha=0.1,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def build_optimizer(recipe):
    """AdamW whose weight decay leaves out scales, LAuReL's among them."""
    several = recipe.accumulate > 1
    optimizer = keras.optimizers.AdamW(
        build_schedule(recipe),
        weight_decay=recipe.weight_decay,
        beta_2=0.95,
        global_clipnorm=recipe.clip_norm,
        gradient_accumulation_steps=recipe.accumulate if several else None,
    )
    optimizer.exclude_from_weight_decay(var_names=["scale"])
    return keras_laurel.prepare_optimizer(optimizer, rates_of(recipe))


def compile_language_model(model, recipe, sampler="greedy"):
    model.compile(
        optimizer=build_optimizer(recipe),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
        sampler=sampler,
    )
    return model


def train(model, recipe, corpus, folder, callbacks=(), is_writer=True):
    """Trains a model for the rounds that are left.

    Args:
        model: A KerasHub `CausalLM` without preprocessor, as its seed made it.
        recipe: A `Recipe`.
        corpus: A `Corpus`.
        folder: Where the state to go on from is kept.
        callbacks: Further callbacks.
        is_writer: Whether this process logs; all write checkpoints.

    Returns:
        The history: a list of one dict per round.
    """
    compile_language_model(model, recipe)
    log = RoundLog(folder, recipe, corpus, is_writer)
    done = restore(model, folder, log)
    if done == recipe.rounds:
        return log.history
    rounds = recipe.rounds - done
    model.fit(
        in_order(corpus.training, done * recipe.evaluate_every, recipe.steps),
        initial_epoch=done,
        epochs=recipe.rounds,
        steps_per_epoch=recipe.evaluate_every,
        validation_data=evaluation_data(corpus, rounds),
        validation_steps=corpus.evaluation_batches,
        # The log first: where there is a checkpoint, its numbers are too.
        callbacks=[*callbacks, log, build_checkpoints(folder)],
        shuffle=False,
        verbose=(1 if sys.stdout.isatty() else 2) if is_writer else 0,
    )
    return log.history


def evaluation_data(corpus, rounds=1):
    batches = corpus.evaluation.numbers(0, corpus.evaluation_batches)
    return read_ahead(batches.repeat(rounds))


def in_order(batches, start, stop):
    return read_ahead(batches.numbers(start, stop))


def read_ahead(dataset):
    """One thread is enough to cut batches out of a file in memory."""
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    return dataset.to_iter_dataset(options)


def evaluate(model, corpus):
    """The mean loss on the evaluation batches; `model` is compiled."""
    logs = model.evaluate(
        evaluation_data(corpus),
        steps=corpus.evaluation_batches,
        return_dict=True,
        verbose=0,
    )
    return float(logs["loss"])


def check_orbax():
    missing = [
        name
        for name in ("orbax.checkpoint", "jax")
        if importlib.util.find_spec(name.partition(".")[0]) is None
    ]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} cannot be imported; checkpoints need "
            "both Orbax and JAX, whatever the backend. Install them with `pip "
            "install orbax-checkpoint jax`."
        )


class Checkpoints(keras.callbacks.OrbaxCheckpoint):
    """Keras's Orbax callback, also under a strategy of `tf.distribute`."""

    def set_model(self, model):
        # Keras reads here how many batches there were, which it cannot from a
        # mirrored variable. Checkpoints of whole rounds do not ask.
        keras.callbacks.Callback.set_model(self, model)


def build_checkpoints(folder):
    """The callback that replaces the last round's state.

    In the background it would read JAX arrays that the next step has already
    given away, so it saves in the foreground.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)
    return Checkpoints(
        str((folder / "checkpoints").resolve()),
        max_to_keep=1,
        save_on_background=False,
    )


def clear_checkpoints(folder):
    """Removes the state of a training whose result is written."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def restore(model, folder, log):
    """Brings `model` to the last finished round; returns that many rounds.

    A checkpoint gets its number for a name only once it is whole.
    """
    checkpoints = folder / "checkpoints"
    finished = [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]
    done = max(finished, default=-1) + 1
    if done:
        model.optimizer.build(model.trainable_variables)
        with warnings.catch_warnings():
            # Keras tells Orbax where arrays belong in distributed runs only.
            warnings.filterwarnings("ignore", "Sharding info not provided")
            model.load_weights(str(checkpoints.resolve()))
    log.history = log.read()[:done]
    return done
