"""An experiment whose second seed never ends, in two processes."""

import dataclasses
import signal
import sys
from pathlib import Path

from experiments.experiment import Experiment
from experiments.options import Machine
from experiments.runs import run_all
from tests.experiments.counting_trainer import Settings

if __name__ == "__main__":
    # What a shell starts in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    experiment = Experiment(
        name="waiting",
        title="Waiting.",
        settings=dataclasses.replace(Settings(), waits_at=1),
        arms={"a": {}, "b": {}},
        seeds=2,
    )
    run_all(experiment, Machine(output=Path(sys.argv[1]), workers=2))
