"""Step time and peak memory of LAuReL models over plain ones, on a GPU.

The 157M language model of the paper's Table 5 and ResNet-50, in mixed
bfloat16, every variant against the baseline, on JAX and on PyTorch, eager and
compiled; then `torch_step.py`, with the same equations in plain PyTorch beside.
Time: the variants of a part take turns in one process; the median ratio to the
baseline of the same round and its quartiles. Memory: each variant in a process
of its own.

    python benchmarks/gpu_step.py
    python benchmarks/gpu_step.py --minutes 4 --forms jax --models resnet50
    python benchmarks/gpu_step.py --on cpu --models tiny --rounds 3

It is over within `--minutes`: each part gets an equal share of what is left,
builds as many variants as a half of that allows, and `results/gpu_step.json`
is written after each. Without a GPU it says so and measures nothing, unless
told to run `--on cpu`. Where Keras is missing, it is taken from the wheels that
`make gpu-wheels` put into `.wheels/`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from importlib import util

from measuring import interleaved
from measuring import ratio
from measuring import write

ROOT = pathlib.Path(__file__).parent.parent
FORMS = ("jax", "torch", "torch compiled")
MODELS = ("ablation-157m", "resnet50")
# What matters most first: later ones are left out where time is short.
VARIANTS = ("rw+lr", "rw+lr+pa", "rw", "lr", "pa", "deeper")
WITH_MEMORY = ("baseline", "rw+lr", "rw+lr+pa")
BATCH = {"ablation-157m": 8, "resnet50": 128, "tiny": 4}


def main():
    arguments = parse_arguments()
    if arguments.worker:
        return print(json.dumps(WORKERS[arguments.worker](arguments)))
    deadline = time.monotonic() + 60 * arguments.minutes
    environment = with_packages(dict(os.environ))
    environment["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp()
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    runner = Runner(arguments, environment, deadline)
    devices = {form: runner.run("device", form) for form in arguments.forms}
    if arguments.on == "gpu" and None in devices.values():
        lacking = [name for name, device in devices.items() if device is None]
        print(
            f"No GPU is at hand for {' and '.join(lacking)}: nothing was "
            "measured. Run this where there is one, or try it with "
            "`--on cpu --models tiny`."
        )
        return None
    rows, parts = [], parts_of(arguments)
    for i, (what, form, model) in enumerate(parts):
        seconds = (deadline - time.monotonic()) / (len(parts) - i)
        found = measure(runner, what, form, model, seconds)
        rows += [{"form": form, "model": model, **row} for row in found]
        if arguments.on == "gpu":
            save(rows, devices)
    if arguments.on == "gpu" and "torch" in arguments.forms:
        plain_torch(environment, deadline)
    return None


def parts_of(arguments):
    """Return the parts of the benchmark: all times, then the memory."""
    pairs = [(f, m) for m in arguments.models for f in arguments.forms]
    return [
        *(("step", form, model) for form, model in pairs),
        *(("memory", form, model) for form, model in pairs),
    ]


def measure(runner, what, form, model, seconds):
    """Return the rows of one part that could be measured in time."""
    if what == "step":
        found = runner.run("time", form, model, seconds=seconds) or []
        rows = [{"what": "step", **row} for row in found]
    else:
        until = time.monotonic() + seconds
        peaks = {}
        for variant in WITH_MEMORY:
            left = until - time.monotonic()
            peaks[variant] = runner.run("memory", form, model, variant, left)
        rows = [
            {
                "what": "memory",
                "variant": variant,
                "ratio": peaks[variant] / peaks["baseline"],
                "bytes": peaks[variant],
            }
            for variant in WITH_MEMORY[1:]
            if peaks["baseline"] and peaks[variant]
        ]
    for row in rows:
        value = row.get("median", row.get("ratio"))
        spread = "({:.3f} to {:.3f})".format(
            *row.get("quartiles", (value,) * 2)
        )
        print(
            f"{form:14} {model:14} {row['what']:7} {row['variant']:9} "
            f"{value:.3f} {spread}",
            flush=True,
        )
    if not rows:
        print(f"{form:14} {model:14} {what:7} not measured")
    return rows


def save(rows, devices):
    write(
        "gpu_step",
        rows,
        command=" ".join(["python benchmarks/gpu_step.py", *sys.argv[1:]]),
        unit="step: seconds, variant over baseline; memory: peak bytes "
        "in use, variant over baseline",
        devices=devices,
        setting="mixed bfloat16; ablation-157m: sequences of 1024, AdamW; "
        f"resnet50: 224 x 224, SGD with momentum; batches: {BATCH}",
    )


def with_packages(environment):
    """The environment, with Keras from `.wheels/` where it is missing."""
    if util.find_spec("keras") is not None:
        return environment
    wheels = sorted((ROOT / ".wheels").glob("*.whl"))
    if not wheels:
        sys.exit("Keras is missing here, and `.wheels/`: `make gpu-wheels`.")
    folder = tempfile.mkdtemp()
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index"]
    command += ["--no-deps", "--no-compile", "--target", folder]
    subprocess.run([*command, *map(str, wheels)], check=True)
    path = [str(ROOT), folder, environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, path))}


class Runner:
    """Runs the workers of this file, each in a fresh process."""

    def __init__(self, arguments, environment, deadline):
        self.arguments = arguments
        self.deadline = deadline
        self.environment = environment
        if arguments.on == "cpu":
            cpu = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
            self.environment = {**environment, **cpu}

    def run(self, worker, form, model="", variant="", seconds=120):
        """Return the result of a worker, `None` if it failed or timed out."""
        command = [sys.executable, __file__, "--worker", worker]
        command += ["--form", form, "--model", model, "--variant", variant]
        command += ["--rounds", str(self.arguments.rounds)]
        command += ["--seconds", str(seconds)]
        backend = form.partition(" ")[0]
        limit = min(1.5 * seconds, self.deadline - time.monotonic())
        if limit <= 0:
            return None
        try:
            output = subprocess.run(
                command,
                env={**self.environment, "KERAS_BACKEND": backend},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                timeout=limit,
            ).stdout
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{form} {model} {worker}: {error}", file=sys.stderr)
            return None
        return json.loads(output.splitlines()[-1])


def plain_torch(environment, deadline):
    """Run `torch_step.py` on this GPU in the time that is left."""
    script = pathlib.Path(__file__).with_name("torch_step.py")
    left = deadline - time.monotonic()
    try:
        subprocess.run(
            [sys.executable, script, "--device", "cuda"],
            env=environment,
            timeout=max(left, 1),
            check=True,
        )
    except subprocess.SubprocessError as error:
        print(f"torch_step.py: {error}", file=sys.stderr)


def find_device(arguments):
    """The name of the GPU that the backend sees, or None."""
    if arguments.form != "jax":
        import torch

        found = torch.cuda.is_available()
        return torch.cuda.get_device_name() if found else None
    import jax

    devices = [d for d in jax.devices() if d.platform == "gpu"]
    return devices[0].device_kind if devices else None


def measure_times(arguments):
    """Return a row for each variant that was built in half of the time."""
    start = time.monotonic()
    steps = {}
    for name in ("baseline", *VARIANTS):
        taken = time.monotonic() - start
        a_step = taken / max(len(steps), 1)
        if len(steps) > 1 and taken + a_step > arguments.seconds / 2:
            break
        steps[name] = step_of(arguments, name)
        steps[name]()
    start_of_rounds = time.monotonic()
    measured = interleaved(steps, 2, warm_up=1)
    a_round = (time.monotonic() - start_of_rounds) / 3
    left = arguments.seconds - (time.monotonic() - start)
    rounds = min(arguments.rounds, int(left / a_round)) - len(measured)
    if rounds > 0:
        measured += interleaved(steps, rounds, warm_up=0)
    return [
        {"variant": name, **ratio(measured, name)}
        for name in steps
        if name != "baseline"
    ]


def measure_memory(arguments):
    """Peak bytes in use after three steps; None where there is no GPU."""
    step = step_of(arguments, arguments.variant)
    for _ in range(3):
        step()
    if arguments.form != "jax":
        import torch

        found = torch.cuda.is_available()
        return torch.cuda.max_memory_allocated() if found else None
    import jax

    statistics = jax.devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def step_of(arguments, variant):
    """A function that trains on one batch and waits for the loss."""
    import keras
    import numpy as np

    from experiments.costs.training_case import TrainingCase

    keras.config.set_dtype_policy("mixed_bfloat16")
    case = TrainingCase(arguments.model, variant)
    model = case.build()
    model.jit_compile = arguments.form != "torch"
    rng = np.random.default_rng(0)
    x, y, _ = case.batch(BATCH[arguments.model])
    if case.is_language_model:
        high = case.architecture().vocabulary_size
        ids = rng.integers(0, high, y.shape, "int32")
        batch = {"token_ids": ids, "padding_mask": np.ones(y.shape, bool)}, ids
    else:
        images = rng.normal(size=x.shape).astype("float32")
        batch = images, rng.integers(0, 1000, y.shape, "int32")
    # The loss, or the loss and what metrics say of it.
    return lambda: float(np.ravel(model.train_on_batch(*batch))[0])


WORKERS = {
    "device": find_device,
    "time": measure_times,
    "memory": measure_memory,
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "--forms",
        nargs="+",
        choices=FORMS,
        default=FORMS,
        help="the backends, and whether PyTorch compiles; all by default",
    )
    add(
        "--models",
        nargs="+",
        choices=BATCH,
        default=MODELS,
        help=f"by default {' and '.join(MODELS)}",
    )
    add("--rounds", type=int, default=20, help="at most, 20 by default")
    add("--minutes", type=float, default=9, help="for all of it, 9 by default")
    add(
        "--on",
        choices=("gpu", "cpu"),
        default="gpu",
        help="the CPU is for trying it out; nothing is written then",
    )
    add("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    add("--form", default="", help=argparse.SUPPRESS)
    add("--model", default="", help=argparse.SUPPRESS)
    add("--variant", default="", help=argparse.SUPPRESS)
    add("--seconds", type=float, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds needs 2 or more, for quartiles")
    return arguments


if __name__ == "__main__":
    main()
