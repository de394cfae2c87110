"""Presets: what is kept of a language model, and what is read of one."""

from pathlib import Path

import keras
import keras_hub

from experiments.files import read_json
from experiments.files import write_text
from experiments.language.models import Architecture

SAMPLE_TOKENS = 128


def save_language_model(model, tokenizer, sequence_length, folder):
    """A KerasHub preset, with the tokenizer, and a `.keras` file."""
    model.preprocessor = keras_hub.models.Llama3CausalLMPreprocessor(
        tokenizer, sequence_length=sequence_length
    )
    model.save_to_preset(str(folder / "preset"))
    model.save(folder / "model.keras", include_optimizer=False)
    model.preprocessor = None


def read_language_model(folder):
    """The model in a preset, to be trained on tokens."""
    model = read_preset(folder)
    model.preprocessor = None
    return model


def read_preset(folder):
    """The task in a preset, in the precision of this run.

    Without a dtype KerasHub 0.32 fails on a preset in mixed precision.
    """
    dtype = keras.config.dtype_policy().name
    return keras_hub.models.CausalLM.from_preset(str(folder), dtype=dtype)


def write_sample(folder, prompt, seed):
    """Text that a preset, read back, generates by top-k with a fixed seed."""
    model = read_preset(folder / "preset")
    model.compile(sampler=keras_hub.samplers.TopKSampler(k=10, seed=seed))
    length = min(SAMPLE_TOKENS, model.preprocessor.sequence_length)
    text = model.generate(prompt, max_length=length)
    write_text(folder / "sample.txt", text)
    return text


def find_preset(settings, seed, output):
    """The folder of the preset that `start_from` names, or None.

    Raises:
        ValueError: If it is not there.
    """
    if settings.start_from is None:
        return None
    given = Path(settings.start_from)
    run = output.parent / given / f"seed_{seed}" / "preset"
    for folder in (given, run):
        if (folder / "preprocessor.json").exists():
            return folder
    experiment, _, arm = settings.start_from.partition("/")
    raise ValueError(
        "Setting `start_from` must be the folder of a KerasHub preset, or "
        "EXPERIMENT/ARM of runs beside this one that kept theirs. Received: "
        f"start_from={settings.start_from!r}; neither {given} nor {run} is "
        f"one. Train it first: python -m experiments {experiment} --arms "
        f"{arm or 'ARM'} --seeds {seed + 1}"
    )


def sizes_of_preset(folder, rank):
    """The `Architecture` of a preset, without reading its weights."""
    backbone, preprocessor = (
        read_json(folder / name)
        for name in ("config.json", "preprocessor.json")
    )
    if "Llama3" not in str(backbone):
        raise ValueError(
            "Setting `start_from` must name a Llama 3, such as the language "
            f"experiments keep. Received: {folder}."
        )
    sizes = backbone["config"]
    return Architecture(
        num_blocks=sizes["num_layers"],
        width=sizes["hidden_dim"],
        num_heads=sizes["num_query_heads"],
        intermediate_size=sizes["intermediate_dim"],
        vocabulary_size=sizes["vocabulary_size"],
        sequence_length=preprocessor["config"]["sequence_length"],
        paper_rank=rank or Architecture.paper_rank,
    )
