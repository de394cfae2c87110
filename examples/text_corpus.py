"""What language models are trained and evaluated on: text sets as batches.

The tokenizer and the tokens are made once and kept in the output folder; a
folder that was made of something else is made anew.
"""

import dataclasses
import math
import shutil

from experiments.language.datasets import choose_text_splits
from experiments.language.datasets import open_text_builder
from experiments.language.datasets import read_documents
from experiments.language.tokenizers import bytes_of_tokens
from experiments.language.tokenizers import check_fits
from experiments.language.tokenizers import load_tokenizer
from experiments.language.tokenizers import make_tokenizer
from run_folder import read_json
from run_folder import write_json
from token_stream import Batches
from token_stream import prepare_stream

# As much of the evaluation split is looked at; what is used comes from all of
# it, since a few windows in a row may be one document.
EVALUATION_TOKENS = 10_000_000


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Text for training and a fixed piece of held-out text.

    Args:
        training: `Batches` in the order of the run's seed.
        evaluation: `Batches` in an order that is the same for every seed.
        evaluation_batches: How many of them, from the first, are used.
        evaluation_bytes: How many bytes of text these are.
        tokenizer: The tokenizer that made them.
    """

    training: Batches
    evaluation: Batches
    evaluation_batches: int
    evaluation_bytes: int
    tokenizer: object

    @property
    def evaluation_tokens(self):
        per_batch = self.evaluation.batch_size * self.evaluation.sequence_length
        return self.evaluation_batches * per_batch

    def bits_per_byte(self, mean_loss):
        return bits_per_byte(
            mean_loss, self.evaluation_tokens, self.evaluation_bytes
        )


def bits_per_byte(mean_loss, num_tokens, num_bytes):
    """The loss in a unit that does not depend on the tokenizer.

    Args:
        mean_loss: Mean cross-entropy of the tokens, in nats.
        num_tokens: How many tokens it is the mean of, special ones included.
        num_bytes: How many bytes of UTF-8 text these tokens stand for.
    """
    return mean_loss * num_tokens / (num_bytes * math.log(2))


def open_corpus(options, vocabulary_size, sequence_length, devices):
    """The `Corpus` that the options of a program describe.

    Raises:
        ValueError: If there is no such text, too little of it, or if its
            tokens are not the model's.
    """
    data = options.output / "data"
    builder = open_text_builder(options.dataset, options.data_dir, data)
    splits = choose_text_splits(
        builder, options.train_split, options.eval_split
    )
    limits = (options.max_tokens, EVALUATION_TOKENS)
    folder = empty_unless_made_of(
        data / "tokens",
        {
            "dataset": f"{builder.info.full_name}",
            "splits": list(splits),
            "limits": list(limits),
            "tokenizer": str(options.tokenizer),
            "vocabulary_size": vocabulary_size,
        },
    )
    tokenizer = open_tokenizer(
        folder / "tokenizer",
        options.tokenizer,
        read_documents(builder, splits[0]),
        vocabulary_size,
    )
    streams = (
        prepare_stream(
            folder / f"{name}.tokens",
            read_documents(builder, split),
            tokenizer,
            limit,
        )
        for name, split, limit in zip(("train", "eval"), splits, limits)
    )
    return divide(*streams, tokenizer, options, sequence_length, devices)


def empty_unless_made_of(folder, origin):
    """The folder, without what it holds if that was made of something else."""
    record = folder / "made_of.json"
    if read_json(record) != origin:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(record, origin)
    return folder


def open_tokenizer(folder, kind, documents, vocabulary_size):
    """The run's tokenizer, made if this is its first start."""
    if folder.exists():
        tokenizer = load_tokenizer(folder)
        check_fits(tokenizer, vocabulary_size)
        return tokenizer
    tokenizer = make_tokenizer(kind, documents, vocabulary_size)
    partial = folder.with_name(f"partial_{folder.name}")
    tokenizer.save_to_preset(str(partial))
    partial.rename(folder)
    return tokenizer


def divide(training, evaluation, tokenizer, options, length, devices):
    """The two streams of tokens as batches."""
    sizes = {
        "sequence_length": length,
        "batch_size": options.batch_size,
        "process_index": devices.data_shard,
        "process_count": devices.data_shards,
    }
    shuffled = Batches(training, seed=options.seed, **sizes)
    held_out = Batches(evaluation, **sizes)
    count = min(options.evaluation_batches, held_out.batches_of_an_epoch())
    num_bytes = held_out.count_bytes(count, bytes_of_tokens(tokenizer))
    return Corpus(shuffled, held_out, count, num_bytes, tokenizer)
