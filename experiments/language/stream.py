"""A corpus as one row of tokens on disk, and windows cut from it.

Documents stand one behind the other, each between a begin and an end token. A
window's targets are its tokens and its inputs the ones before them; the row is
closed to a ring, so that the first token has one before it and the last window
is full. Every token is a target once an epoch.
"""

import dataclasses
import itertools

import grain
import numpy as np

from experiments.files import write_whole

DOCUMENTS_AT_ONCE = 64


def prepare_tokens(path, documents, tokenizer, limit=None):
    """The tokens in the file `path`, written from `documents` if not there.

    Args:
        path: A file of nothing but tokens.
        documents: Iterable of str; not read if the file exists.
        tokenizer: A KerasHub byte-pair tokenizer.
        limit: Stop after the document that reaches this many tokens.

    Returns:
        Array of integers, memory-mapped.
    """
    dtype = "uint16" if tokenizer.vocabulary_size() <= 2**16 else "uint32"
    if not path.exists():
        rows = limited(encode(documents, tokenizer), limit)
        write_whole(path, lambda partial: write_rows(partial, rows, dtype))
    # An empty file cannot be mapped.
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, mode="r")


def encode(documents, tokenizer):
    """The tokens of each document, between a begin and an end token."""
    begin, end = tokenizer.start_token_id, tokenizer.end_token_id
    documents = iter(documents)
    while several := list(itertools.islice(documents, DOCUMENTS_AT_ONCE)):
        for tokens in tokenizer.tokenize(several):
            yield [begin, *tokens, end]


def limited(rows, limit):
    """Rows up to the one with which they have `limit` tokens."""
    for row in rows:
        yield row
        if limit is not None:
            limit -= len(row)
            if limit <= 0:
                return


def write_rows(path, rows, dtype):
    with path.open("wb") as file:
        for row in rows:
            np.asarray(row, dtype).tofile(file)


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of a row of tokens."""

    tokens: np.ndarray
    length: int

    def __len__(self):
        return -(-len(self.tokens) // self.length)

    def __getitem__(self, index):
        """Inputs and targets of a window, or of an array of windows.

        Each has the shape of `index`, and behind it the length.
        """
        begins = np.asarray(index)[..., None] * self.length
        places = begins + np.arange(-1, self.length)
        rows = self.tokens[places % len(self.tokens)].astype("int32")
        targets = rows[..., 1:]
        inputs = {
            "token_ids": rows[..., :-1],
            "padding_mask": np.ones(targets.shape, "int32"),
        }
        return inputs, targets


def batches(windows, batch_size, seed, shard=0, shards=1):
    """Endless batches of windows, each epoch in an order of its own.

    A batch depends on the seed and its number alone: a run that continues at
    batch n sees what it would have seen.

    Args:
        windows: `Windows`.
        batch_size: Windows in a batch, over all shards.
        seed: Seed of the order.
        shard: Which share of each batch this process takes.
        shards: How many shares there are.

    Returns:
        A `grain.MapDataset`.
    """
    check_corpus(windows, batch_size)
    order = grain.MapDataset.range(len(windows)).shuffle(seed=seed).repeat()
    shares = order[shard::shards].batch(batch_size // shards)
    # Whole batches are cut at once: Grain takes longer for each of their parts.
    return shares.map(windows.__getitem__)


def read_ahead(dataset):
    """Read a data set ahead in one thread, which is enough for a memory map."""
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    return dataset.to_iter_dataset(options)


def check_corpus(windows, batch_size):
    """Raise unless the corpus fills one batch."""
    count, needed = len(windows.tokens), windows.length * batch_size
    if count < needed:
        size = f"{count:,} tokens" if count else "no text"
        raise ValueError(
            f"A corpus must have {needed:,} tokens at least, one batch of "
            f"{batch_size} sequences of {windows.length}. Received: {size}. "
            "Choose a larger split or corpus, or lower `--tokens-per-step` or "
            "`--sequence-length`."
        )
