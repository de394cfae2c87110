"""Compile a program of a Keras model for a TPU, ahead of time."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_laurel.costs.tpu import optimized_hlo
from keras_laurel.costs.tpu.chips import find_chip
from keras_laurel.costs.tpu.chips import find_devices
from keras_laurel.costs.tpu.program_cost import ProgramCost
from keras_laurel.distribution import make_distribution

PROGRAMS = ("train", "predict", "prefill", "decode")
EFFORTS = ("O0", "O1", "O2", "O3")

# Part of the cache's keys. Raise it when other quantities are read from a
# compiled program, so that old results are not used.
_READING = 3
# Environment variables that the compiler reads.
_FLAGS = ("LIBTPU_INIT_ARGS", "XLA_FLAGS")
_OUT_OF_MEMORY = re.compile(
    r"\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])\)"
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def compile_program(
    build: Callable[[], keras.Model],
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    program: str = "train",
    topology: str = "v5e:4x4",
    distribution: Callable[[list], Any] | None = None,
    effort: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> ProgramCost:
    """Return the cost of a model's program on each chip of a TPU slice.

    The model is built without values of its weights, so it may be larger than
    this machine could hold. The program is the one that Keras runs on JAX,
    compiled by the TPU compiler for every chip of the slice. That takes from
    seconds to many minutes. Results are cached, so that the same program is
    compiled only once.

    Args:
        build: Function without arguments that returns the model, compiled
            by `model.compile` for `"train"`. It runs inside the scope of the
            distribution and must not read the value of a weight.
        x: `keras.KerasTensor`s with the shape and dtype of a global batch,
            in the structure that the model takes.
        y: The same for the targets, for `"train"`.
        sample_weight: The same for the weights of the samples.
        program: `"train"`: one step of `fit`. `"predict"`: one step of
            `predict`. `"prefill"`: reading a prompt of the length of
            `x["token_ids"]`. `"decode"`: the last step of generating that
            many tokens. The last two are for a KerasHub `CausalLM`.
        topology: A chip and a slice, such as `"v5e:4x4"`; see `CHIPS`.
        distribution: Function of the list of the slice's devices that
            returns a `keras.distribution.Distribution`. The default is
            `DataParallel` over all of them.
        effort: The compiler's effort, `"O0"` to `"O3"`, or `None` for its
            own default. `"O1"` is several times faster, but schedules worse.
        cache_dir: Folder for results. The default is `keras_laurel/tpu` in
            Keras' own folder, `~/.keras`.

    Returns:
        A `ProgramCost`. If the program does not fit the chip's memory, its
        `fits` is False and its `peak_memory` is the memory it would need.

    Raises:
        ValueError: for an unknown program, topology or effort; if shapes are
            missing, or the mesh does not divide them; on a backend other than
            JAX; without libtpu; if `build` reads values of weights, or its
            model lacks something that the program needs.

    Example:

    ```python
    def build():
        model = keras.applications.ResNet50(weights=None)
        model = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=16))
        model.compile("adamw", "sparse_categorical_crossentropy")
        return model

    cost = keras_laurel.costs.tpu.compile_program(
        build,
        x=keras.KerasTensor((4096, 224, 224, 3)),
        y=keras.KerasTensor((4096,), "int32"),
        topology="v5e:4x4",
    )
    print(cost)
    ```
    """
    _check_arguments(program, topology, effort)
    _check_shapes(x, y, sample_weight)
    chip = find_chip(topology)
    devices = find_devices(topology)
    # It imports JAX, which is certain to be installed only on this backend.
    from keras_laurel.costs.tpu.lowering import lower

    lowered = lower(
        build,
        (x, y, sample_weight),
        program,
        (distribution or _data_parallel)(devices),
    )
    versions = _versions()
    flags = [os.environ.get(name) for name in _FLAGS]
    called = [program, topology, effort, versions, flags]
    # The text stands for model, shapes and layouts. Tracing takes little time
    # beside compiling.
    path = _cache_path(cache_dir, [_READING, lowered.as_text(), *called])
    if path.exists():
        return ProgramCost.from_dict(json.loads(path.read_text()))
    about = {
        "program": program,
        "topology": topology,
        "num_chips": len(devices),
        "versions": versions,
    }
    cost = _compile(lowered, chip, effort, about)
    _write(path, json.dumps(cost.to_dict(), indent=1))
    return cost


def _check_arguments(program, topology, effort):
    if program not in PROGRAMS:
        raise ValueError(
            f"Argument `program` must be one of {', '.join(PROGRAMS)}. "
            f"Received: program={program!r}."
        )
    if effort not in (None, *EFFORTS):
        raise ValueError(
            f"Argument `effort` must be None or one of {', '.join(EFFORTS)}. "
            f"Received: effort={effort!r}."
        )
    find_chip(topology)
    if keras.config.backend() != "jax":
        raise ValueError(
            "Compiling for a TPU needs the JAX backend. Received: the backend "
            f"{keras.config.backend()!r}. Set the environment variable "
            "KERAS_BACKEND=jax before Keras is imported."
        )


def _check_shapes(*data):
    for tensor in keras.tree.flatten(data):
        is_shape = isinstance(tensor, keras.KerasTensor)
        if tensor is not None and (not is_shape or None in tensor.shape):
            raise ValueError(
                "Arguments `x`, `y` and `sample_weight` must be "
                "`keras.KerasTensor`s with every size given, the batch of all "
                f"chips first. Received: {tensor!r}. Pass, for example, "
                "`keras.KerasTensor((4096, 224, 224, 3))`."
            )


def _data_parallel(devices):
    return make_distribution("data", devices=devices, auto_shard_dataset=False)


def _compile(lowered, chip, effort, about):
    import jax

    try:
        with _compiling_with(effort):
            compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        # That a program does not fit is a result, not a failure.
        needed = _OUT_OF_MEMORY.search(str(error))
        if needed is None:
            raise
        used, used_unit, limit, limit_unit = needed.groups()
        return ProgramCost(
            peak_memory=round(float(used) * _UNITS[used_unit]),
            memory=round(float(limit) * _UNITS[limit_unit]),
            **about,
        )
    return _cost(compiled, chip, about)


@contextlib.contextmanager
def _compiling_with(effort):
    import jax

    before = jax.config.jax_optimization_level
    jax.config.update("jax_optimization_level", effort or "UNKNOWN")
    try:
        yield
    finally:
        jax.config.update("jax_optimization_level", before)


def _cost(compiled, chip, about):
    # Its `optimal_seconds` is not used: it is negative for some programs.
    counted = compiled.cost_analysis()
    memory = compiled.memory_analysis()
    text = compiled.as_text()
    return ProgramCost(
        peak_memory=memory.peak_memory_in_bytes,
        memory=chip.memory,
        flops=counted["flops"],
        bytes_accessed=counted["bytes accessed"],
        cycles=optimized_hlo.estimated_cycles(text),
        code_size=memory.generated_code_size_in_bytes,
        collectives=optimized_hlo.find_collectives(text),
        loops=optimized_hlo.count_loops(text),
        **about,
    )


def _versions():
    return {
        name: importlib.metadata.version(name)
        for name in ("jax", "jaxlib", "keras", "libtpu")
    }


def _cache_path(cache_dir, key):
    home = os.environ.get("KERAS_HOME", Path.home() / ".keras")
    folder = Path(cache_dir or Path(home) / "keras_laurel" / "tpu")
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return folder / f"{digest}.json"


def _write(path, text):
    """Write a file at once, so that other processes never read part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(text)
    part.replace(path)
