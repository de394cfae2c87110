"""Estimate the cost of the experiments at the paper's size, from FLOPs."""

import pandas

from experiments.report.results import is_vision
from experiments.report.summary import markdown

# As `keras_laurel.costs.tpu.chips` has it, which would import Keras.
CHIP, PEAK_FLOPS, UTILISATION = "v5e", 197e12, 0.4
IMAGENET_IMAGES = 1_281_167
# Two models each: on 256 chips for about two weeks, on 1,024 for slightly more
# than two days.
PAPER = {"llm_1b": "about 172,000 v5e", "llm_4b": "more than 98,000 v4"}
LARGE = " --distribution fsdp"


def full_scale_table(experiments, counted):
    """The experiments at full scale with their chip-hours."""
    plain = {x["model"]: x for x in counted if x["variant"] == "baseline"}
    rows = [plan(experiment, plain) for experiment in experiments]
    return markdown(pandas.DataFrame(rows))


def plan(experiment, plain):
    settings = experiment.settings
    runs = experiment.seeds * len(experiment.arms)
    if is_vision(experiment):
        row, unit = plain["resnet50"], "images"
        share = 0.9 if "90%" in settings.train_split else 1
        samples = round(share * IMAGENET_IMAGES) * settings.epochs
        flops = runs * samples * row["training_flops"]
    else:
        row, unit, samples = plain[settings.model], "tokens", settings.tokens
        per_token = row["training_flops"] / row["sequence_length"]
        flops = runs * samples * per_token
    hours = flops / (PEAK_FLOPS * UTILISATION) / 3600
    large = LARGE if experiment.name in PAPER else ""
    return {
        "what": experiment.title,
        "runs": str(runs),
        "each run": f"{in_words(samples)} {unit}",
        "flops": f"{flops:.1e}",
        f"{CHIP} chip-hours": f"{hours:,.0f}",
        "the paper's": PAPER.get(experiment.name, ""),
        "command": f"`python -m experiments {experiment.name}{large}`",
    }


def in_words(count):
    if count < 1e9:
        return f"{count / 1e6:.3g} million"
    return f"{count / 1e9:.3g} billion"
