"""What the experiments would cost at the paper's size, from counted flops."""

import argparse
import dataclasses
from pathlib import Path

import language_experiments
import vision_experiments
from experiments_tables import table
from keras_laurel.tpu.chips import CHIPS
from llm_models import find_architecture

CHIP, UTILISATION = "v5e", 0.4
SEEDS = {"vision": 5, "language": 3}
IMAGENET_IMAGES = 1_281_167
LARGE_TOKENS = 500_000_000_000
# Two models each: on 256 chips for about two weeks, on 1,024 for slightly more
# than two days.
PAPER_1B, PAPER_4B = "about 172,000 v5e", "more than 98,000 v4"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A command and what it trains.

    Args:
        text: What it repeats.
        command: Without `--data-dir` and `--output`.
        model: A model of `full_scale.json`.
        runs: Trainings of full length.
        samples: Images or tokens of one.
        paper: The chip-hours that it took the paper, as it is shown.
    """

    text: str
    command: str
    model: str
    runs: float
    samples: int
    paper: str = ""


def plans():
    return [*vision_plans(), *language_plans(), *large_plans()]


def vision_plans():
    samples = IMAGENET_IMAGES * vision_experiments.SCALES["full"]["epochs"]
    rates = vision_experiments.LEARNING_RATES["full"]
    seeds, arms = SEEDS["vision"], vision_experiments.ARMS
    table_1 = vision_experiments.TABLES["table_1"]
    command = "python examples/vision_experiments.py --scale full"
    # The search trains with nine tenths of the images.
    return [
        Plan(text, command + options, "resnet50", runs, samples)
        for text, options, runs, samples in (
            ("The rate for images", " --tune", len(rates), samples * 9 // 10),
            ("Table 1", " --tables table_1", seeds * len(table_1), samples),
            ("Table 1, Figure 3, choices", "", seeds * len(arms), samples),
        )
    ]


def language_plans():
    settings = language_experiments.SCALES["full"]
    name = settings["configuration"]
    batch = settings["batch_size"] * find_architecture(name).sequence_length
    rates = language_experiments.LEARNING_RATES
    command = "python examples/language_experiments.py --scale full "
    return [
        Plan(text, command + options, name, runs, settings["steps"] * batch)
        for text, options, runs in (
            ("The rate for text", "--tune --seeds 1", len(rates)),
            ("Table 5", "--parts table_5", runs_of("table_5")),
            ("bfloat16", "--parts bfloat16", runs_of("bfloat16")),
            (
                "Upcycling, after Table 5",
                *("--parts upcycling", runs_of("upcycling")),
            ),
        )
    ]


def runs_of(name):
    """Trainings of a part, in units of those of Table 5."""
    part = language_part(name, "full")
    steps = language_experiments.SCALES["full"]["steps"]
    share = part.experiment.settings["steps"] / steps
    return SEEDS["language"] * len(part.arms) * share


def language_part(name, scale):
    """A part of the language experiments, as its program makes it."""
    options = argparse.Namespace(
        output=Path("runs"), data_dir=None, scale=scale
    )
    settings = language_experiments.SCALES[scale]
    return language_experiments.PARTS[name](options, settings)


def large_plans():
    """The batches and steps make 0.5 T tokens."""
    command = "python examples/llm_pretrain.py --configuration "
    options = (
        " --variants baseline rw+lr --dataset c4 --precision mixed_bfloat16"
        " --backend jax --distribution fsdp --remat --warmup-steps 4000"
        " --evaluate-every 4000 --batch-size "
    )
    return [
        Plan(
            *(text, command + model + options + sizes, model, 2, LARGE_TOKENS),
            paper,
        )
        for text, model, sizes, paper in (
            ("A 1B model, Table 2", "llm-1b", "512 --steps 476000", PAPER_1B),
            ("A 4B model, Table 3", "llm-4b", "1024 --steps 120000", PAPER_4B),
        )
    ]


def full_scale_table(rows):
    """The plans with their chip-hours.

    Args:
        rows: Those of `full_scale.json`.
    """
    plain = {row["model"]: row for row in rows if row["variant"] == "baseline"}
    header = ("what", "runs", "each run", "flops", f"{CHIP} chip-hours")
    body = [plan_row(plan, plain[plan.model]) for plan in plans()]
    return table((*header, "the paper's", "command"), body)


def plan_row(plan, row):
    length = row["sequence_length"]
    flops = plan.runs * plan.samples * row["training_flops"] / (length or 1)
    unit = "tokens" if length else "images"
    return (
        plan.text,
        f"{plan.runs:g}",
        f"{in_words(plan.samples)} {unit}",
        f"{flops:.1e}",
        f"{chip_hours(flops):,.0f}",
        plan.paper,
        f"`{plan.command}`",
    )


def in_words(count):
    if count < 1e9:
        return f"{count / 1e6:.3g} million"
    return f"{count / 1e9:.3g} billion"


def chip_hours(flops):
    return flops / (CHIPS[CHIP].flops * UTILISATION) / 3600
