"""
Title: The paper's language experiments, with seeds
Author: The keras_laurel authors
Date created: 2026/11/22
Last modified: 2026/11/22
Description: Table 5, bfloat16 and upcycling: every arm with several seeds.
Accelerator: TPU
"""
# ruff: noqa: E402

"""
## Introduction

One seed does not show which of two models is better. This program trains every
arm of three experiments with several seeds, all arms of a seed on the same
text in the same order, and reports means, deviations and paired differences:

    python examples/language_experiments.py --workers 2
    python examples/language_experiments.py --help

What one run does is in `language_trials.py`; how runs are spread over
processes and kept, in `experiment_runs.py`; the tables are made in
`language_report.py`.

## Setup

Keras reads the name of its backend when it is imported, so the command line
comes first. What JAX has compiled is kept, so that an arm is compiled with its
first seed only.
"""

import os
import sys

from experiment_command_line import keep_compiled
from language_command_line import parse_options
from llm_command_line import parse_or_exit

OPTIONS = parse_or_exit(parse_options, sys.argv, __name__)
os.environ["KERAS_BACKEND"] = OPTIONS.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if __name__ == "__main__":
    keep_compiled(OPTIONS.output)

import dataclasses
import functools
import itertools

import keras

import language_trials
from experiment_runs import Arm
from experiment_runs import Experiment
from experiment_runs import run_all
from experiment_runs import versions
from experiments.devices import check_batch_size
from experiments.devices import find_devices
from language_report import NOTE
from language_report import describe_results
from language_trials import Texts
from llm_training import check_orbax
from run_folder import write_json

"""
## The scales

The reduced model has the paper's blocks and is narrow. Its rank is the paper's
share of the width, 32 of 784.
"""

SHARED = {
    "schedule": "cosine",
    "weight_decay": 0.1,
    "num_activations": 3,
    "precision": "float32",
    "weights_in": "float32",
    "granularity": "block",
    "train_split": "train",
}
SCALES = {
    "reduced": {
        **SHARED,
        "configuration": "ablation-narrow",
        "dataset": "python_stdlib",
        "eval_split": "test",
        "max_tokens": None,
        "steps": 720,
        "rounds": 4,
        "batch_size": 4,
        "accumulate": 1,
        "evaluation_batches": 64,
        # The best of results/language_tuning.json.
        "learning_rate": 6e-3,
        "rank": 2,
    },
    # 10 B tokens; gradients of 4 batches make an update, 0.5 M tokens. The
    # rate has not been tuned: pass that which `--scale full --tune` finds best.
    "full": {
        **SHARED,
        "configuration": "ablation-157m",
        "precision": "mixed_bfloat16",
        "dataset": "c4",
        "eval_split": "validation",
        "max_tokens": 10_100_000_000,
        "steps": 76_000,
        "rounds": 38,
        "batch_size": 128,
        "accumulate": 4,
        "evaluation_batches": 64,
        "learning_rate": 3e-3,
        "rank": 32,
    },
}
NEW_TEXT = {
    "reduced": {"dataset": "shakespeare"},
    "full": {"dataset": "wiki40b/en"},
}
# LoRA of rank 2 on queries and values trains as many weights, within 1 %, as
# these ranks of LAuReL.
TUNED_ALONE = {
    "reduced": {"rank": 5, "lora_rank": 2},
    "full": {"rank": 28, "lora_rank": 2},
}
CHANGEABLE = ("configuration", "steps", "batch_size", "learning_rate")

LEARNING_RATES = (1.5e-3, 3e-3, 6e-3, 1.2e-2)

TABLE_5_VARIANTS = ("rw", "lr", "pa", "rw+lr", "rw+lr+pa")

"""
## The arms

A part is an experiment of its own. Each of its arms but the first is compared
with another one of the same seeds.
"""


@dataclasses.dataclass(frozen=True)
class Part:
    """An experiment and what is compared in it.

    Args:
        experiment: An `Experiment`.
        arms: List of `Arm`.
        texts: The `Texts` of its runs.
        references: Dict, the name of the arm that an arm is compared with.
        goes_on_from: The part whose arms have to be trained before, if any.
    """

    experiment: Experiment
    arms: list
    texts: Texts
    references: dict
    goes_on_from: "Part | None" = None


def texts_of(options):
    return Texts(options.output / "texts", options.data_dir)


def from_scratch(options, name, settings, texts):
    """An experiment whose runs train new models."""
    train = functools.partial(language_trials.train_from_scratch, texts=texts)
    return Experiment(options.output / name, settings, train)


def table_5(options, settings):
    """Every variant around blocks, and every one of LAuReL at additions."""
    arms = [
        Arm(variant, {"variant": variant})
        for variant in ("baseline", "deeper", *TABLE_5_VARIANTS)
    ]
    arms += [
        Arm(
            f"{variant}-sublayer",
            {"variant": variant, "granularity": "sublayer"},
        )
        for variant in TABLE_5_VARIANTS
    ]
    texts = texts_of(options)
    experiment = from_scratch(options, "table_5", settings, texts)
    references = {arm.name: "baseline" for arm in arms[1:]}
    return Part(experiment, arms, texts, references)


"""
Under mixed_bfloat16 the library keeps alpha, beta and gamma in float32 and
applies them there. The arms `-cast` apply them rounded to bfloat16, in which
1.002 is 1; the sum stays in float32, so that nothing else differs.
"""


def bfloat16(options, settings):
    settings = {
        **settings,
        "precision": "mixed_bfloat16",
        "steps": settings["steps"] // 2,
    }
    arms, references = [Arm("baseline", {"variant": "baseline"})], {}
    for variant in ("rw", "pa", "rw+lr"):
        cast = {"variant": variant, "weights_in": "bfloat16"}
        arms.append(Arm(variant, {"variant": variant}))
        arms.append(Arm(f"{variant}-cast", cast))
        references[variant] = "baseline"
        references[f"{variant}-cast"] = variant
    texts = texts_of(options)
    experiment = from_scratch(options, "bfloat16", settings, texts)
    return Part(experiment, arms, texts, references)


"""
Upcycling goes on from the baselines of Table 5 with a fresh optimizer and the
same schedule: on the same text, as pretraining does, and on another one, where
LoRA is compared with LAuReL's weights alone, of which there are as many.
"""


def upcycling(options, settings):
    part, texts = table_5(options, settings), texts_of(options)
    baselines = dataclasses.replace(part, arms=part.arms[:1])
    train = functools.partial(
        language_trials.continue_training,
        texts=texts,
        find_trained=functools.partial(
            baselines.experiment.run_folder, *baselines.arms
        ),
    )
    settings = {
        **settings,
        **TUNED_ALONE[options.scale],
        "variant": "rw+lr",
        "pretrained_on": settings["dataset"],
        "pretraining_steps": settings["steps"],
        "steps": settings["steps"] // 2,
    }
    new_text = NEW_TEXT[options.scale]
    arms = [Arm(method, {"method": method}) for method in ("plain", "laurel")]
    arms += [
        Arm(f"{method}-new-text", {"method": method, **new_text})
        for method in language_trials.METHODS
    ]
    references = {
        "laurel": "plain",
        "laurel-new-text": "plain-new-text",
        "lora-new-text": "plain-new-text",
        "laurel-alone-new-text": "lora-new-text",
    }
    experiment = Experiment(options.output / "upcycling", settings, train)
    return Part(experiment, arms, texts, references, baselines)


PARTS = {"table_5": table_5, "bfloat16": bfloat16, "upcycling": upcycling}

"""
The learning rate is chosen once, on the baseline, by the loss on documents
that are cut from the training text. All arms then use it.
"""


def tuning(options, settings):
    settings = {
        **settings,
        "variant": "baseline",
        "train_split": "train[:95%]",
        "eval_split": "train[95%:]",
    }
    arms = [
        Arm(f"rate_{rate:g}", {"learning_rate": rate})
        for rate in LEARNING_RATES
    ]
    texts = Texts(options.output / "tuning_texts", options.data_dir)
    experiment = from_scratch(options, "tuning", settings, texts)
    return Part(experiment, arms, texts, {})


"""
## Before the runs

Everything that can be wrong with a command is found here.
"""


def prepare(options):
    """The chosen parts by name, with the text of each on disk.

    Raises:
        ValueError: If this command cannot be run.
    """
    check_orbax()
    settings = choose_settings(options)
    check_batch_size(settings["batch_size"], find_devices())
    parts = choose_parts(options, settings)
    for part in parts.values():
        prepare_texts(part)
        for arm, seed in itertools.product(part.arms, range(options.seeds)):
            part.experiment.result(arm, seed)
    return parts


def choose_settings(options):
    """The scale's settings, with those that the command line changes."""
    given = {
        name: getattr(options, name)
        for name in CHANGEABLE
        if getattr(options, name) is not None
    }
    settings = {**SCALES[options.scale], **given}
    check_steps(settings)
    return settings


def check_steps(settings):
    """Half of the steps have to make whole rounds too."""
    steps, multiple = settings["steps"], 2 * settings["rounds"]
    if steps % multiple:
        raise ValueError(
            f"Received `--steps {steps}`; expected a multiple of {multiple}, "
            f"so that all of them, and half of them, make {settings['rounds']} "
            f"rounds. Pass `--steps {steps - steps % multiple + multiple}`."
        )


def choose_parts(options, settings):
    if options.tune:
        return {"tuning": tuning(options, settings)}
    parts = {name: PARTS[name](options, settings) for name in options.parts}
    if options.arms is None:
        return parts
    check_arms(options.arms, parts)
    chosen = {
        name: [arm for arm in part.arms if arm.name in options.arms]
        for name, part in parts.items()
    }
    return {
        name: dataclasses.replace(parts[name], arms=arms)
        for name, arms in chosen.items()
        if arms
    }


def check_arms(names, parts):
    """Raises for a name that no part has."""
    known = [arm.name for part in parts.values() for arm in part.arms]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"Received `--arms {' '.join(names)}`; expected some of "
            f"{', '.join(dict.fromkeys(known))}. Replace {', '.join(unknown)}."
        )


def prepare_texts(part):
    """Writes the tokens, before several processes want to."""
    if part.goes_on_from is not None:
        open_texts(part.goes_on_from)
    open_texts(part)


def open_texts(part):
    """Dict, the `Corpus` of each data set of a part."""
    settings = [part.experiment.settings_of(arm) for arm in part.arms]
    return {
        name: part.texts.open(one, 0, find_devices())
        for name, one in {each["dataset"]: each for each in settings}.items()
    }


"""
## The runs and the results
"""


def run(part, options):
    if part.goes_on_from is not None:
        run(part.goes_on_from, options)
    name = part.experiment.folder.name
    print(f"\n{name}: {len(part.arms)} arms, {options.seeds} seeds", flush=True)
    seeds = range(options.seeds)
    return run_all(part.experiment, part.arms, seeds, options.workers)


def report(options, parts, results):
    """Writes the numbers of all runs and prints a table for each part."""
    rows = []
    for name, part in parts.items():
        rows += [{"part": name, **result} for result in results[name]]
        table = describe_results(results[name], part.references)
        print(f"\n{name}\n{table}")
    print(f"\n{NOTE}")
    about = describe_command(options, parts)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.results, {"about": about, "rows": rows})
    print(f"\nNumbers  {options.results}")


def describe_command(options, parts):
    """What belongs to the numbers and is the same in all runs."""
    return {
        "command": " ".join(
            ["python examples/language_experiments.py", *sys.argv[1:]]
        ),
        "scale": options.scale,
        "backend": keras.backend.backend(),
        "workers": options.workers,
        "cores": os.cpu_count(),
        "device": str(find_devices()),
        "texts": {name: text_sizes(part) for name, part in parts.items()},
        "versions": versions(),
    }


def text_sizes(part):
    return {
        name: {
            "training_tokens": len(corpus.training.stream.tokens),
            "evaluation_tokens": corpus.evaluation_tokens,
            "evaluation_bytes": corpus.evaluation_bytes,
        }
        for name, corpus in open_texts(part).items()
    }


def main(options):
    try:
        parts = prepare(options)
    except ValueError as error:
        sys.exit(f"error: {error}")
    results = {name: run(part, options) for name, part in parts.items()}
    report(options, parts, results)


if __name__ == "__main__":
    main(OPTIONS)
