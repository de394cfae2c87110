"""Two processes, over loopback: their losses, and what is left of one."""

import re
import signal
from pathlib import Path

import keras
import pytest

from tests.distribution.train_in_processes import train
from tests.processes import LOST
from tests.processes import finish
from tests.processes import job

PROGRAM = Path(__file__).with_name("train_in_processes.py")


def losses(output):
    return [float(x) for x in re.findall(r"round \d: ([\d.]+)", output)]


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's"
)
def test_a_job_that_loses_a_process_ends_and_goes_on(tmp_path):
    """On another mesh than before; the losses are those of one device."""
    expected = train(tmp_path / "alone")
    folder = tmp_path / "job"
    with job(2, 4, PROGRAM, folder, 2, 2, "die") as (lost, left):
        assert lost.wait() == -signal.SIGKILL and left.wait() != 0
        assert re.search(LOST, left.output), left.output
        for process in (lost, left):
            begun = pytest.approx(expected[:1], rel=1e-5)
            assert losses(process.output) == begun

    with job(2, 4, PROGRAM, folder, 1, 4) as programs:
        for output in finish(programs):
            assert losses(output) == pytest.approx(expected[1:], rel=1e-5)
