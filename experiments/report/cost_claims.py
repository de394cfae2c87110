"""The paper's claims on costs and parameters, and what its runs would cost."""

import pandas

from experiments.configs import all_experiments
from experiments.configs.table_5 import NAMES
from experiments.configs.table_5 import PAPER
from experiments.files import read_json
from experiments.report.statistics import signed
from experiments.report.summary import markdown
from experiments.report.verdicts import NOT_RUN
from experiments.report.verdicts import judge_digits
from experiments.report.verdicts import judge_limit

TABLES = ("table_5", "table_6", "llm_1b", "llm_4b", "llm_4b_v5e", "resnet50")
QUANTITIES = {
    "flops": "flops",
    "bytes_accessed": "bytes",
    "cycles": "cycles",
    "peak_memory": "peak memory",
}
# All language models with alpha were compiled so; it is not the default.
COMPILED_WITH = ", `keep_branch=False`"
# Of the chip's memory.
FULL_FROM = 0.9


# Of the compiler's counts: what it is for, the column of `table_5.PAPER`, and
# what the digits there leave open, in percent. A step of 0.095 s is known to
# 0.5 %, and so is the other one; a peak of 11.65 GB to 0.05 %.
STEP_TIME = ("cycles", "step time", 1, 1.0)
PEAK_MEMORY = ("peak_memory", "peak memory", 2, 0.1)


def of_table_5(variant, kind):
    quantity, name, column, rounding = kind
    plain, now = (PAPER[x][column] for x in ("baseline", variant))
    limit = 100 * (now - plain) / plain
    option = COMPILED_WITH if "rw" in variant.split("+") else ""
    text = f"{NAMES[variant]}{option}, 157M model: {name}"
    where = ("table_5", "train", variant, quantity)
    return text, "Table 5", where, signed(limit, 1), limit + rounding


def of_table_6(text, variant, limit):
    where = ("table_6", "train", variant, "cycles")
    text = f"{text}, 4B model: step time"
    return text, "Table 6", where, signed(limit, 1), limit


def within_noise(program, text):
    """Noise is less than what the paper calls an increase: 1 to 2 %."""
    where = ("llm_1b", program, "rw+lr", "cycles")
    text = f"RW+LR at r = 4{COMPILED_WITH}, LLM-1B: {text}"
    return text, "text", where, "within noise", 1.0


# Text, source, place of the count, the paper's limit, and ours in percent.
COSTS = [
    *(of_table_5(x, kind) for x in NAMES for kind in (STEP_TIME, PEAK_MEMORY)),
    of_table_6(f"RW+LR at r = 64{COMPILED_WITH}", "rw+lr", 2.42),
    of_table_6("One more layer", "deeper", 1.81),
    within_noise("prefill", "latency of prefill"),
    within_noise("decode", "latency per token"),
]
# Text, source, model, variant, unit, and the paper's figure as it is written.
PARAMETERS = [
    ("One more layer", "Table 1", "resnet50", "deeper", "%", "4.37"),
    ("RW", "Table 1", "resnet50", "rw", "%", "0.003"),
    ("RW+LR, r = 16", "Table 1", "resnet50", "rw+lr", "%", "1.68"),
    ("RW+LR+PA", "Table 1", "resnet50", "rw+lr+pa", "%", "2.40"),
    ("PA", "Table 5", "ablation-157m", "pa", "M", "157.22"),
    ("RW+LR+PA", "Table 5", "ablation-157m", "rw+lr+pa", "M", "160.83"),
    ("RW+LR, r = 4", "text", "llm-1b", "rw+lr", "%", "0.012"),
    ("RW+LR, r = 64", "Table 6", "llm-4b", "rw+lr", "B", "4.404"),
    ("One more layer", "Table 6", "llm-4b", "deeper", "%", "3.63"),
]
# As `keras_laurel.costs.tpu.chips` has it, which would import Keras.
CHIP, PEAK_FLOPS, UTILISATION = "v5e", 197e12, 0.4
IMAGENET_IMAGES = 1_281_167
# Two models each: on 256 chips for about two weeks, on 1,024 for slightly more
# than two days.
PAPER_HOURS = {"llm_1b": "about 172,000 v5e", "llm_4b": "more than 98,000 v4"}
LARGE = " --distribution fsdp"


def read_rows(folder):
    """Data frame of every compiled program, with its table's name."""
    rows = []
    for name in TABLES:
        file = read_json(folder / f"tpu_{name}.json") or {"rows": []}
        rows += [{"table": name, **row} for row in file["rows"]]
    return pandas.DataFrame(rows, columns=COLUMNS)


COLUMNS = ["table", "program", "variant", "percent_added", "cost"]


def cost_claims(compiled):
    """Data frame of the claims on costs."""
    return pandas.DataFrame([cost_row(compiled, *claim) for claim in COSTS])


def cost_row(compiled, text, source, where, paper, limit):
    row = {"adds": text, "paper": source, "at most, %": paper}
    *place, quantity = where
    same = compiled[["table", "program", "variant"]] == place
    chosen = compiled[same.all(axis=1)]
    if chosen.empty:
        return {**row, "ours, %": "", "verdict": NOT_RUN}
    found = chosen.iloc[0]
    added, cost = found["percent_added"][quantity], found["cost"]
    fills = cost["peak_memory"] > FULL_FROM * cost["memory"]
    full = fills and quantity == "peak_memory"
    verdict = judge_limit(added, limit, full)
    return {**row, "ours, %": signed(added, 1), "verdict": verdict}


def compiled_table(compiled):
    """Return a table of all compiled programs, in percent over the baseline."""
    rows = []
    for row in compiled.itertuples():
        if row.variant == "baseline":
            continue
        cells = {
            name: signed(row.percent_added[quantity], 1)
            for quantity, name in QUANTITIES.items()
        }
        if not row.cost["fits"]:
            cells["peak memory"] += ", does not fit"
        where = {"table": row.table, "program": row.program}
        rows.append({**where, "variant": row.variant, **cells})
    return markdown(pandas.DataFrame(rows))


def parameter_claims(counted):
    """Data frame of the claims on parameters."""
    counts = {(row["model"], row["variant"]): row for row in counted}
    rows = [parameter_row(counts, *claim) for claim in PARAMETERS]
    return pandas.DataFrame(rows)


def parameter_row(counts, text, source, model, variant, unit, paper):
    row = {
        "has": f"{text}, {model}",
        "source": source,
        "paper": f"{paper} {unit}",
    }
    pair = [counts.get((model, name)) for name in (variant, "baseline")]
    if None in pair:
        return {**row, "ours": "", "verdict": NOT_RUN}
    ours = in_unit(*(x["parameters"] for x in pair), unit)
    decimals = len(paper.partition(".")[2])
    verdict = judge_digits(f"{ours:.{decimals}f}", paper)
    # Two digits at least, of what the paper's decimals would round to zero.
    ours = f"{ours:.2g}" if ours < 0.01 else f"{ours:.{decimals}f}"
    return {**row, "ours": f"{ours} {unit}", "verdict": verdict}


def in_unit(count, plain, unit):
    if unit == "%":
        return 100 * (count - plain) / plain
    return count / {"M": 1e6, "B": 1e9}[unit]


def full_scale_table(counted):
    """The experiments at full scale with their chip-hours."""
    if not counted:
        return "Not counted yet: `python -m experiments.costs.full_scale`\n"
    plain = {x["model"]: x for x in counted if x["variant"] == "baseline"}
    rows = [
        plan(experiment, plain)
        for name, experiment in all_experiments().items()
        if name.endswith("_full") or name in PAPER_HOURS
    ]
    return markdown(pandas.DataFrame(rows))


def plan(experiment, plain):
    settings = experiment.settings
    runs = experiment.seeds * len(experiment.arms)
    if experiment.is_vision:
        row, unit = plain["resnet50"], "images"
        share = 0.9 if "90%" in settings.train_split else 1
        samples = round(share * IMAGENET_IMAGES) * settings.epochs
        flops = runs * samples * row["training_flops"]
    else:
        row, unit, samples = plain[settings.model], "tokens", settings.tokens
        per_token = row["training_flops"] / row["sequence_length"]
        flops = runs * samples * per_token
    hours = flops / (PEAK_FLOPS * UTILISATION) / 3600
    large = LARGE if experiment.name in PAPER_HOURS else ""
    return {
        "what": experiment.title,
        "runs": str(runs),
        "each run": f"{in_words(samples)} {unit}",
        "flops": f"{flops:.1e}",
        f"{CHIP} chip-hours": f"{hours:,.0f}",
        "the paper's": PAPER_HOURS.get(experiment.name, ""),
        "command": f"`python -m experiments {experiment.name}{large}`",
    }


def in_words(count):
    if count < 1e9:
        return f"{count / 1e6:.3g} million"
    return f"{count / 1e9:.3g} billion"
