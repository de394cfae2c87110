"""The numbers in `results/` that the report is made of."""

import dataclasses
from pathlib import Path

from experiments_verdicts import ACCURACY
from experiments_verdicts import LOSS
from run_folder import read_json

FOLDER = Path(__file__).parent.parent / "results"
TPU_TABLES = (
    "table_5",
    "table_6",
    "llm_1b",
    "llm_4b",
    "llm_4b_v5e",
    "resnet50",
)
PROGRAMS = {
    "vision": "examples/vision_experiments.py --workers 2",
    "vision_tuning": "examples/vision_experiments.py --tune --workers 2",
    "language": "examples/language_experiments.py --workers 2",
    "language_tuning": (
        "examples/language_experiments.py --tune --seeds 1 --workers 2"
    ),
}
COMMANDS = {
    **{
        name: f"python {program} --results results/{name}.json"
        for name, program in PROGRAMS.items()
    },
    **{
        f"tpu_{name}": f"python benchmarks/tpu_tables.py --tables {name}"
        for name in TPU_TABLES
    },
    "full_scale": "python examples/full_scale_costs.py",
}


@dataclasses.dataclass(frozen=True)
class Results:
    """The files there are, by name; `load` makes one."""

    files: dict

    def __contains__(self, name):
        return name in self.files

    def about(self, name):
        return self.files[name]["about"]

    def rows(self, name):
        """The rows of a file; none of one that is not there."""
        return self.files[name]["rows"] if name in self else []

    def part(self, part):
        """The rows of `vision`, or of a part of the language experiments."""
        rows = self.rows(file_of(part))
        return [row for row in rows if row.get("part", "vision") == part]

    def runs(self, part, arm):
        """The runs of an arm in the order of their seeds."""
        chosen = [row for row in self.part(part) if row["arm"] == arm]
        return sorted(chosen, key=lambda row: row["seed"])

    def values(self, part, arm, name=None):
        """Dict, a number for each seed, in the unit of the part's measure."""
        measure = measure_of(part)
        name = name or measure.name
        return {
            run["seed"]: measure.factor * run[name]
            for run in self.runs(part, arm)
            if name in run
        }


def load(folder=FOLDER):
    found = {name: read_json(folder / f"{name}.json") for name in COMMANDS}
    return Results({name: file for name, file in found.items() if file})


def file_of(part):
    return "vision" if part == "vision" else "language"


def measure_of(part):
    return ACCURACY if part == "vision" else LOSS


def not_run(name):
    """What stands where a file's numbers would."""
    return f"Not run yet: `{COMMANDS[name]}`\n"
