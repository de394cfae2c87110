"""A command from its settings to its results."""

import dataclasses
import functools
import importlib
import time

import keras

from experiments.devices import is_first_process
from experiments.files import made_with
from experiments.files import write_json
from experiments.files import write_whole
from experiments.growing_results import NOTHING
from experiments.growing_results import check_same_data
from experiments.growing_results import joined
from experiments.growing_results import take_over
from experiments.plan import describe_parameters
from experiments.plan import without_memory
from experiments.report.pictures import draw_curves
from experiments.report.results import Results
from experiments.report.summary import NOTE
from experiments.report.summary import markdown
from experiments.report.summary import summary
from experiments.runs import all_runs
from experiments.runs import run_all


def run(experiment, machine, arguments):
    """Train what is missing, then write and show the results.

    Raises:
        ValueError: If the experiment cannot be run, before a model exists.
    """
    deadline = time.monotonic() + 60 * machine.minutes
    path = path_of_results(experiment, machine)
    earlier = take_over(path, machine.output) if machine.add else NOTHING
    for each in all_runs(experiment, machine):
        each.result()
    trainer = importlib.import_module(experiment.trainer)
    about, text = trainer.prepare(experiment, machine)
    check_same_data(earlier, about)
    if is_first_process():
        backend = keras.backend.backend()
        print(
            f"{experiment.title}\nKeras {keras.__version__} with {backend}, "
            f"{text}\nRuns in {machine.output}",
            flush=True,
        )
    plain = dataclasses.replace(experiment, arms={"baseline": {}})
    about["baseline_parameters"] = count_arm(plain, "baseline", machine)
    about = {
        "command": " ".join(["python -m experiments", *arguments]),
        "backend": keras.backend.backend(),
        "workers": machine.workers,
        **about,
        "made_with": made_with(),
    }

    def add(rows):
        write_json(path, joined(earlier, about, rows))

    after_each = add if machine.add else None
    rows = run_all(experiment, machine, deadline, after_each)
    file = joined(earlier, about, rows)
    # There may have been no time for any of the arms.
    there = any(row["arm"] in experiment.arms for row in file["rows"])
    if is_first_process() and there:
        report(experiment, machine, file)


def path_of_results(experiment, machine):
    return machine.results or machine.output / f"{experiment.name}.json"


def report(experiment, machine, file):
    """Write the numbers, a table and a picture; show the table."""
    path = path_of_results(experiment, machine)
    write_json(path, file)
    results = Results(experiment, file)
    table = markdown(summary(results))
    text = f"# {experiment.title}\n\n{table}\n{NOTE}\n"
    files = {end: machine.output / f"{experiment.name}.{end}" for end in ENDS}
    write_whole(files["md"], lambda partial: partial.write_text(text, "utf-8"))
    draw_curves(files["png"], results)
    for row in file["rows"]:
        if "sample" in row:
            print(f"\n===== {row['arm']} wrote =====\n{row['sample']}")
    print(f"\n{table}\n{NOTE}\n")
    print(f"Numbers  {path}\nTable    {files['md']}\nPicture  {files['png']}")
    models = [x for x in machine.output.glob("*/*/*") if x.name in MODELS]
    for model in sorted(models):
        print(f"Model    {model}")


ENDS = ("md", "png")
MODELS = ("model.keras", "preset")


def count_parameters(experiment, machine, arguments):
    """Print what each arm has; no model gets memory, and nothing is trained."""
    counts = {
        arm: count_arm(experiment, arm, machine) for arm in experiment.arms
    }
    print(describe_parameters(counts))


def count_arm(experiment, arm, machine):
    trainer = importlib.import_module(experiment.trainer)
    build = functools.partial(trainer.build_model, experiment, arm, machine)
    return trainer.parameters_of(without_memory(build))
