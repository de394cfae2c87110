"""Step time and peak memory of LAuReL models over plain ones, on a GPU.

The 157M language model of the paper's Table 5 and ResNet-50, in mixed
bfloat16, every variant against the baseline, on JAX and PyTorch. Time: all
variants take turns in one process; the median ratio to the baseline of the
same round and its quartiles. Memory: each variant in a process of its own.

    python benchmarks/gpu_step.py
    python benchmarks/gpu_step.py --on cpu --models tiny --rounds 3

Without a GPU it says so and measures nothing, unless told to run `--on cpu`.
"""

import argparse
import json
import os
import subprocess
import sys

from measuring import interleaved
from measuring import ratio
from measuring import write

BACKENDS = ("jax", "torch")
MODELS = ("ablation-157m", "resnet50")
VARIANTS = ("rw", "lr", "pa", "rw+lr", "rw+lr+pa", "deeper")
BATCH = {"ablation-157m": 8, "resnet50": 128, "tiny": 4}


def main():
    arguments = parse_arguments()
    if arguments.worker:
        return print(json.dumps(WORKERS[arguments.worker](arguments)))
    devices = {
        backend: in_fresh_process(backend, arguments, "device")
        for backend in arguments.backends
    }
    if arguments.on == "gpu" and None in devices.values():
        lacking = [name for name, device in devices.items() if device is None]
        print(
            f"No GPU is at hand for {' and '.join(lacking)}: nothing was "
            "measured. Run this where there is one, or try it with "
            "`--on cpu --models tiny`."
        )
        return None
    rows = [
        row
        for backend in arguments.backends
        for model in arguments.models
        for row in measure(backend, model, arguments)
    ]
    if arguments.on == "gpu":
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
    return None


def measure(backend, model, arguments):
    """A row of time and one of memory for each variant."""
    times = in_fresh_process(backend, arguments, "time", model)
    peaks = {
        variant: in_fresh_process(backend, arguments, "memory", model, variant)
        for variant in ("baseline", *VARIANTS)
    }
    rows = [{"what": "step", **row} for row in times]
    if None not in peaks.values():
        rows += [
            {
                "what": "memory",
                "variant": variant,
                "ratio": peaks[variant] / peaks["baseline"],
                "bytes": peaks[variant],
            }
            for variant in VARIANTS
        ]
    for row in rows:
        value = row.get("median", row.get("ratio"))
        spread = "({:.3f} to {:.3f})".format(
            *row.get("quartiles", (value,) * 2)
        )
        print(
            f"{backend:6} {model:14} {row['what']:7} {row['variant']:9} "
            f"{value:.3f} {spread}",
            flush=True,
        )
    return [{"backend": backend, "model": model, **row} for row in rows]


def in_fresh_process(backend, arguments, worker, model="", variant=""):
    command = [sys.executable, __file__, "--worker", worker]
    command += ["--model", model, "--variant", variant, "--on", arguments.on]
    command += ["--rounds", str(arguments.rounds)]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    if arguments.on == "cpu":
        environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    output = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def find_device(arguments):
    """The name of the GPU that the backend sees, or None."""
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        found = torch.cuda.is_available()
        return torch.cuda.get_device_name() if found else None
    import jax

    devices = [d for d in jax.devices() if d.platform == "gpu"]
    return devices[0].device_kind if devices else None


def measure_times(arguments):
    names = ("baseline", *VARIANTS)
    steps = {name: step_of(arguments.model, name) for name in names}
    seconds = interleaved(steps, arguments.rounds)
    return [{"variant": name, **ratio(seconds, name)} for name in VARIANTS]


def measure_memory(arguments):
    """Peak bytes in use after three steps; None where there is no GPU."""
    step = step_of(arguments.model, arguments.variant)
    for _ in range(3):
        step()
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        found = torch.cuda.is_available()
        return torch.cuda.max_memory_allocated() if found else None
    import jax

    statistics = jax.devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def step_of(model_name, variant):
    """A function that trains on one batch and waits for the loss."""
    import keras
    import numpy as np

    from keras_laurel.paper_models import TrainingCase

    keras.config.set_dtype_policy("mixed_bfloat16")
    case = TrainingCase(model_name, variant)
    model = case.build()
    rng = np.random.default_rng(0)
    x, y, _ = case.batch(BATCH[model_name])
    if case.is_language_model:
        high = case.architecture().vocabulary_size
        ids = rng.integers(0, high, y.shape, "int32")
        batch = {"token_ids": ids, "padding_mask": np.ones(y.shape, bool)}, ids
    else:
        images = rng.normal(size=x.shape).astype("float32")
        batch = images, rng.integers(0, 1000, y.shape, "int32")
    return lambda: float(model.train_on_batch(*batch))


WORKERS = {
    "device": find_device,
    "time": measure_times,
    "memory": measure_memory,
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--models", nargs="+", choices=BATCH, default=MODELS)
    add("--rounds", type=int, default=20)
    add("--on", choices=("gpu", "cpu"), default="gpu")
    add("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    add("--model", default="", help=argparse.SUPPRESS)
    add("--variant", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds needs 2 or more, for quartiles")
    return arguments


if __name__ == "__main__":
    main()
