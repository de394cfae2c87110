"""Python programs in processes of their own, alone or as one job."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 500
# What JAX says in the processes that are left.
LOST = "another task died|Connection (closed|reset) by peer"


class Program:
    """A program that runs; it is gone when the `with` block ends.

    What it prints goes to a file: a pipe that nobody reads would stop it after
    64 KB.

    Args:
        arguments: The program's file and its arguments.
        environment: Variables besides those of this process.
    """

    def __init__(self, *arguments, **environment):
        self._printed = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=self._printed,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()
        self._printed.close()

    @property
    def output(self):
        """All that it has printed so far."""
        size = os.fstat(self._printed.fileno()).st_size
        # Leaves the place alone at which the program writes.
        return os.pread(self._printed.fileno(), size, 0).decode()

    def wait(self, seconds=SECONDS):
        """Its exit status, once it has ended."""
        return self._process.wait(seconds)

    def wait_for(self, path):
        """Returns as soon as the file is there, and before the end."""
        deadline = time.monotonic() + SECONDS
        while not path.exists():
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, f"no {path}: {self.output}"
            time.sleep(0.01)

    def kill_when(self, path):
        """SIGKILL as soon as the file is there."""
        self.wait_for(path)
        self.send(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL, self.output

    def send(self, signal_number):
        self._process.send_signal(signal_number)


def run(*arguments, **environment):
    """The exit status of a program and all that it printed."""
    with Program(*arguments, **environment) as program:
        return program.wait(), program.output


@contextlib.contextmanager
def job(processes, devices, *arguments):
    """Programs of which `keras.distribution.initialize` makes one job.

    Args:
        processes: Their number.
        devices: Virtual ones, over all processes.
        arguments: As of `Program`.
    """
    flags = f"--xla_force_host_platform_device_count={devices // processes}"
    with reserved_address() as address, contextlib.ExitStack() as programs:
        yield [
            programs.enter_context(
                Program(
                    *arguments,
                    XLA_FLAGS=flags,
                    KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
                    KERAS_DISTRIBUTION_NUM_PROCESSES=str(processes),
                    KERAS_DISTRIBUTION_PROCESS_ID=str(index),
                )
            )
            for index in range(processes)
        ]


@contextlib.contextmanager
def reserved_address():
    """An address that nobody else is given meanwhile.

    The port stays bound: JAX's server shares it with a socket that does not
    listen.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*reserved.getsockname())


def finish(programs):
    """Return the output of each program; all must succeed."""
    for program in programs:
        assert program.wait() == 0, "\n\n".join(p.output for p in programs)
    return [program.output for program in programs]
