"""One model as its owner writes it, and what is true of it."""

import dataclasses
from collections.abc import Callable

import numpy as np

VOCABULARY = 16
WIDTH = 8


@dataclasses.dataclass(frozen=True)
class Row:
    """A model and the residual additions that its source has.

    In the source each of them carries the comment `# residual`; "right" in it
    says that the skip is the right operand, "stream decoder" that earlier
    skips of that stream are its previous activations, not those of others.

    Args:
        build: Returns the model, without arguments.
        inputs: Returns its input, of `(batch, length, generator)`.
        where: For each addition, in the order they run, the attributes (or
            names of layers) that lead to the layer that adds; "" for the
            model itself. Counted by hand; additions of a shared layer once.
        saves: Whether the plain model can be saved to `.keras` and loaded.
        any_length: Whether it takes inputs of another length.
        history: Whether previous activations are well defined by hand.
        fits: Whether `fit` takes its inputs and outputs.
        refused: Why it cannot be traced, as a pattern of the reason; "" if it
            can.
    """

    build: Callable
    inputs: Callable
    where: tuple = ()
    saves: bool = True
    any_length: bool = True
    history: bool = True
    fits: bool = True
    refused: str = ""

    @property
    def sites(self):
        return len(self.where)

    def example(self, batch=2, length=6):
        return self.inputs(batch, length, np.random.default_rng(0))


def each(attribute, *counts):
    """`where` of a list of blocks with so many additions each."""
    return tuple(
        f"{attribute}.{i}" for i, n in enumerate(counts) for _ in range(n)
    )


def tokens(batch, length, rng):
    return rng.integers(1, VOCABULARY, (batch, length)).astype("int32")


def padded_tokens(batch, length, rng):
    ids = tokens(batch, length, rng)
    ids[0, -2:] = 0
    return ids


def sequence(batch, length, rng):
    return rng.normal(size=(batch, length, WIDTH)).astype("float32")


def image(batch, length, rng, channels=3):
    return rng.normal(size=(batch, 8, 8, channels)).astype("float32")
