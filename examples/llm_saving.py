"""What is kept of a language model, and text from what was kept."""

import contextlib

import keras
import keras_hub

SAMPLE_TOKENS = 128
PROMPTS = {"python_stdlib": "def ", "shakespeare": "**KING**  \n"}
OTHER_PROMPT = "The "


@contextlib.contextmanager
def fresh_keras(precision, scope):
    """No names and graphs of earlier models; this run's policy and devices."""
    keras.utils.clear_session()
    keras.config.set_dtype_policy(precision)
    with scope():
        yield


def values_of_all_processes(model):
    """The weights as arrays; every process has to take part."""
    from jax.experimental import multihost_utils

    return [
        multihost_utils.process_allgather(weight.value, tiled=True)
        for weight in model.weights
    ]


def save_language_model(model, tokenizer, sequence_length, folder):
    """A KerasHub preset, with the tokenizer, and a `.keras` file."""
    model.preprocessor = keras_hub.models.Llama3CausalLMPreprocessor(
        tokenizer, sequence_length=sequence_length
    )
    model.save_to_preset(str(folder / "preset"))
    model.save(folder / "model.keras", include_optimizer=False)
    model.preprocessor = None


def read_language_model(folder):
    """The model in a preset, to be trained on tokens and without LoRA."""
    model = read_preset(folder)
    model.preprocessor = None
    return model


def read_preset(folder):
    """The task in a preset, in the precision of this run.

    Without a dtype KerasHub 0.32 fails on a preset in mixed precision.
    """
    dtype = keras.config.dtype_policy().name
    return keras_hub.models.CausalLM.from_preset(str(folder), dtype=dtype)


def sample_text(folder, dataset, prompt=None, seed=0):
    """Text that a preset, read back, generates by top-k with a fixed seed."""
    model = read_preset(folder)
    model.compile(sampler=keras_hub.samplers.TopKSampler(k=10, seed=seed))
    length = min(SAMPLE_TOKENS, model.preprocessor.sequence_length)
    prompt = prompt or PROMPTS.get(dataset, OTHER_PROMPT)
    return model.generate(prompt, max_length=length)
