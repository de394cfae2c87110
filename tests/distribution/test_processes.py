"""Losses of two processes, over loopback, are those of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.distribution.train_in_processes import train

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("train_in_processes.py")
PROCESSES = 2


def start(index, address):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(PROCESSES),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return "{}:{}".format(*free.getsockname())


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="`keras.distribution` is JAX's"
)
def test_two_processes_train_as_one_device_does():
    address = free_address()
    started = [start(index, address) for index in range(PROCESSES)]
    for process in started:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        for losses in json.loads(output.splitlines()[-1]):
            assert losses == pytest.approx(train(), rel=1e-5)
