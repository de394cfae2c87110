"""The command line, made from the dataclasses of settings."""

import dataclasses
import math
from pathlib import Path

import simple_parsing
from simple_parsing.help_formatter import SimpleHelpFormatter

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
        None,
        "sizes of the mesh of devices, such as 4 2 for tensor",
        several=True,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.minutes < math.inf and self.workers > 1:
            raise ValueError(
                "Setting `minutes` must be left out with several workers. "
                f"Received: minutes={self.minutes}, workers={self.workers}."
            )


def parse(experiment, arguments):
    """An experiment with the options of a command, and its `Machine`.

    Raises:
        ValueError: If a value is out of its range.
    """
    options = build_parser(experiment).parse_args(arguments)
    unknown = [name for name in options.arms if name not in experiment.arms]
    if unknown:
        raise ValueError(
            f"`--arms` must be some of {', '.join(experiment.arms)}. "
            f"Received: {', '.join(unknown)}."
        )
    if options.seeds < 1:
        raise ValueError(
            f"`--seeds` must be 1 or more. Received: {options.seeds}."
        )
    machine = options.machine
    if machine.output is None:
        output = Path("runs") / experiment.folder
        machine = dataclasses.replace(machine, output=output)
    chosen = dataclasses.replace(
        experiment,
        settings=options.settings,
        arms={name: experiment.arms[name] for name in options.arms},
        seeds=options.seeds,
    )
    return chosen, machine


def build_parser(experiment):
    parser = make_parser(
        f"experiments {experiment.name}",
        f"{experiment.title} A run that was interrupted, even by kill -9, "
        "continues when the same command is given again.",
        machine=Machine(),
        # An arm's own settings stay.
        settings=experiment.settings,
    )
    parser.add_argument(
        "--arms",
        nargs="+",
        metavar="ARM",
        default=list(experiment.arms),
        help="those to train",
    )
    parser.add_argument(
        "--seeds", type=int, default=experiment.seeds, help="runs of each arm"
    )
    return parser


def make_parser(program, text, **groups):
    """A parser with an option for each field of some dataclasses, if any.

    Args:
        program: Name of a module.
        text: The beginning of its help.
        groups: Values of dataclasses, which are the defaults, by the name that
            the result of `parse_args` has for what was read.
    """
    parser = simple_parsing.ArgumentParser(
        prog=f"python -m {program}",
        description=text,
        formatter_class=HelpFormatter,
        add_option_string_dash_variants=simple_parsing.DashVariant.DASH,
        allow_abbrev=False,
    )
    for name, values in groups.items():
        parser.add_arguments(type(values), name, default=values)
    return parser


class HelpFormatter(SimpleHelpFormatter):
    """Shows no default of None, about which the text says more."""

    def _get_help_string(self, action):
        if action.default is None:
            return action.help
        return super()._get_help_string(action)
