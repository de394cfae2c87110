"""The command line, made from the dataclasses of settings."""

import argparse
import dataclasses
import json
import math
import types
import typing
from pathlib import Path

from experiments import ranges
from experiments.ranges import Checked
from experiments.ranges import setting


@dataclasses.dataclass(frozen=True)
class Machine(Checked):
    """Options of runs that change no number, except by rounding."""

    output: Path | None = setting(
        None, "folder of the runs; default: runs/ and the experiment's family"
    )
    results: Path | None = setting(
        None, "JSON file of all numbers; default: OUTPUT/EXPERIMENT.json"
    )
    data_dir: str | None = setting(
        None, "TFDS folder of prepared sets; packaged ones default to OUTPUT"
    )
    add: bool = setting(
        False,
        "add to RESULTS, after each run; runs that it has count as finished",
    )
    minutes: float = setting(
        math.inf,
        "start no run that, as long as the longest so far, would end later "
        "than this; 0 to prepare the data only",
        ranges.AT_LEAST_0,
    )
    workers: int = setting(
        1, "runs at a time, each on a core of its own; 1 for accelerators"
    )
    accelerator: bool = setting(
        False, "refuse to train on the processor, which may take days"
    )
    distribution: str = setting(
        "data",
        "what JAX divides among devices: data (batches), fsdp (also weights "
        "where they are kept), tensor (batches along the first axis of the "
        "mesh, layers along the second)",
        ranges.one_of("data", "fsdp", "tensor"),
    )
    mesh: tuple[int, ...] | None = setting(
        None, "sizes of the mesh of devices, such as 4 2 for tensor"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.minutes < math.inf and self.workers > 1:
            raise ValueError(
                "Setting `minutes` must be left out with several workers. "
                f"Received: minutes={self.minutes}, workers={self.workers}."
            )


def parse(experiment, arguments):
    """An experiment with the options of a command applied to it.

    Args:
        experiment: An `Experiment`.
        arguments: List of strings, without the experiment's name.

    Returns:
        Tuple of the `Experiment`, the `Machine`, and whether only parameters
        are to be counted.

    Raises:
        ValueError: If a value is out of its range.
    """
    parser = build_parser(experiment)
    options = vars(parser.parse_args(arguments))
    names = options.pop("arms") or experiment.arms
    seeds = options.pop("seeds")
    only_count = options.pop("parameters")
    check_arms(names, experiment)
    if seeds < 1:
        raise ValueError(f"`--seeds` must be 1 or more. Received: {seeds}.")
    machine = Machine(**take(options, Machine))
    if machine.output is None:
        output = Path("runs") / experiment.folder
        machine = dataclasses.replace(machine, output=output)
    return (
        dataclasses.replace(
            experiment,
            settings=dataclasses.replace(experiment.settings, **options),
            arms={name: experiment.arms[name] for name in names},
            seeds=seeds,
        ),
        machine,
        only_count,
    )


def take(options, kind):
    """Remove and return the options that are fields of a dataclass."""
    names = {field.name for field in dataclasses.fields(kind)} & options.keys()
    return {name: options.pop(name) for name in names}


def check_arms(names, experiment):
    unknown = [name for name in names if name not in experiment.arms]
    if unknown:
        raise ValueError(
            f"`--arms` must be some of {', '.join(experiment.arms)}. "
            f"Received: {', '.join(unknown)}."
        )


def build_parser(experiment):
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments {experiment.name}",
        description=f"{experiment.title} A run that was interrupted, even by "
        "kill -9, continues when the same command is given again.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    runs = parser.add_argument_group("runs")
    runs.add_argument(
        "--arms",
        nargs="+",
        default=None,
        help=f"some of {', '.join(experiment.arms)} (default: all)",
    )
    runs.add_argument(
        "--seeds",
        type=int,
        default=experiment.seeds,
        help=f"runs of each arm (default: {experiment.seeds})",
    )
    runs.add_argument(
        "--parameters",
        action="store_true",
        default=False,
        help="count each arm's parameters without training or memory, and stop",
    )
    add_fields(runs, Machine())
    shared = parser.add_argument_group(
        "settings that all arms share", "An arm's own settings stay."
    )
    add_fields(shared, experiment.settings)
    return parser


def add_fields(group, values):
    """An option for each field of a dataclass; only those given are parsed."""
    hints = typing.get_type_hints(type(values))
    for field in dataclasses.fields(values):
        default = getattr(values, field.name)
        shown = "" if default in (None, ()) else f" (default: {default})"
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            help=(field.metadata["help"] + shown).replace("%", "%%"),
            **reading(hints[field.name]),
        )


def reading(hint):
    """Arguments of `add_argument` for a field of some type."""
    if isinstance(hint, types.UnionType):
        hint = next(x for x in typing.get_args(hint) if x is not type(None))
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint is dict:
        return {"type": json_object, "metavar": "JSON"}
    if typing.get_origin(hint) is tuple:
        (kind, _) = typing.get_args(hint)
        return {"type": kind, "nargs": "*", "action": AsTuple}
    return {"type": hint}


def json_object(text):
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(
            f"it must be a JSON object, such as '{{\"scale\": 0.5}}'. "
            f"Received: {text}"
        )
    return found


def check_no_options(program, text):
    """Answer `--help`, and refuse everything else.

    Args:
        program: Name of a module that is run without arguments.
        text: Its docstring.
    """
    argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    ).parse_args()


class AsTuple(argparse.Action):
    """Several values as a tuple, as dataclasses have them."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))
