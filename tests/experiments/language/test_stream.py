"""Packing loses nothing; the position in the data follows from the step."""

import itertools

import numpy as np
import pytest

from experiments.language.corpus import Corpus
from experiments.language.optimizer import Sizes
from experiments.language.stream import Windows
from experiments.language.stream import batches
from experiments.language.stream import prepare_tokens
from experiments.language.tokenizers import byte_tokenizer

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
def windows(tokenizer, documents, tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "train.tokens"
    return Windows(prepare_tokens(path, documents, tokenizer), LENGTH)


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
    windows, tokenizer, documents
):
    count = len(windows.tokens)
    rows = [windows[index] for index in range(len(windows))]
    inputs = np.concatenate([x["token_ids"] for x, _ in rows])
    targets = np.concatenate([y for _, y in rows])
    assert 0 <= len(targets) - count < LENGTH
    assert split_documents(targets[:count], tokenizer) == documents
    np.testing.assert_array_equal(targets[count:], targets[: -count or None])
    np.testing.assert_array_equal(inputs[1:], targets[:-1])
    assert inputs[0] == tokenizer.end_token_id


def targets_of(dataset, start, stop):
    return np.concatenate([y for _, y in dataset[start:stop]])


def test_an_epoch_has_every_window_once_in_an_order_of_its_own(windows):
    count = len(windows)
    assert count % 7
    every = np.stack([windows[index][1] for index in range(count)])
    # As many batches as windows: seven epochs.
    seen = targets_of(batches(windows, 7, seed=3), 0, count)
    epochs = seen.reshape(7, count, LENGTH)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch, 0), np.sort(every, 0))
    assert not np.array_equal(epochs[0], epochs[1])
    other = targets_of(batches(windows, 7, seed=4), 0, 1)
    assert not np.array_equal(other, seen[:7])


def corpus(windows, **changes):
    sizes = Sizes(LENGTH, 8, steps=40, rounds=8, vocabulary_size=300)
    values = dict(evaluation_steps=3, tokenizer=byte_tokenizer(), seed=3)
    return Corpus((windows, windows), sizes, **{**values, **changes})


def test_a_later_start_gets_the_batches_that_would_have_come(windows):
    whole, resumed = (list(corpus(windows).training(d)) for d in (0, 5))
    assert len(whole) == 40
    for (x, y), (other, targets) in zip(whole[25:], resumed, strict=True):
        np.testing.assert_array_equal(y, targets)
        np.testing.assert_array_equal(x["token_ids"], other["token_ids"])
        assert x["token_ids"].shape == y.shape == (8, LENGTH)
        assert x["padding_mask"].all()


def test_processes_share_a_batch(windows):
    whole = targets_of(batches(windows, 8, seed=3), 5, 6)
    shares = [
        targets_of(batches(windows, 8, 3, shard=i, shards=2), 5, 6)
        for i in range(2)
    ]
    assert [len(share) for share in shares] == [4, 4]
    np.testing.assert_array_equal(whole[0::2], shares[0])
    np.testing.assert_array_equal(whole[1::2], shares[1])


def test_held_out_batches_are_the_same_for_every_seed_and_round(windows):
    first = [y for _, y in corpus(windows).evaluation(2)]
    other = [y for _, y in corpus(windows, seed=9).evaluation(2)]
    assert len(first) == 6
    np.testing.assert_array_equal(first[:3], first[3:])
    np.testing.assert_array_equal(first, other)
    counted = corpus(windows).evaluation_bytes()
    assert counted == np.count_nonzero(np.array(first[:3]) >= 5)


def test_a_prepared_file_is_read_and_not_written_again(
    windows, tokenizer, documents, tmp_path
):
    path = tmp_path / "some.tokens"
    written = prepare_tokens(path, documents, tokenizer, limit=500)
    assert 500 <= len(written) < 600
    np.testing.assert_array_equal(written, windows.tokens[: len(written)])
    again = prepare_tokens(path, itertools.repeat(1), tokenizer)
    np.testing.assert_array_equal(written, again)


def test_too_little_text_is_refused(tokenizer, tmp_path):
    empty = prepare_tokens(tmp_path / "empty.tokens", [], tokenizer)
    with pytest.raises(ValueError, match="128 tokens at least.*: no text"):
        batches(Windows(empty, LENGTH), 8, seed=0)
    short = Windows(np.zeros(127, "uint16"), LENGTH)
    with pytest.raises(ValueError, match="127 tokens.*`--tokens-per-step`"):
        batches(short, 8, seed=0)
