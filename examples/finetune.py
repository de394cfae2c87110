"""
Title: Fine-tuning with LAuReL and LoRA
Author: The keras_laurel authors
Date created: 2026/11/22
Last modified: 2026/11/22
Description: Convert a trained language model and tune it on other text.
Accelerator: GPU
"""
# ruff: noqa: E402

"""
## Introduction

`keras_laurel.laurelize` converts a model that is trained already: LAuReL
starts as the plain addition, so the converted model computes what it did. LoRA
then freezes the model's own weights and adds small trainable ones. LAuReL's
weights stay trainable beside them. This program tunes a model that
`llm_pretrain.py` left on another text:

    python examples/finetune.py
    python examples/finetune.py --help

## Setup

Keras reads the name of its backend when it is imported, so the command line
comes first.
"""

import os
import sys

from finetune_command_line import parse_options
from llm_command_line import parse_or_exit

os.environ["KERAS_BACKEND"] = parse_or_exit(
    parse_options, sys.argv, __name__
).backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import typing

import keras
import numpy as np

import keras_laurel
import llm_command_line
import llm_pretrain
from experiments.devices import Devices
from experiments.devices import check_batch_size
from experiments.devices import find_devices
from experiments.variants import LaurelSizes
from llm_models import check_variant
from llm_models import sizes_of_preset
from llm_saving import fresh_keras
from llm_saving import read_language_model
from llm_saving import sample_text
from llm_saving import save_language_model
from llm_training import Recipe
from llm_training import check_orbax
from llm_training import clear_checkpoints
from llm_training import compile_language_model
from llm_training import evaluate
from llm_training import train
from run_folder import RunFolder
from run_folder import write_json
from settings import pick
from text_corpus import Corpus
from text_corpus import open_corpus

"""
## The model to start from

Without `--model`, a tiny baseline is trained on Python's source first.
"""


def find_model(options):
    """The preset to start from."""
    if options.model is not None:
        return options.model
    output = options.output / "pretrained"
    arguments = f"--variants baseline --steps {options.pretraining_steps} "
    arguments += f"--evaluate-every {options.pretraining_steps} "
    arguments += f"--warmup-steps {options.pretraining_steps // 10} "
    arguments += f"--backend {options.backend} --output"
    llm_pretrain.main(
        llm_command_line.parse_options([*arguments.split(), str(output)])
    )
    return output / "baseline" / "preset"


"""
## The experiment

Everything that can be wrong is found here, before the model is read.
"""


class Experiment(typing.NamedTuple):
    """What the steps below share."""

    options: argparse.Namespace
    folder: RunFolder
    preset: str
    devices: Devices
    recipe: Recipe
    corpus: Corpus


def prepare(options):
    """Checks the options and opens the text.

    Raises:
        ValueError: If this command cannot be run.
    """
    llm_pretrain.check_backend(options.backend)
    check_orbax()
    folder = RunFolder(options.output)
    folder.check(comparable(options))
    preset = find_model(options)
    sizes = sizes_of_preset(preset)
    check_variant(options.variant, sizes, laurel_sizes(options))
    devices = find_devices()
    check_batch_size(options.batch_size, devices)
    options.tokenizer = preset
    corpus = open_corpus(
        options, sizes.vocabulary_size, sizes.sequence_length, devices
    )
    recipe = Recipe(**pick(vars(options), Recipe))
    return Experiment(options, folder, preset, devices, recipe, corpus)


def laurel_sizes(options):
    return LaurelSizes(options.rank, options.num_activations)


def comparable(options):
    """The options that the numbers depend on."""
    without = ("output", "data_dir", "tokenizer")
    values = {n: v for n, v in vars(options).items() if n not in without}
    return {**values, "model": str(options.model)}


"""
## Conversion

Two lines: LAuReL first, then LoRA, which freezes what was there and leaves
LAuReL's weights trainable.
"""


def convert(experiment):
    """The trained model with LAuReL and LoRA in it."""
    options = experiment.options
    keras.utils.set_random_seed(options.seed)
    model = read_language_model(experiment.preset)
    if options.variant != "baseline" and not keras_laurel.laurel_layers(model):
        layer = laurel_sizes(options).layer(
            options.variant, a_initializer=keras_laurel.ColumnOrthogonal()
        )
        model = keras_laurel.laurelize(model, layer)
    model.backbone.enable_lora(options.lora_rank)
    return model


def laurel_weights(model):
    """LAuReL's trainable weights as arrays, by path."""
    return {
        weight.path: keras.ops.convert_to_numpy(weight)
        for weight in model.trainable_weights
        if weight.name.startswith("laurel_")
    }


"""
## Training

`train` is the one of `llm_pretrain.py`, checkpoints included. What is saved has
LoRA's products added to the weights they belong to; the loss of the model that
is read back from there is computed once more.
"""


def tune(experiment):
    """Converts and trains the model; what came of it, as a dict."""
    options = experiment.options
    with fresh_keras(options.precision, experiment.devices.scope):
        model = convert(experiment)
        before, laurel = started_from(experiment, model)
        folder = experiment.folder["state"]
        history = train(model, experiment.recipe, experiment.corpus, folder)
    after = laurel_weights(model)
    changed = [path for path in after if np.any(after[path] != laurel[path])]
    save_language_model(
        model,
        experiment.corpus.tokenizer,
        experiment.corpus.training.sequence_length,
        experiment.folder.path,
    )
    return {
        "loss_before": before,
        "loss_after": history[-1]["val_loss"],
        "loss_of_the_saved_model": loss_of_preset(experiment),
        "parameters": model.count_params(),
        "trainable_parameters": count(model.trainable_weights),
        "laurel_weights": len(laurel),
        "laurel_weights_changed": len(changed),
        "history": history,
        "sample": sample_text(
            experiment.folder["preset"],
            options.dataset,
            options.prompt,
            options.seed,
        ),
    }


def started_from(experiment, model):
    """The loss before any training, and LAuReL's weights as they were."""
    compile_language_model(model, experiment.recipe)
    return evaluate(model, experiment.corpus), laurel_weights(model)


def loss_of_preset(experiment):
    with fresh_keras(experiment.options.precision, experiment.devices.scope):
        model = read_language_model(experiment.folder["preset"])
        compile_language_model(model, experiment.recipe)
        return evaluate(model, experiment.corpus)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


"""
## The results
"""


def describe(experiment, result):
    corpus = experiment.corpus
    before, after, saved = (
        f"{loss:.4f} ({corpus.bits_per_byte(loss):.4f} bits per byte)"
        for loss in (
            result["loss_before"],
            result["loss_after"],
            result["loss_of_the_saved_model"],
        )
    )
    return f"""
===== The tuned model wrote =====
{result["sample"]}

Trained {result["trainable_parameters"]:,} of {result["parameters"]:,} \
parameters; {result["laurel_weights_changed"]} of {result["laurel_weights"]} \
LAuReL weights have changed.
Held-out loss before    {before}
              after     {after}
              reloaded  {saved}

Model    {experiment.folder["preset"]}, {experiment.folder["model.keras"]}
Numbers  {experiment.folder["results.json"]}"""


def main(options):
    try:
        experiment = prepare(options)
    except ValueError as error:
        sys.exit(f"error: {error}")
    experiment.folder.claim(comparable(options))
    result = tune(experiment)
    write_json(experiment.folder["results.json"], result)
    clear_checkpoints(experiment.folder["state"])
    print(describe(experiment, result))


if __name__ == "__main__":
    main(parse_options())
