"""Language models in several processes, one of which may be killed."""

import contextlib
import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
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
SECONDS = 500
LOST = "another task died|Connection (closed|reset) by peer|Gloo"

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


@contextlib.contextmanager
def job(folder, processes, *options):
    """Starts the processes of a job; eight devices over all of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1:{}".format(free.getsockname()[1])
    devices = 8 // processes
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "examples"))),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
    }
    started = [
        subprocess.Popen(
            [sys.executable, TINY, *OPTIONS, "--output", folder, *options],
            env={**environment, "KERAS_DISTRIBUTION_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(processes)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()


def finish(folder, processes, *options):
    """What the first process of a whole job printed."""
    with job(folder, processes, *options) as started:
        outputs = [p.communicate(timeout=SECONDS)[0] for p in started]
    for process, output in zip(started, outputs):
        assert process.returncode == 0, output
    return outputs[0]


def losses(folder):
    with (folder / "history.csv").open() as file:
        return [
            float(row[name])
            for row in csv.DictReader(file)
            for name in ("loss", "val_loss")
        ]


def wait_for(path, process):
    for _ in range(SECONDS * 100):
        if path.exists():
            return
        if process.poll() is not None:
            pytest.fail(process.communicate()[0])
        time.sleep(0.01)
    pytest.fail(f"{path} did not appear")


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    subprocess.run(
        [sys.executable, TINY, *OPTIONS, "--output", folder],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "examples"))),
        },
        check=True,
        timeout=SECONDS,
    )
    return losses(folder)


@pytest.mark.parametrize(
    "processes, options", [(2, MESH), (4, MESH), (2, FSDP)]
)
def test_losses_are_those_of_one_device(
    processes, options, one_device, tmp_path
):
    output = finish(tmp_path / "run", processes, *options)
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
    with job(folder, 2, *MESH) as started:
        victim, survivor = started[killed], started[1 - killed]
        wait_for(folder / "rw+lr+pa" / "checkpoints" / "0", victim)
        time.sleep(0.5)  # Into a step of the second round.
        os.kill(victim.pid, signal.SIGKILL)
        output = survivor.communicate(timeout=SECONDS_TO_NOTICE)[0]
    assert survivor.returncode != 0
    assert re.search(LOST, output), output

    again = finish(folder, processes, *options)
    assert "Epoch 1/3" not in again and "Epoch 3/3" in again
    assert losses(folder) == pytest.approx(one_device, rel=1e-4)
