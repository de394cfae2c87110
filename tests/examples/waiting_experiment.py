"""An experiment whose second seed never ends, in two processes."""

import os
import signal
import sys
import time
from pathlib import Path

from experiment_runs import Arm
from experiment_runs import Experiment
from experiment_runs import run_all


def train(settings, seed, folder):
    # Whole as soon as it is there.
    (folder / "writing").write_text(str(os.getpid()))
    (folder / "writing").rename(folder / "process")
    while seed and not settings["ends"]:
        time.sleep(0.1)
    return {"value": seed}


if __name__ == "__main__":
    # What a shell starts in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    experiment = Experiment(Path(sys.argv[1]), {"ends": False}, train)
    run_all(experiment, [Arm("a"), Arm("b")], [0, 1], workers=2)
