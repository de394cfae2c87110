"""Train in rounds, each of which ends with a checkpoint, for both trainers.

After each round the model is evaluated, its numbers go to `history.csv`, and
Orbax keeps all that is needed to continue: a process may be killed at any
moment.
"""

import contextlib
import logging
import sys
import time
import warnings

import keras
import pandas

import keras_laurel


@contextlib.contextmanager
def fresh_keras(precision, scope):
    """Forget earlier models, and set this run's dtype policy and devices."""
    keras.utils.clear_session()
    keras.config.set_dtype_policy(precision)
    with scope():
        yield


def prepared(optimizer, settings, not_decayed):
    """Return an optimizer with exclusions from weight decay, and with rates."""
    optimizer.exclude_from_weight_decay(var_names=not_decayed)
    rates = settings.laurel_rates
    if rates is not None:
        rates = dict(zip(("scalars", "low_rank"), rates))
    return keras_laurel.prepare_optimizer(optimizer, rates)


def warmed_up(peak, warmup, steps, least=0.0):
    """The rate by step: up to the peak, then half a cosine to a share of it."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else peak,
        decay_steps=steps - warmup,
        alpha=least,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


class RoundNumbers(keras.callbacks.Callback):
    """Adds to each round's logs what Keras does not log.

    Args:
        measure: Function of the round's number, from 1 on, and its logs; a
            dict of further numbers.
    """

    def __init__(self, measure):
        super().__init__()
        self.measure = measure
        self._rounds = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_test_begin(self, logs=None):
        # JAX may be at the last steps still.
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs["seconds"] = self._trained - self._began
        # Its time is also that of compiling.
        logs["begins_sitting"] = self._rounds == 0
        logs.update(self.measure(epoch + 1, logs))
        self._rounds += 1


class Checkpoints(keras.callbacks.OrbaxCheckpoint):
    """Keras' Orbax callback, also under a strategy of `tf.distribute`.

    It replaces the last round's state. In the background it would read JAX
    arrays that the next step has already given away, so it saves in the
    foreground.
    """

    # Nothing happens after a batch. Unless Keras knows, it waits for each
    # step's loss before JAX gets the next step.
    async_safe = True

    def __init__(self, folder):
        logging.getLogger("absl").setLevel(logging.ERROR)
        super().__init__(
            str(folder.resolve()), max_to_keep=1, save_on_background=False
        )

    def set_model(self, model):
        # Keras reads here how many batches there were, which it cannot from a
        # mirrored variable. Checkpoints of whole rounds do not ask.
        keras.callbacks.Callback.set_model(self, model)


def fit(
    model,
    data,
    rounds,
    steps,
    folder,
    devices,
    measure=lambda done, logs: {},
    callbacks=(),
):
    """Train a compiled model for the rounds that are left.

    Args:
        model: The model, as its seed made it.
        data: Object with `training(done)`, the batches behind `done` rounds,
            `evaluation(rounds)`, the held-out batches as many times, and
            `evaluation_steps`.
        rounds: Rounds in all.
        steps: Batches in a round.
        folder: Of the run.
        devices: `Devices`.
        measure: As `RoundNumbers` takes it.
        callbacks: Further ones.

    Returns:
        The history: a list of one dict per round; None except in the first
        process.
    """
    done = restore(model, folder)
    history = folder / "history.csv"
    if devices.is_writer:
        keep_rows(history, done)
        # The numbers first: where there is a checkpoint, they are too.
        log = keras.callbacks.CSVLogger(str(history), append=True)
        callbacks = [*callbacks, RoundNumbers(measure), log]
    if done < rounds:
        model.fit(
            data.training(done),
            initial_epoch=done,
            epochs=rounds,
            steps_per_epoch=steps,
            validation_data=data.evaluation(rounds - done),
            validation_steps=data.evaluation_steps,
            callbacks=[*callbacks, Checkpoints(folder / "checkpoints")],
            shuffle=False,
            verbose=(1 if sys.stdout.isatty() else 2) * devices.is_writer,
        )
    if devices.is_writer:
        return pandas.read_csv(history).to_dict("records")


def evaluate(model, data):
    """Dict of a compiled model's numbers on the held-out batches."""
    return model.evaluate(
        data.evaluation(),
        steps=data.evaluation_steps,
        return_dict=True,
        verbose=0,
    )


def restore(model, folder):
    """Bring `model` to the last finished round; return that many rounds.

    A checkpoint gets its number for a name only once it is whole.
    """
    folder = folder / "checkpoints"
    finished = [int(x.name) for x in folder.glob("*") if x.name.isdigit()]
    if not finished:
        return 0
    model.optimizer.build(model.trainable_variables)
    with warnings.catch_warnings():
        # Keras tells Orbax where arrays belong in distributed runs only.
        warnings.filterwarnings("ignore", "Sharding info not provided")
        model.load_weights(str(folder.resolve()))
    return max(finished) + 1


def keep_rows(path, count):
    """Cut a CSV file behind some rows: later ones have no checkpoint."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: count + 1 if count else 0]))


def gathered(model, build, precision, devices):
    """The model as the first process can save it; None in the others.

    Every process has to call this.
    """
    if devices.process_count == 1:
        return model
    from jax.experimental import multihost_utils

    values = [
        multihost_utils.process_allgather(weight.value, tiled=True)
        for weight in model.weights
    ]
    if not devices.is_writer:
        return None
    with fresh_keras(precision, devices.local_scope):
        model = build()
        model.set_weights(values)
    return model
