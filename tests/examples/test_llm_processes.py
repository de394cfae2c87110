"""Language models in several processes, one of which may be killed."""

import csv
import re
from pathlib import Path

import keras
import pytest

from tests.processes import LOST
from tests.processes import finish
from tests.processes import job
from tests.processes import run

TINY = Path(__file__).with_name("tiny_llm.py")
OPTIONS = (
    "llm_pretrain --rank 4 --variants rw+lr+pa --steps 24 --evaluate-every 8 "
    "--warmup-steps 3 --batch-size 8 --evaluation-batches 2 "
    "--learning-rate 0.01"
).split()
MESH = ("--distribution", "tensor", "--mesh", "4x2")
FSDP = ("--distribution", "fsdp")
# A process that only waits for a lost one is told by JAX's coordination service
# when heartbeats have stayed away for 100 s.
SECONDS_TO_NOTICE = 150

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's"
    ),
]


@pytest.fixture(scope="module", autouse=True)
def compile_once(tmp_path_factory):
    """JAX keeps what it has compiled for the next process."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("compiled"))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


def start(folder, processes, *options):
    """A job on eight devices over all of its processes."""
    return job(processes, 8, TINY, *OPTIONS, "--output", folder, *options)


def losses(folder):
    with (folder / "history.csv").open() as file:
        return [
            float(row[name])
            for row in csv.DictReader(file)
            for name in ("loss", "val_loss")
        ]


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    status, output = run(TINY, *OPTIONS, "--output", folder)
    assert status == 0, output
    return losses(folder)


@pytest.mark.parametrize(
    "processes, options", [(2, MESH), (4, MESH), (2, FSDP)]
)
def test_losses_are_those_of_one_device(
    processes, options, one_device, tmp_path
):
    with start(tmp_path / "run", processes, *options) as programs:
        output, *_ = finish(programs)
    assert "8 devices" in output
    assert losses(tmp_path / "run") == pytest.approx(one_device, rel=1e-4)


@pytest.mark.parametrize(
    "killed, processes, options", [(0, 2, MESH), (1, 4, FSDP)]
)
def test_a_job_that_loses_a_process_ends_and_goes_on(
    killed, processes, options, one_device, tmp_path
):
    """With as many processes and the same mesh, or with others."""
    folder = tmp_path / "run"
    with start(folder, 2, *MESH) as programs:
        # Two of three rounds are left.
        programs[killed].kill_when(folder / "rw+lr+pa" / "checkpoints" / "0")
        left = programs[1 - killed]
        assert left.wait(SECONDS_TO_NOTICE) != 0
        assert re.search(LOST, left.output), left.output

    with start(folder, processes, *options) as programs:
        again, *_ = finish(programs)
    assert "Epoch 1/3" not in again and "Epoch 3/3" in again
    assert losses(folder) == pytest.approx(one_device, rel=1e-4)
