"""One row of numbers for each round: losses, throughput, memory."""

import resource
import statistics
import sys
import time

import keras

from run_folder import read_json
from run_folder import write_json


class RoundLog(keras.callbacks.Callback):
    """Writes the history to `history.json` in `folder` after each round.

    Args:
        folder: The variant's folder.
        recipe: A `Recipe`.
        corpus: A `Corpus`.
        is_writer: Whether this process writes and prints.
    """

    def __init__(self, folder, recipe, corpus, is_writer=True):
        super().__init__()
        self.path = folder / "history.json"
        self.is_writer = is_writer
        self.recipe = recipe
        self.corpus = corpus
        self.history = []
        self._began = self._trained = None
        self._rounds = 0

    def read(self):
        return read_json(self.path) or []

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_test_begin(self, logs=None):
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        batches, steps = self.corpus.training, self.recipe.evaluate_every
        per_step = batches.batch_size * batches.sequence_length
        seconds = self._trained - self._began
        row = {
            "step": (epoch + 1) * steps,
            "tokens": (epoch + 1) * steps * per_step,
            "loss": float(logs["loss"]),
            "val_loss": float(logs["val_loss"]),
            "bits_per_byte": self.corpus.bits_per_byte(float(logs["val_loss"])),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": seconds,
            "tokens_per_second": steps * per_step / seconds,
            "peak_memory_mb": peak_memory() / 1e6,
            # Its time is also that of compiling.
            "begins_sitting": self._rounds == 0,
        }
        self._rounds += 1
        self.history.append(row)
        if self.is_writer:
            self._write(row)

    def _write(self, row):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, self.history)
        print(describe_row(row), flush=True)


def typical_speed(history):
    """Tokens per second of the rounds that compiled nothing, if there are."""
    warm = [row for row in history if not row["begins_sitting"]]
    return statistics.median(
        row["tokens_per_second"] for row in warm or history
    )


def describe_row(row):
    return (
        f"step {row['step']:,}: {row['bits_per_byte']:.3f} bits per byte held "
        f"out, {row['tokens_per_second']:,.0f} tokens/s, "
        f"{row['peak_memory_mb']:,.0f} MB at most"
    )


def peak_memory():
    """The most bytes in use so far, on the accelerator or else by the process.

    It covers all models of the process, not only the current one.
    """
    find = {"jax": jax_peak, "tensorflow": tensorflow_peak, "torch": torch_peak}
    return find[keras.backend.backend()]() or process_peak()


def jax_peak():
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def tensorflow_peak():
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def torch_peak():
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated()


def process_peak():
    """Linux counts in kilobytes, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
