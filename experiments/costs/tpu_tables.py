"""The paper's cost tables, from the TPU compiler: no TPU is needed.

Each table compiles the training step of a model of the paper for the slice of
chips named in `TABLES`, plain and with LAuReL. Compiling takes minutes for each
program; programs that were compiled before are not compiled again.

    make tpu-tables
    python -m experiments.costs.tpu_tables --tables table_5

Needs KERAS_BACKEND=jax and the extra `tpu`.
"""

import argparse
import dataclasses

import keras

from experiments.costs.training_case import TrainingCase
from experiments.files import RESULTS
from experiments.files import made_with
from experiments.files import write_json
from keras_laurel.costs.tpu.chips import num_chips
from keras_laurel.costs.tpu.comparison import compare
from keras_laurel.costs.tpu.comparison import overheads


@dataclasses.dataclass(frozen=True)
class Table:
    """The programs that a table compares."""

    model: str
    topology: str
    # Of all chips.
    batch_size: int
    # Besides the baseline; some are names in `CHOICES`.
    variants: tuple
    distribution: str = "data"
    programs: tuple = ("train",)
    # Further arguments of `TrainingCase`.
    options: dict = dataclasses.field(default_factory=dict)


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
    "table_5": Table("ablation-157m", "v5e:4x4", 128, ALL),
    "table_6": Table(
        "llm-4b",
        "v5e:4x4",
        16,
        ("rw+lr", "deeper"),
        "fsdp",
        options={"remat": True},
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
    "resnet50_choices": Table("resnet50", "v5e:4x4", 4096, tuple(CHOICES)),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument(
        "--tables",
        nargs="+",
        choices=["all", *TABLES],
        help="those to compile, for minutes to hours each; none by default",
    )
    names = parser.parse_args().tables
    if names is None:
        return parser.print_help()
    names = TABLES if "all" in names else names
    keras.config.set_dtype_policy("mixed_bfloat16")
    for name in names:
        make_table(name, TABLES[name])


def make_table(name, table):
    """Compile what a table needs, print it, and write it after each part."""
    rows = []
    for program in table.programs:
        costs = {}
        for variant in ("baseline", *table.variants):
            choice = CHOICES.get(variant, {"variant": variant})
            case = TrainingCase(table.model, **choice, **table.options)
            costs[variant] = case.compile(
                table.batch_size,
                table.distribution,
                program=program,
                topology=table.topology,
            )
            rows.append(row_of(variant, program, costs))
            save(name, table, rows)
        print(f"\n{name}: {table.model} on {table.topology}, {program}")
        print(compare(costs), flush=True)


def row_of(variant, program, costs):
    return {
        "program": program,
        "variant": variant,
        "percent_added": overheads(costs[variant], costs["baseline"]),
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


if __name__ == "__main__":
    main()
