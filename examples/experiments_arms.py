"""The report's sections on what was run, with a table of the arms."""

import language_report
import vision_experiments
import vision_report
from experiment_statistics import with_deviation
from experiments.vision.narrow_resnet import EXPANSION
from experiments.vision.narrow_resnet import STAGE_WIDTHS
from experiments_full_scale import language_part
from experiments_results import measure_of
from experiments_results import not_run
from experiments_setup import describe_language
from experiments_setup import describe_vision
from experiments_tables import signed
from experiments_tables import table
from experiments_verdicts import difference_of
from training_report import format_added

VISION_TITLES = {
    "table_1": "Table 1",
    "figure_3": "Figure 3: the rank of RW+LR; `rw+lr` has r = 16",
    "initialization": "How A starts; `rw+lr` has Glorot's",
    "residual_weights": "Bounds of α and β; `rw+lr` has a softmax, `lr` none",
    "per_channel": "α and β for each channel",
    "sites": "Only identity connections",
    "scale": "α and β that start at 0.5",
}
LANGUAGE_TITLES = {
    "table_5": "Table 5",
    "bfloat16": "Weights of the sum in bfloat16, half of the steps",
    "upcycling": "Trained models that go on, half of the steps",
}
VISION_NOTE = """
Mean and standard deviation over the seeds; differences of the last epoch's
accuracy, in points.
"""
LANGUAGE_NOTE = """
Losses in nats per token. The difference is to the arm in "against", and so is
the step time, a ratio: its mean and its range over the seeds. Runs that share a
machine disturb each other. The step's MB are those that XLA plans.
"""
SHARED_HEADER = ("arm", "seeds", "against", "difference")
LANGUAGE_NUMBERS = ("held_out_loss_before", "held_out_loss", "bits_per_byte")
INTERVALS = ("Student's t, 95 %", "bootstrap, 95 %")
RANKS = """\
Ranks are other shares of the width than in the paper: additions have {low} to
{high} features here and 256 to 2,048 in ResNet-50. r = {rank} at {low} is the
share that r = 16 has at 256.

"""
UPCYCLING = """\
Here LAuReL has r = {rank} and LoRA r = {lora_rank}, so that each alone trains
about as many weights. All arms have the peak rate {learning_rate:g}, which was
tuned for a model that is trained from scratch and for none of these; LoRA
usually wants another one.

"""


def vision_section(results):
    if "vision" not in results:
        return not_run("vision")
    notes = {"figure_3": describe_ranks(results.about("vision")["settings"])}
    tables = [
        f"\n### {VISION_TITLES[name]}\n\n{notes.get(name, '')}"
        + vision_table(results, arms)
        for name, arms in vision_experiments.TABLES.items()
        if any(results.runs("vision", arm) for arm in arms[1:])
    ]
    return describe_vision(results) + VISION_NOTE + "".join(tables)


def describe_ranks(settings):
    """Empty at full scale, which has the paper's widths."""
    if "width" not in settings:
        return ""
    low, high = addition_widths(settings)
    return RANKS.format(low=low, high=high, rank=16 * low // 256)


def addition_widths(settings):
    """Features of the narrow network's first and last additions."""
    width = EXPANSION * settings["width"]
    return width * STAGE_WIDTHS[0], width * STAGE_WIDTHS[-1]


def vision_table(results, arms):
    header = ("accuracy %, last epoch", "best epoch", "parameters added %")
    rows = [
        vision_row(results, arm, arms[0] if arm != arms[0] else None)
        for arm in arms
        if results.runs("vision", arm)
    ]
    return table((*SHARED_HEADER, *INTERVALS, *header), rows)


def vision_row(results, arm, reference):
    runs = results.runs("vision", arm)
    return (
        *difference_cells(results, "vision", arm, reference),
        *(
            with_deviation(vision_report.percent(runs, name), 2)
            for name in ("accuracy_last", "accuracy_best")
        ),
        format_added(runs[0]),
    )


def difference_cells(results, part, arm, reference):
    """Arm, seeds, reference, difference and its two intervals."""
    digits, values = measure_of(part).digits, results.values(part, arm)
    found = None
    if reference:
        found = difference_of(values, results.values(part, reference))
    if found is None:
        return arm, str(len(values)), "", "", "", ""
    return (
        *(arm, str(len(values)), reference, signed(found.mean, digits)),
        interval_cell(found.interval, digits),
        interval_cell(found.bootstrap, digits),
    )


def interval_cell(interval, digits):
    if interval is None:
        return ""
    return " to ".join(signed(end, digits) for end in interval)


def language_section(results):
    if "language" not in results:
        return not_run("language")
    tables = [
        f"\n### {title}\n\n{language_part_note(results, name)}"
        + language_table(results, name)
        for name, title in LANGUAGE_TITLES.items()
        if results.part(name)
    ]
    return describe_language(results) + LANGUAGE_NOTE + "".join(tables)


def language_part_note(results, name):
    """What a part has that the page says otherwise of the first one."""
    if name != "upcycling":
        return ""
    return UPCYCLING.format(**results.part(name)[0]["settings"])


def language_table(results, name):
    part = language_part(name, results.about("language")["scale"])
    arms = dict.fromkeys(row["arm"] for row in results.part(name))
    header = ("loss before", "held-out loss", "bits/byte", "parameters")
    header = (*SHARED_HEADER, *INTERVALS, *header, "step time", "step MB")
    body = [
        language_row(results, name, arm, part.references.get(arm))
        for arm in arms
    ]
    return table(header, body)


def language_row(results, part, arm, reference):
    runs = results.runs(part, arm)
    memory = runs[0]["step_memory_mb"]
    return (
        *difference_cells(results, part, arm, reference),
        *(
            with_deviation(language_report.column(runs, name), 4)
            for name in LANGUAGE_NUMBERS
        ),
        f"{runs[0]['parameters']:,}",
        relative_time(runs, results.runs(part, reference)),
        f"{memory:,.0f}" if memory else "",
    )


def relative_time(runs, others):
    """Over the seeds that both have."""
    before = {run["seed"]: run["tokens_per_second"] for run in others}
    pairs = [
        (run["tokens_per_second"], before[run["seed"]])
        for run in runs
        if run["seed"] in before
    ]
    return language_report.step_time(*zip(*pairs)) if pairs else ""


def tuning_section(results):
    return "\n".join(
        tuning_table(results, name, *column)
        for name, column in {
            "vision_tuning": ("accuracy_last", 100, "accuracy, %", 2),
            "language_tuning": ("held_out_loss", 1, "held-out loss", 4),
        }.items()
    )


def tuning_table(results, name, number, factor, title, digits):
    if name not in results:
        return not_run(name)
    rates = {}
    for row in results.rows(name):
        rate = row["settings"]["learning_rate"]
        rates.setdefault(rate, []).append(factor * row[number])
    body = [
        (f"{rate:g}", with_deviation(rates[rate], digits))
        for rate in sorted(rates)
    ]
    command = results.about(name)["command"]
    return f"`{command}`\n\n" + table(("peak rate", title), body)
