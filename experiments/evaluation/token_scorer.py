"""Log-probabilities of tokens under a KerasHub CausalLM."""

import collections

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from experiments.evaluation.padding import distributed
from experiments.evaluation.padding import filled_up
from experiments.evaluation.padding import padded_length
from experiments.evaluation.padding import padded_rows


class TokenScorer(keras.Model):
    """Model of the log-likelihoods that a language model gives next tokens.

    `predict_on_batch` compiles it on every backend. Logits are as large as the
    vocabulary and are not returned; they are summed in at least float32.
    """

    def __init__(self, causal_lm):
        super().__init__()
        self.causal_lm = causal_lm

    def call(self, inputs):
        """Scores `targets` of shape `(batch, length, alternatives)`.

        Returns:
            Log-probabilities of the targets, and whether each of them is the
            model's first choice.
        """
        targets = inputs["targets"]
        names = [x.name for x in self.causal_lm.inputs]
        logits = self.causal_lm({name: inputs[name] for name in names})
        dtype = keras.backend.result_type(logits.dtype, "float32")
        chosen = ops.take_along_axis(logits, targets, axis=-1)
        total = ops.logsumexp(ops.cast(logits, dtype), axis=-1, keepdims=True)
        first_choice = ops.argmax(logits, axis=-1)[..., None]
        is_first = ops.equal(targets, ops.cast(first_choice, targets.dtype))
        return ops.cast(chosen, dtype) - total, is_first


# A question about a row of tokens: the number of the request, the token that
# follows the row, and how many tokens are scored up to that one.
Ending = collections.namedtuple("Ending", "request last length")


def score(scorer, requests, batch_size, max_length, progress=True):
    """Log-probabilities of continuations.

    Requests that differ in their last token only, such as the letters that
    answer a question, go through the model as one row.

    Args:
        scorer: A `TokenScorer`.
        requests: List of pairs (context, continuation) of lists of tokens.
        batch_size: Rows in a batch.
        max_length: Tokens in a row; contexts are cut on the left to fit.
        progress: Whether to show a progress bar.

    Yields:
        The number of the request, its log-probability, and whether greedy
        decoding gives the continuation; the longest first.
    """
    endings = endings_by_row(requests, max_length)
    # The longest first: what does not fit into memory fails at once.
    rows = sorted(endings, key=lambda row: (-len(row), row))
    with tqdm(total=len(rows), desc="Scoring", disable=not progress) as bar:
        for start in range(0, len(rows), batch_size):
            size = len(rows[start : start + batch_size])
            batch = filled_up(rows[start : start + batch_size], batch_size)
            asked = [endings[row] for row in batch]
            x = distributed(inputs(batch, asked, max_length))
            outputs = scorer.predict_on_batch(x)
            for i in range(size):
                yield from answers(batch[i], asked[i], *(x[i] for x in outputs))
            bar.update(size)


def endings_by_row(requests, max_length):
    """The `Ending`s of each row of input tokens, a tuple."""
    endings = collections.defaultdict(list)
    for i, (context, continuation) in enumerate(requests):
        *row, last = (context + continuation)[-(max_length + 1) :]
        endings[tuple(row)].append(Ending(i, last, len(continuation)))
    return endings


def inputs(rows, endings, max_length):
    """Return the inputs of the scorer: rows, and the token after each place.

    A place has several such tokens if its row has several endings. Their
    number is rounded up to a power of two, since it is part of the shape.
    """
    length = padded_length(max(map(len, rows)), max_length)
    most = max(map(len, endings))
    shape = (len(rows), length, 2 ** (most - 1).bit_length())
    targets = np.zeros(shape, "int32")
    for i, (row, asked) in enumerate(zip(rows, endings)):
        targets[i, : len(row) - 1] = np.array(row[1:], "int32")[:, None]
        targets[i, len(row) - 1, : len(asked)] = [x.last for x in asked]
    return {**padded_rows(rows, length), "targets": targets}


def answers(row, endings, log_probabilities, is_first):
    for i, ending in enumerate(endings):
        scored = slice(len(row) - ending.length, len(row)), i
        total = log_probabilities[scored].sum(dtype="float64")
        yield ending.request, float(total), bool(is_first[scored].all())
