"""The texts on which language models are trained and evaluated.

The tokenizer and the tokens are made once and kept in the output folder, by
what they are made of.
"""

import dataclasses
import hashlib
import json
import math

from experiments.language.datasets import open_text_builder
from experiments.language.datasets import read_documents
from experiments.language.stream import Windows
from experiments.language.stream import batches
from experiments.language.stream import prepare_tokens
from experiments.language.stream import read_ahead
from experiments.language.tokenizers import bytes_of_tokens
from experiments.language.tokenizers import find_tokenizer
from experiments.language.tokenizers import learn_byte_pairs
from experiments.prepared_sets import choose_splits

# As much of the evaluation split is looked at; what is used comes from all of
# it, since a few windows in a row may be one document.
EVALUATION_TOKENS = 10_000_000
# The order in which a trained model has not seen its text.
OTHER_ORDER = 1000


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The batches of a run, as `training.fit` takes them.

    Args:
        windows: `Windows` to train on, and held-out ones.
        sizes: `Sizes` of the training.
        evaluation_steps: Held-out batches; the same ones for every seed.
        tokenizer: The tokenizer that made the tokens.
        seed: Seed of the order.
        shard: Which share of each batch this process takes, and how many
            shares there are.
    """

    windows: tuple
    sizes: object
    evaluation_steps: int
    tokenizer: object
    seed: int = 0
    shard: tuple = (0, 1)

    def training(self, done):
        """Return the batches after `done` rounds."""
        size, order = self.sizes.batch_size, 2 * self.seed + 1
        found = batches(self.windows[0], size, order, *self.shard)
        return read_ahead(
            found[done * self.sizes.steps_per_round : self.sizes.steps]
        )

    def evaluation(self, rounds=1):
        """The held-out batches, in the same order in every round."""
        found = self._held_out(*self.shard)
        return read_ahead(found.repeat(rounds, reseed_each_epoch=False))

    def _held_out(self, *shard):
        found = batches(self.windows[1], self.sizes.batch_size, 0, *shard)
        return found[: self.evaluation_steps]

    @property
    def evaluation_tokens(self):
        return self.evaluation_steps * self.sizes.tokens_per_batch

    def evaluation_bytes(self):
        """Bytes of UTF-8 text that the held-out targets stand for."""
        lengths = bytes_of_tokens(self.tokenizer)
        found = self._held_out(0, 1)
        return sum(int(lengths[targets].sum()) for _, targets in found)


def bits_per_byte(mean_loss, num_tokens, num_bytes):
    """The loss in a unit that does not depend on the tokenizer."""
    return mean_loss * num_tokens / (num_bytes * math.log(2))


def open_corpus(settings, sizes, machine, devices, seed=0, preset=None):
    """The `Corpus` of some settings, in the order of a seed.

    Raises:
        ValueError: If there is no such text, too little of it, or if its
            tokens are not the model's.
    """
    data = machine.output / "data"
    builder = open_text_builder(settings.dataset, machine.data_dir, data)
    splits = choose_splits(builder, settings.train_split, settings.eval_split)
    tokenizer = open_tokenizer(
        data,
        str(preset or settings.tokenizer),
        builder,
        splits[0],
        sizes.vocabulary_size,
    )
    windows = []
    limits = (settings.max_tokens, EVALUATION_TOKENS)
    for split, limit in zip(splits, limits):
        made_of = [builder.info.full_name, split, limit, *content(tokenizer)]
        tokens = prepare_tokens(
            data / "tokens" / f"{digest(made_of)}.tokens",
            read_documents(builder, split),
            tokenizer,
            limit,
        )
        windows.append(Windows(tokens, sizes.sequence_length))
    count = len(windows[1]) // sizes.batch_size
    return Corpus(
        tuple(windows),
        sizes,
        min(settings.evaluation_batches, count),
        tokenizer,
        seed + OTHER_ORDER if preset else seed,
        devices.shard,
    )


def open_tokenizer(data, kind, builder, split, vocabulary_size):
    """The tokenizer of a corpus; a learned one is kept."""
    if kind != "bpe":
        return find_tokenizer(kind, vocabulary_size)
    made_of = [builder.info.full_name, split, vocabulary_size]
    folder = data / "tokenizers" / digest(made_of)
    if not folder.exists():
        documents = read_documents(builder, split)
        partial = folder.with_name(f"partial_{folder.name}")
        learn_byte_pairs(documents, vocabulary_size).save_to_preset(
            str(partial)
        )
        partial.rename(folder)
    return find_tokenizer(folder, vocabulary_size)


def content(tokenizer):
    return [tokenizer.vocabulary, list(map(str, tokenizer.merges))]


def digest(made_of):
    """Return a short name for the ingredients of something."""
    text = json.dumps(made_of, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
