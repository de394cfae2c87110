"""The paper's cost tables, from the TPU compiler: no TPU is needed.

Each table compiles the training step of a model of the paper for the slice of
chips named in `TABLES`, plain and with LAuReL, and sets what a chip needs
beside the paper's measurements. Compiling takes minutes for each program;
programs that were compiled before are not compiled again.

    make tpu-tables
    python -m experiments.costs.tpu_tables --tables table_5

Needs KERAS_BACKEND=jax and the extra `tpu`.
"""

import argparse
import dataclasses
import textwrap

import keras
import pandas
from matplotlib.figure import Figure

from experiments.costs.training_case import TrainingCase
from experiments.files import RESULTS
from experiments.files import made_with
from experiments.files import write_json
from keras_laurel.costs.tpu.chips import num_chips
from keras_laurel.costs.tpu.comparison import compare
from keras_laurel.costs.tpu.comparison import overheads


@dataclasses.dataclass(frozen=True)
class Table:
    """The programs that a table compares.

    Args:
        model: As `TrainingCase` has it.
        topology: The slice of chips.
        batch_size: Global batch.
        variants: Besides the baseline: names of variants, or of `cases`.
        distribution: As `make_distribution` takes it.
        programs: What is compiled of each model.
        options: Arguments of `TrainingCase`.
        cases: Its arguments for one variant, by the name that the table has
            for it.
        paper: The paper's step time and peak memory over its baseline's, in
            percent, by variant; on other chips than these.
    """

    model: str
    topology: str
    batch_size: int
    variants: tuple
    distribution: str = "data"
    programs: tuple = ("train",)
    options: dict = dataclasses.field(default_factory=dict)
    cases: dict = dataclasses.field(default_factory=dict)
    paper: dict = dataclasses.field(default_factory=dict)


ALL = ("rw", "lr", "pa", "rw+lr", "rw+lr+pa", "deeper")
# By the stages that have connections, and by rank.
CHOICES = {
    "rw+lr in stages 2 to 4": {"variant": "rw+lr", "stages": (2, 3, 4)},
    "rw+lr in stages 3 and 4": {"variant": "rw+lr", "stages": (3, 4)},
    "rw+lr in stage 4": {"variant": "rw+lr", "stages": (4,)},
    "rw+lr, rank 4": {"variant": "rw+lr", "rank": 4},
    "rw+lr, rank 64": {"variant": "rw+lr", "rank": 64},
    "pa in stages 3 and 4": {"variant": "pa", "stages": (3, 4)},
    "rw+lr+pa in stages 3 and 4": {"variant": "rw+lr+pa", "stages": (3, 4)},
}
TABLES = {
    "table_5": Table(
        "ablation-157m",
        "v5e:4x4",
        128,
        ALL,
        paper={
            "rw": (0.0, 2.4),
            "lr": (3.2, 5.5),
            "pa": (5.3, 7.7),
            "rw+lr": (4.2, 7.9),
            "rw+lr+pa": (9.5, 10.7),
            "deeper": (10.5, 13.6),
        },
    ),
    "table_6": Table(
        "llm-4b",
        "v5e:4x4",
        16,
        ("rw+lr", "deeper"),
        "fsdp",
        options={"remat": True},
        paper={"rw+lr": (2.42, None), "deeper": (1.81, None)},
    ),
    "llm_1b": Table(
        "llm-1b",
        "v5e:16x16",
        512,
        ("rw+lr",),
        "fsdp",
        ("train", "prefill", "decode"),
    ),
    "llm_4b": Table(
        "llm-4b",
        # 1,024 chips do not divide its weights.
        "v4:4x8x8",
        256,
        ("rw+lr",),
        "fsdp",
        options={"remat": True},
    ),
    "llm_4b_v5e": Table(
        "llm-4b",
        "v5e:16x16",
        256,
        ("rw+lr",),
        "fsdp",
        options={"remat": True},
    ),
    "resnet50": Table("resnet50", "v5e:4x4", 4096, ALL),
    "resnet50_choices": Table(
        "resnet50", "v5e:4x4", 4096, tuple(CHOICES), cases=CHOICES
    ),
}
# What a picture shows, by the names in a table's rows.
QUANTITIES = {
    "cycles": "scheduled cycles",
    "bytes_accessed": "bytes accessed",
    "peak_memory": "peak memory",
}
PAPER = {
    "paper_percent_step_time": "step time, paper",
    "paper_percent_memory": "peak memory, paper",
}
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    names = parser.parse_args().tables
    keras.config.set_dtype_policy("mixed_bfloat16")
    for name in names:
        make_table(name, TABLES[name])


def make_table(name, table):
    """Compile what a table needs, print it, and write it after each part."""
    rows, costs = [], {}
    for program in table.programs:
        costs = {}
        for variant in ("baseline", *table.variants):
            options = {"variant": variant, **table.cases.get(variant, {})}
            case = TrainingCase(table.model, **options, **table.options)
            costs[variant] = case.compile(
                table.batch_size,
                table.distribution,
                program=program,
                topology=table.topology,
            )
            rows.append(row_of(table, variant, program, costs))
            save(name, table, rows)
        print(f"\n{name}: {table.model} on {table.topology}, {program}")
        print(compare(costs), flush=True)
    title = f"Training step of {table.model}, one chip of {table.topology}"
    draw(rows, title, RESULTS / f"tpu_{name}.png")


def row_of(table, variant, program, costs):
    step_time, memory = table.paper.get(variant, (None, None))
    return {
        "program": program,
        "variant": variant,
        "percent_added": overheads(costs[variant], costs["baseline"]),
        "paper_percent_step_time": step_time,
        "paper_percent_memory": memory,
        "cost": costs[variant].to_dict(),
    }


def save(name, table, rows):
    about = dict(
        command=f"python -m experiments.costs.tpu_tables --tables {name}",
        unit="for each chip: flops, bytes, scheduled cycles; percent over "
        "the baseline",
        setting=f"{table.model}, {table.topology} ({num_chips(table.topology)}"
        f" chips), global batch {table.batch_size}, {table.distribution}, "
        f"mixed bfloat16, compiler effort default, {table.options}",
        run_on=made_with(),
    )
    write_json(RESULTS / f"tpu_{name}.json", {**about, "rows": rows})


def draw(rows, title, path):
    """One group of bars for each variant of a training step.

    Returns:
        The matplotlib `Figure`.
    """
    rows = pandas.DataFrame(rows)
    rows = rows[(rows["program"] == "train") & (rows["variant"] != "baseline")]
    added = pandas.DataFrame(list(rows["percent_added"]), rows.index)
    series = pandas.concat(
        [
            added[[*QUANTITIES]].rename(columns=QUANTITIES),
            rows[[*PAPER]].rename(columns=PAPER).dropna(axis=1, how="all"),
        ],
        axis=1,
    ).astype(float)
    series.index = [textwrap.fill(name, 12) for name in rows["variant"]]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    series.fillna(0).plot.bar(ax=axes, width=0.8, color=COLOURS, rot=0)
    for bars, (_, values) in zip(axes.containers, series.items()):
        axes.bar_label(
            bars,
            ["" if pandas.isna(v) else f"{v:.1f}" for v in values],
            fontsize=8,
            padding=2,
            rotation=90,
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.15)
    axes.set_ylabel("added to the baseline, %")
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return figure


if __name__ == "__main__":
    main()
