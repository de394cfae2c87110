"""Tokenizers: byte pairs learned from the corpus, or single bytes.

Both are KerasHub's Llama 3 tokenizer, bytes being the one without merges. A
model is therefore saved, loaded and asked to generate text the same way with
either, and none of it needs TensorFlow.
"""

import json
from pathlib import Path

import keras_hub
import numpy as np
import tokenizers

from experiments.language.stream import limited

BEGIN = "<|begin_of_text|>"
END = "<|end_of_text|>"
# KerasHub's Llama 3 tokenizer insists on the other three.
SPECIAL = (BEGIN, END, "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
SMALLEST_VOCABULARY = 256 + len(SPECIAL)
LEARNED_FROM = 50_000_000


def find_tokenizer(kind, vocabulary_size):
    """The tokenizer "bytes", or that of a KerasHub preset's folder.

    Raises:
        ValueError: If it has more tokens than the model can tell apart.
    """
    tokenizer = byte_tokenizer() if kind == "bytes" else load_tokenizer(kind)
    check_fits(tokenizer, vocabulary_size)
    return tokenizer


def byte_tokenizer():
    """One token for each byte, after the special ones.

    KerasHub's table of merges cannot be empty where TensorFlow is installed,
    so it gets one of two bytes that no UTF-8 text has.
    """
    never = byte_symbols()[255]
    symbols = [*SPECIAL, *byte_symbols(), never + never]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    return build_tokenizer(vocabulary, [f"{never} {never}"])


def byte_symbols():
    """The printable character that stands for each byte, by its value.

    GPT-2's table, as KerasHub and the `tokenizers` package have it: printable
    Latin-1 characters stand for themselves, the other bytes come above 255.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def learn_byte_pairs(documents, vocabulary_size):
    """Byte pairs from the first 50 MB of the documents.

    A small corpus may not have as many pairs as asked for and gives fewer.
    """
    if vocabulary_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"A vocabulary must have at least {SMALLEST_VOCABULARY} tokens, "
            f"for 256 bytes and {len(SPECIAL)} special tokens. Received: "
            f"{vocabulary_size} tokens. Choose a larger vocabulary."
        )
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=byte_symbols(),
        show_progress=False,
    )
    learner.train_from_iterator(limited(documents, LEARNED_FROM), trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [" ".join(pair) for pair in learned["merges"]]
    return build_tokenizer(learned["vocab"], merges)


def build_tokenizer(vocabulary, merges):
    return keras_hub.models.Llama3Tokenizer(
        vocabulary=vocabulary, merges=merges
    )


def load_tokenizer(folder):
    """The tokenizer of a KerasHub preset on disk.

    `from_preset` would ask for a model beside it.
    """
    about, assets = Path(folder) / "tokenizer.json", Path(folder) / "assets"
    if not about.exists() or "Llama3Tokenizer" not in about.read_text():
        raise ValueError(
            "`--tokenizer` must be `bpe`, `bytes` or the folder of a KerasHub "
            f"preset with a Llama 3 tokenizer. Received: {folder}. Use one of "
            "the two names, or the folder `preset` of an earlier run."
        )
    vocabulary, merges = (
        str(assets / "tokenizer" / name)
        for name in ("vocabulary.json", "merges.txt")
    )
    return build_tokenizer(vocabulary, merges)


def check_fits(tokenizer, vocabulary_size):
    """Raises where token ids would be out of the model's range."""
    size = tokenizer.vocabulary_size()
    if size > vocabulary_size:
        raise ValueError(
            "A tokenizer must have at most as many tokens as the model has "
            "embeddings, or token ids would be out of range. Received: "
            f"{size} tokens and {vocabulary_size} embeddings. Pass "
            f"`--vocabulary-size {size}` or use another `--tokenizer`."
        )


def bytes_of_tokens(tokenizer):
    """Return the bytes of text of each token, 0 for special tokens."""
    lengths = np.zeros(tokenizer.vocabulary_size(), "int32")
    for symbol, index in tokenizer.vocabulary.items():
        if symbol not in SPECIAL:
            lengths[index] = len(symbol)
    return lengths
