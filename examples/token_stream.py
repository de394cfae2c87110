"""A corpus as one row of tokens on disk, and batches cut out of it.

Documents stand one behind the other, each between a begin and an end token,
and are cut into windows of the sequence length. A window's targets are its
tokens and its inputs the ones before them; the row is closed to a ring, so
that the first token has one before it and the last window is full. Every token
is a target once an epoch.

Which windows a batch holds is a function of the seed and of the batch's number
alone. A run that goes on at batch n therefore sees what it would have seen.
"""

import dataclasses
import functools
import itertools

import grain
import numpy as np

from run_folder import read_json
from run_folder import write_json
from run_folder import write_whole

DOCUMENTS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class TokenStream:
    """The tokens of a corpus.

    Args:
        tokens: Array of integers, memory-mapped if it came from disk.
        num_documents: How many documents they are.
    """

    tokens: np.ndarray
    num_documents: int

    def windows(self, length):
        """How many windows of `length` the row is cut into."""
        return -(-len(self.tokens) // length)

    def window(self, index, length):
        """Inputs and targets of one window, each of shape `(length,)`."""
        places = np.arange(index * length - 1, (index + 1) * length)
        row = self.tokens[places % len(self.tokens)].astype("int32")
        return row[:-1], row[1:]


def prepare_stream(path, documents, tokenizer, limit=None):
    """The stream in the file `path`, written from `documents` if not there.

    Args:
        path: A file; a JSON file beside it says what it holds.
        documents: Iterable of str; not read if the file exists.
        tokenizer: A KerasHub byte-pair tokenizer.
        limit: Stop after the document that reaches this many tokens.
    """
    record = path.with_suffix(".json")
    if not record.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        dtype = "uint16" if tokenizer.vocabulary_size() <= 2**16 else "uint32"
        rows = limited(encode(documents, tokenizer), limit)
        count = write_rows(path, rows, dtype)
        write_json(record, {"dtype": dtype, "documents": count})
    return open_stream(path)


def open_stream(path):
    about = read_json(path.with_suffix(".json"))
    if not about["documents"]:
        # An empty file cannot be mapped.
        return TokenStream(np.zeros(0, about["dtype"]), 0)
    tokens = np.memmap(path, about["dtype"], mode="r")
    return TokenStream(tokens, about["documents"])


def encode(documents, tokenizer):
    """The tokens of each document, between a begin and an end token."""
    begin, end = tokenizer.start_token_id, tokenizer.end_token_id
    documents = iter(documents)
    while several := list(itertools.islice(documents, DOCUMENTS_AT_ONCE)):
        for tokens in tokenizer.tokenize(several):
            yield [begin, *tokens, end]


def limited(rows, limit):
    for row in rows:
        yield row
        if limit is not None:
            limit -= len(row)
            if limit <= 0:
                return


def write_rows(path, rows, dtype):
    """Writes the rows one behind the other; returns how many they are."""
    count = 0

    def write(partial):
        nonlocal count
        with partial.open("wb") as file:
            for row in rows:
                file.write(np.asarray(row, dtype).tobytes())
                count += 1

    write_whole(path, write)
    return count


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batches of windows in shuffled order, one epoch after the other.

    Args:
        stream: A `TokenStream`.
        sequence_length: Tokens in a window.
        batch_size: Windows in a batch, over all processes together.
        seed: Seed of the order.
        process_index: Which share of each batch this process takes.
        process_count: How many shares there are.
    """

    stream: TokenStream
    sequence_length: int
    batch_size: int
    seed: int = 0
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        check_corpus(self.stream, self.sequence_length, self.batch_size)

    def windows_of(self, step):
        """Indices of the windows in batch number `step`."""
        count = self.stream.windows(self.sequence_length)
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, inside = np.divmod(places, count)
        orders = {e: shuffled(self.seed, int(e), count) for e in set(epochs)}
        return np.array([orders[e][i] for e, i in zip(epochs, inside)])

    def batch(self, step):
        """Inputs and targets of batch number `step`, as Keras takes them."""
        mine = np.array_split(self.windows_of(step), self.process_count)
        rows = [
            self.stream.window(index, self.sequence_length)
            for index in mine[self.process_index]
        ]
        inputs, targets = map(np.stack, zip(*rows))
        return {
            "token_ids": inputs,
            "padding_mask": np.ones_like(inputs),
        }, targets

    def numbers(self, start, stop):
        """The batches from number `start` up to `stop`, as a Grain dataset."""
        return grain.MapDataset.range(start, stop).map(self.batch)

    def batches_of_an_epoch(self):
        """How many batches there are before a window comes again."""
        return self.stream.windows(self.sequence_length) // self.batch_size

    def count_bytes(self, num_batches, bytes_of_tokens):
        """Bytes of text in the targets of the first batches."""
        length = self.sequence_length
        return sum(
            int(bytes_of_tokens[self.stream.window(i, length)[1]].sum())
            for step in range(num_batches)
            for i in self.windows_of(step)
        )


@functools.lru_cache(maxsize=2)
def shuffled(seed, epoch, count):
    """The order of an epoch; a batch reaches into two at most."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def check_corpus(stream, sequence_length, batch_size):
    """Raises unless the corpus fills one batch."""
    needed = sequence_length * batch_size
    if len(stream.tokens) < needed:
        size = f"{len(stream.tokens):,} tokens"
        raise ValueError(
            f"The corpus has {size if len(stream.tokens) else 'no text'}; "
            f"expected {needed:,} at least, one batch of {batch_size} "
            f"sequences of {sequence_length}. Choose a larger split or "
            "corpus, or lower `--batch-size` or `--sequence-length`."
        )
