"""A command from its settings to its results."""

import functools
import importlib
import time

import keras

from experiments.devices import find_devices
from experiments.devices import is_first_process
from experiments.files import made_with
from experiments.files import write_json
from experiments.files import write_text
from experiments.growing_results import NOTHING
from experiments.growing_results import check_same_data
from experiments.growing_results import joined
from experiments.growing_results import take_over
from experiments.plan import without_memory
from experiments.report.pictures import draw_curves
from experiments.report.results import Results
from experiments.report.summary import NOTE
from experiments.report.summary import markdown
from experiments.report.summary import summary
from experiments.runs import all_runs
from experiments.runs import run_all
from keras_laurel.distribution import plan_memory


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
    about, text = prepare(experiment, machine)
    check_same_data(earlier, about)
    if is_first_process():
        backend = keras.backend.backend()
        print(
            f"{experiment.title}\nKeras {keras.__version__} with {backend}, "
            f"{text}\nRuns in {machine.output}",
            flush=True,
        )
    about = {
        "command": " ".join(["python -m experiments", *arguments]),
        "backend": keras.backend.backend(),
        "workers": machine.workers,
        **about,
        "baseline_parameters": count_parameters(experiment.settings, machine),
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


def prepare(experiment, machine):
    """Find what is wrong with an experiment, and put its data on disk.

    Returns:
        Dict of what belongs to the numbers, and a text that describes it: of
        the last arm also the weights, their layouts and their bytes.
    """
    trainer = importlib.import_module(experiment.trainer)
    devices = find_devices(machine, trainer.layout_map)
    data = {}
    for arm in experiment.arms:
        settings = experiment.settings_of(arm)
        found = trainer.prepare(settings, experiment.seeds, machine, devices)
        data[settings.dataset] = found
    lines = [f"{settings.precision} on {devices}"]
    for name, found in data.items():
        sizes = [f"{n:,} {what.replace('_', ' ')}" for what, n in found.items()]
        lines.append(f"{name}: {', '.join(sizes)}")
    model = without_memory(
        functools.partial(trainer.build_model, settings, machine, devices)
    )
    slots = trainer.optimizer_slots(settings)
    plan = plan_memory(model, devices.distribution, slots)
    shown = plan if devices.count > 1 else plan.total_line
    lines.append(f"Plan of {arm}. {shown}")
    return {"device": str(devices), "data": data}, "\n".join(lines)


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
    write_text(files["md"], text)
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


def count_parameters(settings, machine):
    """The parameters of the model of some settings, which gets no memory."""
    trainer = importlib.import_module(settings.trainer)
    devices = find_devices(machine, trainer.layout_map)
    build = functools.partial(trainer.build_model, settings, machine, devices)
    return trainer.parameters_of(without_memory(build))
