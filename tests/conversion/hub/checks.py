"""Checks of converted transformers."""

import json
import os
import subprocess
import sys
import textwrap
from unittest import mock

import keras
import numpy as np
from keras import ops

import keras_laurel
from tests.conversion.hub.rows import DECODERS
from tests.conversion.models import outputs

ALL = {family.name: family for family in DECODERS}
FOUR = ("GPT2", "Llama", "Gemma3", "Mixtral")
GRANULARITIES = ("block", "sublayer")
VARIANTS = ("rw", "lr", "pa", "rw+lr", "rw+pa", "lr+pa", "rw+lr+pa")


def prototype(variant, **options):
    """A layer by the paper's name, small where it has a rank."""
    if "lr" in variant.split("+"):
        options = {"rank": 2, **options}
    return keras_laurel.get(variant, **options)


def perturb(model, seed=0, scale=0.3):
    """Move every LAuReL weight off its start, far enough to matter."""
    rng = np.random.default_rng(seed)
    for layer in keras_laurel.laurel_layers(model):
        for weight in layer.weights:
            noise = rng.normal(scale=scale, size=weight.shape)
            weight.assign(ops.convert_to_numpy(weight) + noise)


def logits(model, x):
    """The first output as an array, computed op by op."""
    return outputs(model, x)[0]


def plain_task(family, seed=0):
    """A task of a family, the same for the same seed."""
    keras.utils.set_random_seed(seed)
    return family.task(family.backbone())


def converted_task(family, variant="rw+lr+pa", granularity="block", seed=0):
    """A task of a family, converted, its LAuReL weights off their start."""
    task = plain_task(family, seed)
    keras_laurel.laurelize(task, prototype(variant), granularity=granularity)
    perturb(task, seed)
    return task


def laurel_weights(model):
    return [w for x in keras_laurel.laurel_layers(model) for w in x.weights]


def values(variables):
    return [ops.convert_to_numpy(ops.cast(v, "float32")) for v in variables]


def train(task, x, steps=1, **options):
    """The losses of steps on next tokens that are the tokens themselves."""
    task.compile(
        optimizer=options.pop("optimizer", None) or keras.optimizers.SGD(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[],
        **options,
    )
    return [float(task.train_on_batch(x, x["token_ids"])) for _ in range(steps)]


def quantize_int8(model):
    """Without the collection of garbage that Keras does for each layer, which
    takes a second among all that is imported here."""
    with mock.patch("gc.collect"):
        model.quantize("int8")


def greedy_by_recomputation(task, prompt):
    """Generate greedily by computing the whole text anew at each step.

    Args:
        prompt: Inputs with `token_ids` and a `padding_mask` that says where
            the prompt ends, at the same place in every row.
    """
    x = {key: np.array(value) for key, value in prompt.items()}
    (start,) = set(x["padding_mask"].sum(axis=1))
    for i in range(start, x["token_ids"].shape[1]):
        x["padding_mask"][:, i] = True
        known = {key: x[key] for key in task.input}
        following = logits(task, known)[:, i - 1].argmax(axis=-1)
        x["token_ids"][:, i] = following
    return x["token_ids"]


def generated(task, prompt):
    """The tokens that the compiled `generate` gives with its cache."""
    x = {key: np.array(value) for key, value in prompt.items()}
    tokens = "decoder_token_ids" if "decoder_token_ids" in x else "token_ids"
    return np.asarray(task.generate(x, stop_token_ids=None)[tokens])


def fresh_process(script, *arguments):
    """Run `script` in a process of its own, with `arguments` in `sys.argv`.

    Returns:
        What it printed.
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **_settings()},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def _settings():
    """Return the environment in which a process computes the same numbers."""
    backend = keras.config.backend()
    if backend != "jax":
        return {"KERAS_BACKEND": backend}
    import jax

    quick = jax.config.read("jax_disable_most_optimizations")
    return {
        "KERAS_BACKEND": backend,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": str(quick),
    }


def save_for_fresh_process(task, x, folder):
    """Write a task in every way there is, and what it computes for `x`."""
    folder.mkdir(parents=True)
    np.savez(folder / "inputs.npz", **x)
    np.save(folder / "outputs.npy", logits(task, x))
    task.save(folder / "model.keras")
    task.save_to_preset(folder / "preset")
    task.save_weights(folder / "task.weights.h5")


LOAD = """
    import json
    import pathlib
    import sys

    {imports}
    import numpy as np


    def logits(model, x):
        y = keras.tree.flatten(model(x, training=False))[0]
        return keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))


    def forget_laurel(task):
        for layer in keras_laurel.laurel_layers(task):
            for weight in layer.weights:
                weight.assign(weight * 0)


    def loaded_tasks(folder):
        task = keras.saving.load_model(folder / "model.keras")
        yield "keras", task
        forget_laurel(task)
        task.load_weights(folder / "task.weights.h5")
        yield "weights", task
        import keras_hub

        preset = str(folder / "preset")
        yield "preset", keras_hub.models.{task}.from_preset(preset)
        backbone = keras_hub.models.Backbone.from_preset(preset)
        forget_laurel(task)
        task.backbone.set_weights(backbone.get_weights())
        yield "backbone_preset", task


    def loaded(folder):
        x = dict(np.load(folder / "inputs.npz"))
        y = np.load(folder / "outputs.npy")
        for name, task in loaded_tasks(folder):
            yield name, dict(
                difference=float(np.abs(logits(task, x) - y).max()),
                task=type(task).__name__,
                backbone=type(task.backbone).__name__,
                laurels=len(keras_laurel.laurel_layers(task)),
            )


    for folder in map(pathlib.Path, sys.argv[1:]):
        try:
            report = dict(loaded(folder))
        except Exception as error:
            report = dict(error=repr(error))
        print("LOADED", json.dumps([str(folder), report]), flush=True)
"""
FIRST_KERAS_LAUREL = "import keras_laurel, keras"
FIRST_KERAS_HUB = "import keras_hub, keras, keras_laurel"


def loaded_in_fresh_process(folders, imports=FIRST_KERAS_LAUREL):
    """Load what `save_for_fresh_process` wrote, all in one new process.

    Returns:
        Dictionary by folder: for each way of saving the largest difference of
        the outputs, the names of the classes and the number of LAuReL layers;
        or the error.
    """
    script = textwrap.dedent(LOAD).format(imports=imports, task="CausalLM")
    lines = fresh_process(script, *folders).splitlines()
    marked = [line for line in lines if line.startswith("LOADED ")]
    return dict(json.loads(line.removeprefix("LOADED ")) for line in marked)
