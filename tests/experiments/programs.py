"""An experiment run in this process, or as a program of its own."""

from pathlib import Path

from experiments.configs import find_experiment
from experiments.files import read_json
from experiments.options import parse
from experiments.program import run as run_experiment
from tests import processes
from tests.experiments.tiny import LANGUAGE
from tests.experiments.tiny import VISION

TINY = Path(__file__).with_name("tiny.py")


def command(name, output, *options):
    """The words of a command behind `python -m experiments`."""
    experiment = find_experiment(name)
    sizes = VISION if experiment.is_vision else LANGUAGE
    words = [name, *sizes, *options, "--output", output]
    return list(map(str, words))


def run(name, output, *options):
    """The rows of an experiment that is run here, by arm and seed."""
    words = command(name, output, *options)
    experiment, machine = parse(find_experiment(words[0]), words[1:])
    run_experiment(experiment, machine, words)
    return rows_in(machine.output, name)


def rows_in(output, name):
    rows = read_json(output / f"{name}.json")["rows"]
    return {(row["arm"], row["seed"]): row for row in rows}


def start(name, output, *options, **environment):
    """A `Program` of an experiment."""
    words = command(name, output, *options)
    return processes.Program(TINY, *words, **environment)


def in_process(name, output, *options, **environment):
    """The exit status of an experiment's program, and what it printed."""
    with start(name, output, *options, **environment) as program:
        return program.wait(), program.output
