"""
Title: Evaluating language models with LAuReL
Author: The keras_laurel authors
Date created: 2026/11/22
Last modified: 2026/11/22
Description: KerasHub models under EleutherAI's lm-evaluation-harness.
Accelerator: GPU
"""
# ruff: noqa: E402

"""
## Introduction

The tables of the LAuReL paper compare language models on tasks such as MMLU
and GSM8K. EleutherAI's lm-evaluation-harness has these tasks, and
`experiments.evaluation.HarnessLM` lets it ask any CausalLM of KerasHub. This
program evaluates one model, or several side by side:

    python examples/evaluate.py --list
    python examples/evaluate.py --model plain/preset laurel/preset \
        --tasks hellaswag boolq --limit 100

## Setup

Keras reads the name of its backend when it is imported, so the command line
comes first.
"""

import os
import sys

from evaluate_command_line import parse_options
from llm_command_line import parse_or_exit

os.environ["KERAS_BACKEND"] = parse_or_exit(
    parse_options, sys.argv, __name__
).backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import contextlib
import importlib
import json
import math
from pathlib import Path

import keras
import keras_hub

import keras_laurel
from evaluate_tasks import describe

try:
    from experiments.evaluation import HarnessLM
except ImportError as error:
    # Told as a wrong command line is, without a traceback.
    sys.exit(f"{sys.argv[0]}: error: {error}")

import lm_eval
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable

from llm_saving import fresh_keras
from llm_saving import read_preset
from run_folder import write_json

"""
## The tasks

What can be wrong with the names is found before a model is read. A folder
given with `--include-path` brings tasks of its own.
"""


def find_tasks(options):
    """The harness' catalogue of tasks.

    Raises:
        ValueError: If it lacks one that was asked for.
    """
    manager = TaskManager(include_path=options.include_path)
    unknown = [x for x in options.tasks if not manager.match_tasks([x])]
    if unknown:
        raise ValueError(
            f"Received `--tasks {' '.join(options.tasks)}`, expected names of "
            f"tasks in the harness. Replace {', '.join(unknown)}, or name the "
            "folder of their YAML files with `--include-path`; "
            "`lm-eval ls tasks` lists what there is."
        )
    return manager


def check_models(options):
    """Raises for a model that is not there, as far as this machine knows."""
    if not options.model:
        raise ValueError(
            "Received no `--model`; expected a KerasHub preset or a .keras "
            "file. Name one, or use `--list`."
        )
    missing = [path for path in options.model if not may_be_read(path)]
    if missing:
        raise ValueError(
            f"Received `--model {' '.join(options.model)}`, expected .keras "
            "files, folders of presets and names of presets. Replace "
            f"{', '.join(missing)}; a preset on a hub begins with its "
            "address, such as hf://."
        )


def may_be_read(path):
    on_a_hub = "://" in path or path in keras_hub.models.CausalLM.presets
    file = Path(path) if path.endswith(".keras") else Path(path, "config.json")
    return on_a_hub or file.exists()


"""
## The models

A `.keras` file brings its precision along; a preset is read in the one that
`--precision` names.
"""


def load(path):
    if path.endswith(".keras"):
        return keras.models.load_model(path, compile=False)
    return read_preset(path)


def read_model(path, options):
    """A model as the harness wants it."""
    return HarnessLM(
        load(path),
        batch_size=options.batch_size,
        max_length=options.max_length,
        max_gen_toks=options.max_gen_toks,
    )


"""
## Evaluation

The harness makes prompts from the tasks, the adapter answers them, and the
harness turns the answers into metrics. Results are written after each model, so
that those of the first are kept if the second does not fit.
"""


def evaluate(path, options, tasks):
    """The harness' results of one model, as plain values."""
    with fresh_keras(options.precision, contextlib.nullcontext):
        results = lm_eval.simple_evaluate(
            model=read_model(path, options),
            tasks=tasks.match_tasks(options.tasks),
            task_manager=tasks,
            num_fewshot=options.num_fewshot,
            limit=options.limit,
            batch_size=options.batch_size,
            confirm_run_unsafe_code=options.allow_code,
            log_samples=False,
        )
    # Long, and about PyTorch.
    results.pop("pretty_env_info", None)
    return json.loads(json.dumps(results, default=handle_non_serializable))


def evaluate_all(options, tasks):
    """The results by model; the file has those that there are, after each."""
    results = {}
    for path in options.model:
        try:
            results[path] = evaluate(path, options, tasks)
        except ValueError as error:
            sys.exit(
                f"error: {path}: {error} This program has the options "
                "`--max-length`, `--max-gen-toks` and `--batch-size`."
            )
        write_results(options, results)
    return results


def write_results(options, results):
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        options.output,
        {
            "options": comparable(options),
            "keras_laurel": keras_laurel.__version__,
            "models": results,
        },
    )


def comparable(options):
    """The options that the numbers depend on."""
    without = ("list", "left_out", "output")
    return {k: v for k, v in vars(options).items() if k not in without}


"""
## The results

The standard error of a difference is that of two independent samples. The
models were asked the same questions, so the true one is smaller as a rule.
"""


def metrics(results):
    """Value and standard error, or `None`, by task and metric."""
    found = {}
    for task, values in results["results"].items():
        for key, value in values.items():
            name, _, rule = key.partition(",")
            if not rule or name.endswith("_stderr"):
                continue
            error = values.get(f"{name}_stderr,{rule}")
            error = error if isinstance(error, float) else None
            label = name if rule == "none" else f"{name}, {rule}"
            found[task, label] = value, error
    return found


def subtract(one, other):
    """The difference of two metrics and its standard error, if known."""
    (value, error), (first, first_error) = one, other
    if error is None or first_error is None:
        return value - first, None
    return value - first, math.hypot(error, first_error)


def show(number):
    value, error = number
    return f"{value:.4f}" + ("" if error is None else f" ± {error:.4f}")


def describe_results(all_results):
    """A line for each model and metric, with what the first has less."""
    found = {path: metrics(results) for path, results in all_results.items()}
    baseline, *_ = found.values()
    lines = []
    for task, label in baseline:
        lines.append(f"{task}: {label}")
        for path, values in found.items():
            value = values[task, label]
            line = f"  {show(value)}  {path}"
            if values is not baseline:
                difference = subtract(value, baseline[task, label])
                line += f"  (difference {show(difference)})"
            lines.append(line)
    return "\n".join(lines)


def describe_left_out(tasks):
    return "\n".join(["Left out:", *map(describe, tasks)]) if tasks else ""


def import_namesake():
    """Tasks that run code import Hugging Face's package `evaluate`, and would
    find this program, whose folder comes first."""
    paths, here = sys.path[:], Path(__file__).resolve().parent
    sys.path[:] = [path for path in paths if Path(path).resolve() != here]
    importlib.import_module("evaluate")
    sys.path[:] = paths


def main(options):
    if options.allow_code:
        os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    try:
        check_models(options)
        tasks = find_tasks(options)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(describe_results(evaluate_all(options, tasks)))
    print(describe_left_out(options.left_out))
    print(f"Numbers  {options.output}")


if __name__ == "__main__":
    import_namesake()
    main(parse_options())
