"""
Title: Language models with learned residual connections
Author: The keras_laurel authors
Date created: 2026/11/22
Last modified: 2026/11/22
Description: Train a Llama-style model with and without LAuReL and compare.
Accelerator: TPU
"""
# ruff: noqa: E402

"""
## Introduction

The blocks of a language model add: `x + f(x)`.
[LAuReL](https://arxiv.org/abs/2411.07501) learns how to, for very few more
parameters. The paper trains language models of 157 million, 1 billion and 4
billion parameters with it. This program does that with KerasHub's Llama 3, on
any text set of TensorFlow Datasets or on text that is on this machine already:

    python examples/llm_pretrain.py --demo
    python examples/llm_pretrain.py --help

Each subject has its own file beside this one: `llm_command_line.py`,
`text_datasets.py`, `text_tokenizers.py`, `token_stream.py`, `text_corpus.py`,
`llm_models.py`, `llm_training.py`, `training_log.py`,
`llm_saving.py`, `accelerators.py`, `device_plan.py` and `llm_report.py`.

## Setup

Keras reads the name of its backend when it is imported, so the command line
comes first.
"""

import os
import sys

from llm_command_line import parse_options
from llm_command_line import parse_or_exit

os.environ["KERAS_BACKEND"] = parse_or_exit(
    parse_options, sys.argv, __name__
).backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import platform
import typing

import keras

import keras_laurel
from device_plan import describe_plan
from experiments.devices import Devices
from experiments.devices import check_batch_size
from experiments.devices import find_devices
from experiments.devices import writer_first
from experiments.language.models import Architecture
from experiments.language.models import build_language_model
from experiments.variants import LaurelSizes
from llm_models import check_sequence_length
from llm_models import check_variant
from llm_models import count_parameters
from llm_models import describe_parameters
from llm_models import find_architecture
from llm_report import compare
from llm_report import draw_loss
from llm_report import format_table
from llm_report import summarize
from llm_report import write_history
from llm_report import write_samples
from llm_saving import fresh_keras
from llm_saving import sample_text
from llm_saving import save_language_model
from llm_saving import values_of_all_processes
from llm_training import Recipe
from llm_training import check_orbax
from llm_training import clear_checkpoints
from llm_training import train
from run_folder import RunFolder
from run_folder import read_json
from run_folder import write_json
from settings import pick
from text_corpus import Corpus
from text_corpus import open_corpus

"""
## The experiment

Everything that can be wrong with a command is found here, before a model has
taken any memory.
"""


WITHOUT_EFFECT = (
    "demo",
    "output",
    "data_dir",
    "parameters",
    "tensorboard",
    "distribution",
    "mesh",
)


class Experiment(typing.NamedTuple):
    """What all variants share."""

    options: argparse.Namespace
    folder: RunFolder
    devices: Devices
    architecture: Architecture
    laurel: LaurelSizes
    recipe: Recipe
    corpus: Corpus


def prepare(options):
    """Checks the options, opens the data set and writes its tokens to disk.

    Raises:
        ValueError: If this command cannot be run.
    """
    check_backend(options.backend)
    if options.tensorboard:
        check_tensorboard()
    architecture, laurel = choose_sizes(options)
    check_orbax()
    folder = RunFolder(options.output)
    folder.check(comparable(options))
    devices = find_devices(
        options.distribution,
        options.mesh,
        keras_laurel.distribution.llama_layout_map,
    )
    check_batch_size(options.batch_size, devices)
    check_accumulation(options.accumulate, devices)
    with writer_first(devices):
        corpus = open_corpus(
            options,
            architecture.vocabulary_size,
            architecture.sequence_length,
            devices,
        )
    recipe = Recipe(**pick(vars(options), Recipe))
    return Experiment(
        options, folder, devices, architecture, laurel, recipe, corpus
    )


def choose_sizes(options):
    """The sizes of the models and of LAuReL in them, checked."""
    architecture = find_architecture(
        options.configuration, vocabulary_size=options.vocabulary_size
    )
    length = options.sequence_length or architecture.sequence_length
    check_sequence_length(length, architecture)
    laurel = LaurelSizes(
        options.rank or architecture.paper_rank, options.num_activations
    )
    for variant in options.variants:
        check_variant(variant, architecture, laurel)
    return dataclasses.replace(architecture, sequence_length=length), laurel


def comparable(options):
    """The options that the numbers depend on, rounding aside."""
    return {n: v for n, v in vars(options).items() if n not in WITHOUT_EFFECT}


def check_backend(backend):
    if keras.backend.backend() != backend:
        raise ValueError(
            f"Received `--backend {backend}`, but Keras was already imported "
            f"with {keras.backend.backend()}. Set KERAS_BACKEND={backend} "
            "before the import, or run this file as a program."
        )


def check_accumulation(accumulate, devices):
    """Keras averages gradients in a branch, where `tf.distribute` may not."""
    if accumulate == 1 or devices.count == 1:
        return
    if keras.backend.backend() == "tensorflow":
        raise ValueError(
            f"Received `--accumulate {accumulate}` on {devices}; expected 1, "
            "since Keras cannot accumulate gradients under a strategy of "
            "TensorFlow. Leave it out, or pass `--backend jax`."
        )


def check_tensorboard():
    packages = ("tensorflow", "tensorboard")
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if missing:
        raise ValueError(
            f"Received `--tensorboard` without {' and '.join(missing)}; "
            "Keras writes TensorBoard's files with both packages, whatever "
            f"the backend. Run `pip install {' '.join(missing)}` or leave out "
            "`--tensorboard`: history.csv has the same numbers."
        )


"""
## The variants

A variant builds its model from the seed, trains it and writes the result; the
result of a finished one is read instead. The LAuReL variants begin as what the
baseline begins as. Keras's state is cleared before each, so a variant is the
same whether others ran before it or not.
"""


def run_variant(experiment, variant):
    folder = experiment.folder[variant]
    found = read_json(folder / "result.json")
    if found is not None:
        return found
    if experiment.devices.is_writer:
        print(f"\nTraining {variant}", flush=True)
    with fresh_keras(experiment.options.precision, experiment.devices.scope):
        model, history = train_variant(experiment, variant, folder)
    result = {
        "variant": variant,
        "parameters": model.count_params(),
        "history": history,
    }
    model = bring_together(experiment, variant, model)
    if experiment.devices.is_writer:
        result["sample"] = keep(experiment, model, folder)
        write_json(folder / "result.json", result)
        clear_checkpoints(folder)
    return result


def train_variant(experiment, variant, folder):
    options, devices = experiment.options, experiment.devices
    model = build_variant(experiment, variant)
    is_logged = options.tensorboard and devices.is_writer
    callbacks = [tensorboard(folder)] if is_logged else []
    history = train(
        model,
        experiment.recipe,
        experiment.corpus,
        folder,
        callbacks,
        devices.is_writer,
    )
    return model, history


def build_variant(experiment, variant):
    return build_language_model(
        variant,
        experiment.architecture,
        experiment.laurel,
        experiment.options.seed,
        experiment.options.remat,
    )


def tensorboard(folder):
    return keras.callbacks.TensorBoard(
        str(folder / "tensorboard"), write_graph=False
    )


"""
A model is kept as a KerasHub preset and as a `.keras` file. The sample text
comes from the preset, read back: a file that cannot be read is of no use.

Where several processes hold a part of the model each, the first one brings it
together before it writes.
"""


def bring_together(experiment, variant, model):
    """The model as the first process can save it; every one has to call."""
    devices = experiment.devices
    if devices.process_count == 1:
        return model
    values = values_of_all_processes(model)
    if not devices.is_writer:
        return None
    with fresh_keras(experiment.options.precision, devices.local_scope):
        model = build_variant(experiment, variant)
        model.set_weights(values)
    return model


def keep(experiment, model, folder):
    options, corpus = experiment.options, experiment.corpus
    length = experiment.architecture.sequence_length
    save_language_model(model, corpus.tokenizer, length, folder)
    with fresh_keras(options.precision, experiment.devices.local_scope):
        return sample_text(
            folder / "preset", options.dataset, options.prompt, options.seed
        )


"""
## The results
"""


def report(experiment, results):
    """Writes the files of the results and prints the table."""
    folder = experiment.folder
    summary = summarize(results, count_baseline(experiment))
    write_history(folder["history.csv"], results)
    write_samples(folder["samples.txt"], results)
    write_json(
        folder["results.json"],
        {"variants": summary, **describe_run(experiment)},
    )
    draw_loss(folder["loss.png"], results, describe_title(experiment))
    for result in results:
        print(f"\n===== {result['variant']} wrote =====\n{result['sample']}")
    print(f"\n{format_table(summary)}\n\n{compare(summary)}\n")
    print(describe_files(experiment))


def count_baseline(experiment):
    return count_parameters(
        "baseline", experiment.architecture, experiment.laurel
    )


def describe_run(experiment):
    """What belongs to the numbers: options, data, device and versions."""
    corpus = experiment.corpus
    packages = ("keras", "keras-hub", experiment.options.backend)
    return {
        "config": comparable(experiment.options),
        "architecture": dataclasses.asdict(experiment.architecture),
        "training_tokens": len(corpus.training.stream.tokens),
        "evaluation_bytes": corpus.evaluation_bytes,
        "device": str(experiment.devices),
        "versions": {
            "python": platform.python_version(),
            "keras_laurel": keras_laurel.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def describe_title(experiment):
    options = experiment.options
    return f"{options.configuration} on {options.dataset}, one seed"


def describe_files(experiment):
    folder, options = experiment.folder, experiment.options
    variant = options.variants[-1]
    preset = folder[variant] / "preset"
    # KerasHub needs to be told of mixed precision.
    mixed = options.precision.startswith("mixed")
    dtype = f', dtype="{options.precision}"' if mixed else ""
    return f"""\
Picture  {folder["loss.png"]}
Numbers  {folder["results.json"]}, {folder["history.csv"]}
Samples  {folder["samples.txt"]}
Models   {preset}, {folder[variant] / "model.keras"}

What next
  Look at the picture, or use the model:
    import keras_hub, keras_laurel
    model = keras_hub.models.CausalLM.from_preset("{preset}"{dtype})
    print(model.generate("def ", max_length=100))
  Fine-tune it with LoRA on other text:
    python examples/finetune.py --model {preset}
  All options, and the paper's sizes: python examples/llm_pretrain.py --help"""


def main(options):
    try:
        if options.parameters:
            return print_parameters(options)
        experiment = prepare(options)
        start = describe_start(experiment)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if experiment.devices.is_writer:
        experiment.folder.claim(comparable(options))
        print(start, flush=True)
    results = [run_variant(experiment, v) for v in options.variants]
    if experiment.devices.is_writer:
        report(experiment, results)


def print_parameters(options):
    architecture, laurel = choose_sizes(options)
    for variant in options.variants:
        print(describe_parameters(variant, architecture, laurel), flush=True)


def describe_start(experiment):
    options, corpus = experiment.options, experiment.corpus
    lines = [
        describe_parameters(v, experiment.architecture, experiment.laurel)
        for v in options.variants
    ]
    stream = corpus.training.stream
    return "\n".join(
        [
            *lines,
            f"{options.dataset}: {len(stream.tokens):,} tokens of "
            f"{stream.num_documents:,} documents, "
            f"{corpus.evaluation_bytes:,} bytes held out; one epoch is "
            f"{stream.windows(corpus.training.sequence_length):,} sequences",
            f"Keras {keras.__version__} with {options.backend} on "
            f"{experiment.devices}, {options.precision}; results in "
            f"{options.output}",
            describe_last_plan(experiment),
        ]
    )


def describe_last_plan(experiment):
    """What devices keep in the last variant, most often the largest."""
    variant = experiment.options.variants[-1]
    # AdamW has two; a third where gradients are added up.
    slots = 2 + (experiment.recipe.accumulate > 1)
    return describe_plan(
        variant,
        lambda: build_variant(experiment, variant),
        experiment.devices,
        slots,
    )


if __name__ == "__main__":
    main(parse_options())
