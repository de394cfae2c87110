"""Packing loses nothing; the position in the data follows from the step."""

import numpy as np
import pytest

from experiments.language.tokenizers import byte_tokenizer
from token_stream import Batches
from token_stream import TokenStream
from token_stream import prepare_stream

LENGTH = 16


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="module")
def documents():
    """Of many lengths, shorter and longer than a window, one of them empty."""
    random = np.random.default_rng(0)
    letters = np.array([*"abc é世\n "])
    sizes = [0, 1, 14, 15, 16, 17, *random.integers(1, 90, 150)]
    return ["".join(random.choice(letters, size)) for size in sizes]


@pytest.fixture(scope="module")
def stream(tokenizer, documents, tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "train.tokens"
    return prepare_stream(path, documents, tokenizer)


def split_documents(tokens, tokenizer):
    """The documents that the begin and end tokens enclose."""
    begins = np.flatnonzero(tokens == tokenizer.start_token_id)
    ends = np.flatnonzero(tokens == tokenizer.end_token_id)
    assert begins[0] == 0 and ends[-1] == len(tokens) - 1
    np.testing.assert_array_equal(begins[1:], ends[:-1] + 1)
    return [
        tokenizer.detokenize([tokens[b + 1 : e].tolist()])[0]
        if e > b + 1
        else ""
        for b, e in zip(begins, ends)
    ]


def test_windows_hold_every_token_and_every_document(
    stream, tokenizer, documents
):
    count = len(stream.tokens)
    windows = [
        stream.window(index, LENGTH) for index in range(stream.windows(LENGTH))
    ]
    inputs, targets = (np.concatenate(part) for part in zip(*windows))
    assert 0 <= len(targets) - count < LENGTH
    assert split_documents(targets[:count], tokenizer) == documents
    np.testing.assert_array_equal(targets[count:], targets[: -count or None])
    np.testing.assert_array_equal(inputs[1:], targets[:-1])
    assert inputs[0] == tokenizer.end_token_id
    assert stream.num_documents == len(documents)


def test_an_epoch_has_every_window_once_in_an_order_of_its_own(stream):
    batches = Batches(stream, LENGTH, batch_size=7, seed=3)
    count = stream.windows(LENGTH)
    assert count % 7
    seen = np.concatenate([batches.windows_of(step) for step in range(count)])
    epochs = seen.reshape(7, count)
    for epoch in epochs:
        assert sorted(epoch) == [*range(count)]
    assert not np.array_equal(epochs[0], epochs[1])
    other = Batches(stream, LENGTH, batch_size=7, seed=4)
    assert not np.array_equal(other.windows_of(0), batches.windows_of(0))


def test_a_later_start_gets_the_batches_that_would_have_come(stream):
    def batches(start):
        return [*Batches(stream, LENGTH, 8, seed=3).numbers(start, 40)]

    for (x, y), (x_resumed, y_resumed) in zip(
        batches(0)[23:], batches(23), strict=True
    ):
        np.testing.assert_array_equal(y, y_resumed)
        np.testing.assert_array_equal(x["token_ids"], x_resumed["token_ids"])
        assert x["token_ids"].shape == y.shape == (8, LENGTH)
        assert x["padding_mask"].all()


def test_processes_share_a_batch(stream):
    _, whole = Batches(stream, LENGTH, 8, seed=3).batch(5)
    shares = [
        Batches(stream, LENGTH, 8, 3, process_index=i, process_count=2).batch(5)
        for i in range(2)
    ]
    np.testing.assert_array_equal(
        whole, np.concatenate([targets for _, targets in shares])
    )


def test_bytes_of_the_evaluated_tokens_are_counted(stream):
    one_byte_each = np.ones(300, "int32")
    batches = Batches(stream, LENGTH, 8)
    assert batches.count_bytes(2, one_byte_each) == 2 * 8 * LENGTH
    assert batches.batches_of_an_epoch() == stream.windows(LENGTH) // 8


def test_a_prepared_file_is_read_and_not_written_again(
    stream, tokenizer, documents, tmp_path
):
    path = tmp_path / "some.tokens"
    written = prepare_stream(path, documents, tokenizer, limit=500)
    assert 500 <= len(written.tokens) < 600
    np.testing.assert_array_equal(
        written.tokens, stream.tokens[: len(written.tokens)]
    )
    again = prepare_stream(path, iter(()), tokenizer)
    np.testing.assert_array_equal(written.tokens, again.tokens)


def test_too_little_text_is_refused(tokenizer, tmp_path):
    empty = prepare_stream(tmp_path / "empty.tokens", [], tokenizer)
    with pytest.raises(ValueError, match="has no text; expected 128 at least"):
        Batches(empty, LENGTH, batch_size=8)
    short = TokenStream(np.zeros(127, "uint16"), 1)
    with pytest.raises(
        ValueError, match="has 127 tokens.*lower `--batch-size`"
    ):
        Batches(short, LENGTH, batch_size=8)
