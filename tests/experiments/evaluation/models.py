"""Tiny language models with tokenizers, and what they should say."""

import functools

import keras
import keras_hub
import numpy as np
from keras import ops

import keras_laurel
from experiments.evaluation import HarnessLM
from experiments.language.tokenizers import byte_symbols
from experiments.language.tokenizers import byte_tokenizer
from tests.conversion.hub.checks import perturb

# Of texts and contexts, so that some tests have to cut them.
LENGTH = 40
SIZES = dict(num_layers=2, hidden_dim=16, intermediate_dim=32)


def pair_tokenizer():
    """GPT-2's tokenizer with three merges; it has one special token."""
    pairs = [("t", "h"), ("th", "e"), ("Ġ", "the"), (".", "Ċ")]
    symbols = ["<|endoftext|>", *byte_symbols(), *(a + b for a, b in pairs)]
    return keras_hub.models.GPT2Tokenizer(
        vocabulary={symbol: i for i, symbol in enumerate(symbols)},
        merges=[f"{a} {b}" for a, b in pairs],
    )


def gpt2():
    tokenizer = pair_tokenizer()
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_heads=2,
        max_sequence_length=LENGTH,
        **SIZES,
    )
    return keras_hub.models.GPT2CausalLM(
        backbone, keras_hub.models.GPT2CausalLMPreprocessor(tokenizer, LENGTH)
    )


def llama():
    tokenizer = byte_tokenizer()
    backbone = keras_hub.models.Llama3Backbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_query_heads=2,
        num_key_value_heads=1,
        **SIZES,
    )
    return keras_hub.models.Llama3CausalLM(
        backbone,
        keras_hub.models.Llama3CausalLMPreprocessor(tokenizer, LENGTH),
    )


def laurel():
    """The Llama with LAuReL weights off their start."""
    layer = keras_laurel.get("rw+lr+pa", rank=2, num_activations=2)
    model = keras_laurel.laurelize(model_of("plain llama"), layer)
    perturb(model)
    return model


BUILDERS = {"gpt2": gpt2, "llama": llama, "plain llama": llama}
NAMES = ("gpt2", "llama", "laurel")


@functools.cache
def model_of(name):
    """A model by name, the same each time, with opinions about text."""
    if name == "laurel":
        return laurel()
    keras.utils.set_random_seed(0)
    model = BUILDERS[name]()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        noise = rng.normal(scale=0.4, size=weight.shape)
        weight.assign(ops.convert_to_numpy(weight) + noise)
    prefer_letters(model)
    return model


def prefer_letters(model):
    """Makes other tokens unlikely, so that generated text can be read."""
    vocabulary = model.preprocessor.tokenizer.vocabulary
    others = [i for x, i in vocabulary.items() if not x.isascii() or "<|" in x]
    layer = model.backbone.token_embedding
    if layer.tie_weights:
        values = ops.convert_to_numpy(layer.embeddings).copy()
        values[others] /= 10
        layer.embeddings.assign(values)
    else:
        values = ops.convert_to_numpy(layer.reverse_embeddings).copy()
        values[:, others] /= 10
        layer.reverse_embeddings.assign(values)


@functools.cache
def harness_lm(name, batch_size=4):
    return HarnessLM(model_of(name), batch_size=batch_size)


@functools.cache
def without_preprocessor(model):
    """The same layers, to be called on tokens."""
    return keras.Model(model.input, model.output)


def logits_of(model, tokens, padded=True):
    """Float64 logits behind each token of one text.

    Padded to one length unless told not to, so that one program serves all.
    """
    length = LENGTH if padded else len(tokens)
    x = {
        "token_ids": np.array([tokens + [0] * (length - len(tokens))], "int32"),
        "padding_mask": np.arange(length)[None] < len(tokens),
    }
    logits = without_preprocessor(model).predict_on_batch(x)[0]
    return logits[: len(tokens)].astype("float64")


def log_softmax(x):
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def expected_score(model, context, continuation, padded=True):
    """Log-probability of a continuation, and whether it is greedy."""
    logits = logits_of(model, [*context, *continuation[:-1]], padded)
    logits = logits[-len(continuation) :]
    rows = np.arange(len(continuation))
    total = log_softmax(logits)[rows, continuation].sum()
    return total, bool((logits.argmax(axis=-1) == continuation).all())


def greedy_tokens(model, prompts, count):
    """The likeliest tokens behind each prompt, without a cache."""
    rows = []
    for prompt in prompts:
        row = list(prompt)
        for _ in range(count):
            row.append(int(logits_of(model, row)[-1].argmax()))
        rows.append(row[len(prompt) :])
    return rows
