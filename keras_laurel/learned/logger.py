"""A callback that logs the weights of connections during training."""

import os
from typing import Any

import keras

from keras_laurel.checks import check_batch
from keras_laurel.checks import check_boolean
from keras_laurel.checks import check_file_path
from keras_laurel.checks import check_path
from keras_laurel.checks import is_integer
from keras_laurel.learned.connection import quantities
from keras_laurel.learned.log_file import LogFile
from keras_laurel.learned.summary import laurel_summary
from keras_laurel.learned.tensorboard import ScalarWriter


class LaurelLogger(keras.callbacks.Callback):
    """Log alpha, beta, gamma, norms and shares of each connection in `fit`.

    `path` is a CSV file with a row for each connection at each logged step.
    The columns are `step` (`optimizer.iterations`, the updates so far),
    `epoch` (the current one, from 0), `connection` (its index in
    `keras_laurel.laurel_layers`), `layer` and `variant`, then the numbers of
    `keras_laurel.learned.laurel_summary`: `alpha`, `beta` (with `alpha_min`,
    `alpha_max`, ... if `per_channel`), `gamma_0`, ..., `norm_0`, ..., `share`.
    A number that a connection lacks is left empty. The start of training is
    logged too. The file is closed after each write, so it can be read during
    training.

    A resumed run continues its file. Rows after the step at which `fit`
    starts are dropped and no row is written twice, so the file is the same as
    that of an uninterrupted run. At step 0 the log is started anew, and an
    earlier log at `path` is replaced. A file that is no log is left alone.

    `keras_laurel.learned.plots.residual_weights(path)` draws the file.

    Args:
        path: The CSV file, or `None`. Missing folders are created.
        every: `"epoch"`, or an integer n to log every n batches. Each time
            some small products are computed for each connection; on JAX it
            waits for the step to end, as does any callback that reads weights
            within an epoch.
        inputs: A batch of the model's inputs on which shares are measured.
            The model then runs on it once for each logged step, op by op.
        tensorboard: A folder for TensorBoard, or `None`. It gets the same
            numbers as `laurel_alpha/<layer>` and so on. It needs TensorFlow.
            A resumed run adds to the folder.
        is_writer: Boolean. This process writes the files. With several
            processes, only the first should write, but all need the callback,
            since they read the weights together.

    Raises:
        ValueError: if the arguments are invalid; in `fit`, if the model has no
            LAuReL layer, or if the file is no log, or that of another model
            while `fit` resumes.

    Example:

    >>> logger = keras_laurel.learned.LaurelLogger("runs/laurel.csv", every=100)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        every: str | int = "epoch",
        inputs: Any = None,
        tensorboard: str | os.PathLike[str] | None = None,
        is_writer: bool = True,
    ) -> None:
        super().__init__()
        _check(path, every, tensorboard)
        check_batch("inputs", inputs)
        is_writer = check_boolean("is_writer", is_writer)
        self.path = path
        self.every = every
        self.inputs = inputs
        self.tensorboard = tensorboard
        self.is_writer = is_writer

    def on_train_begin(self, logs=None):
        self._batches = 0
        self._last_step = None
        self._outputs = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._epoch_start = self._batches
        if self._outputs is None:
            # Not in `on_train_begin`, where `BackupAndRestore` may restore
            # the step only later.
            self._batches = self._epoch_start = self._batches_so_far()
            self._begin()

    def on_train_batch_end(self, batch, logs=None):
        # `self.model` is read only if it is needed: on JAX, reading it takes
        # the weights out of the running step.
        before, self._batches = self._batches, self._epoch_start + batch + 1
        if self.every == "epoch":
            return
        if self._batches // self.every > before // self.every:
            self._log()

    def on_epoch_end(self, epoch, logs=None):
        if self.every == "epoch":
            self._log()

    def _begin(self):
        rows = self._rows()
        self._outputs = []
        if self.path and self.is_writer:
            file = LogFile(self.path, len(rows), quantities(rows))
            self._last_step = file.resume_from(self._step())
            self._outputs.append(file)
        if self.tensorboard and self.is_writer:
            self._outputs.append(ScalarWriter(self.tensorboard))
        if self._last_step is None:
            self._write(rows)

    def _log(self):
        self._write(self._rows())

    def _write(self, rows):
        step = self._step()
        # With accumulated gradients, not every batch updates the weights.
        if step != self._last_step:
            self._last_step = step
            for output in self._outputs:
                output.append(rows)

    def _rows(self):
        keys = {"step": self._step(), "epoch": self._epoch}
        summary = laurel_summary(self.model, self.inputs)
        return [
            {**keys, "connection": i, **connection.to_dict()}
            for i, connection in enumerate(summary.connections)
        ]

    def _batches_so_far(self):
        """Return the optimizer's count of batches.

        With accumulated gradients, `iterations` counts updates only.
        """
        optimizer = self.model.optimizer
        # With float16, a `LossScaleOptimizer` contains the one that counts.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        (count,) = (v for v in optimizer.variables if v.name == "iteration")
        return int(count)

    def _step(self):
        return int(self.model.optimizer.iterations)


def _check(path, every, tensorboard):
    check_file_path("path", path, optional=True)
    check_path("tensorboard", tensorboard, optional=True)
    if path is None and tensorboard is None:
        raise ValueError(
            "`LaurelLogger` must have a `path` or a `tensorboard` folder. "
            "Received: neither `path` nor `tensorboard`. Pass the path of a "
            "CSV file, or a folder."
        )
    if every != "epoch" and not is_integer(every, 1):
        raise ValueError(
            "Argument `every` must be 'epoch', or an integer of at least 1 "
            f"for a number of batches. Received: every={every!r}."
        )
