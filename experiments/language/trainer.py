"""The trainer for text: one arm with one seed.

Arms of one seed begin alike, as far as they have the same weights, and read
the same text in the same order.
"""

import dataclasses
import functools
import statistics

import keras

import keras_laurel
from experiments import training
from experiments.devices import check_batch_size
from experiments.devices import find_devices
from experiments.devices import writer_first
from experiments.language import saving
from experiments.language.conversion import build_model as build_arm
from experiments.language.corpus import bits_per_byte
from experiments.language.corpus import open_corpus
from experiments.language.initialization import initialize
from experiments.language.models import architecture_of
from experiments.language.optimizer import compile_language_model
from experiments.language.optimizer import sizes_of
from experiments.plan import count
from keras_laurel.distribution import llama_layout_map

layout_map = llama_layout_map


def prepare(settings, seeds, machine, devices):
    """Put the tokens of some settings on disk; numbers that describe them."""
    for seed in range(seeds):
        saving.find_preset(settings, seed, machine.output)
    preset, architecture = start_of(settings, 0, machine)
    sizes = sizes_of(settings, architecture)
    check_batch_size(sizes.batch_size, devices)
    check_accumulation(settings.accumulate, devices)
    with writer_first(devices):
        corpus = open_corpus(settings, sizes, machine, devices, 0, preset)
    return {
        "training_tokens": len(corpus.windows[0].tokens),
        "evaluation_tokens": corpus.evaluation_tokens,
        "evaluation_bytes": corpus.evaluation_bytes(),
    }


def check_accumulation(accumulate, devices):
    """Raise if gradients are accumulated under `tf.distribute`.

    Keras averages gradients in a branch, which `tf.distribute` forbids."""
    several = devices.count > 1 and keras.backend.backend() == "tensorflow"
    if accumulate > 1 and several:
        raise ValueError(
            "Setting `accumulate` must be 1 on several devices of TensorFlow, "
            "under whose strategies Keras cannot accumulate gradients. "
            f"Received: accumulate={accumulate} on {devices}."
        )


def start_of(settings, seed, machine):
    """The preset that a run begins with, if any, and its `Architecture`."""
    preset = saving.find_preset(settings, seed, machine.output)
    if preset is None:
        return None, architecture_of(settings)
    return preset, saving.sizes_of_preset(preset, settings.rank)


def build_model(settings, machine, devices):
    """The model of some settings, for counting."""
    return build_arm(settings, start_of(settings, 0, machine)[1], seed=0)


def optimizer_slots(settings):
    """AdamW has two; a third where gradients are added up, or averages kept."""
    return 2 + (settings.accumulate > 1) + (settings.averaging > 0)


def train(settings, seed, folder, machine):
    """Train one model; the numbers of its run.

    Returns:
        Dict, or None in all processes except the first.
    """
    devices = find_devices(machine, layout_map)
    preset, architecture = start_of(settings, seed, machine)
    sizes = sizes_of(settings, architecture)
    corpus = open_corpus(settings, sizes, machine, devices, seed, preset)
    build = functools.partial(build_arm, settings, architecture, seed)
    numbers = {}
    with training.fresh_keras(settings.precision, devices.scope):
        if preset:
            keras.utils.set_random_seed(seed)
            model = build(start=saving.read_language_model(preset))
        else:
            model = build()
            initialize(model, settings, architecture, seed)
        compile_language_model(model, settings, sizes.steps)
        if preset:
            numbers["held_out_loss_before"] = held_out_loss(model, corpus)
        history = training.fit(
            model,
            corpus,
            sizes.rounds,
            sizes.steps_per_round,
            folder,
            devices,
            measure_of(corpus),
            [keras.callbacks.SwapEMAWeights()] if settings.averaging else [],
        )
        numbers |= describe(model)
        if settings.measure_memory:
            numbers["step_memory_mb"] = step_memory(model, corpus)
        if learns_in_float32(model, settings):
            numbers |= evaluate_cast(model, settings, corpus, build)
        if settings.keep_model:
            model = training.gathered(model, build, settings.precision, devices)
    if not devices.is_writer:
        return None
    numbers |= {"device": str(devices), **summarize(history)}
    if settings.keep_model:
        numbers |= keep(model, settings, seed, folder, corpus, devices)
    return numbers


def step_memory(model, corpus):
    """MB that XLA plans for a step's arguments, results and temporary buffers.

    The peak of the process would be that of all runs it has made so far.

    Returns:
        Number, or None except for JAX on one device.
    """
    if keras.backend.backend() != "jax":
        return None
    import jax

    from keras_laurel.costs.tpu.keras_programs import make_program

    if len(jax.devices()) > 1:
        return None
    batch = (*next(iter(corpus.training(0))), None)
    step, state, arguments, donated = make_program("train", model, batch)
    state = jax.tree.map(lambda variable: variable.value, state)
    lowered = jax.jit(step, donate_argnums=donated).lower(state, *arguments)
    sizes = lowered.compile().memory_analysis()
    total = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    total += sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
    return total / 1e6


def held_out_loss(model, corpus):
    return training.evaluate(model, corpus)["loss"]


def measure_of(corpus):
    """The numbers of a round that Keras does not log."""
    per_round = corpus.sizes.steps_per_round * corpus.sizes.tokens_per_batch
    num_bytes = corpus.evaluation_bytes()

    def measure(rounds, logs):
        bits = bits_per_byte(
            logs["val_loss"], corpus.evaluation_tokens, num_bytes
        )
        return {
            "tokens": rounds * per_round,
            "bits_per_byte": bits,
            "tokens_per_second": per_round / logs["seconds"],
        }

    return measure


def parameters_of(model):
    """Count all parameters, also those that are not trained."""
    return count(model.weights)


def describe(model):
    """Return a model's size and learned numbers; all processes must call it."""
    return {
        "parameters": parameters_of(model),
        "trainable_parameters": count(model.trainable_weights),
        **learned_ranges(model),
    }


def summarize(history):
    last = history[-1]
    # Rounds that compiled nothing, if there are any.
    warm = [row for row in history if not row["begins_sitting"]] or history
    return {
        "held_out_loss": last["val_loss"],
        "bits_per_byte": last["bits_per_byte"],
        "tokens": last["tokens"],
        "tokens_per_second": statistics.median(
            row["tokens_per_second"] for row in warm
        ),
        "history": history,
    }


def learned_ranges(model):
    """The smallest and the largest alpha and beta of a model's layers."""
    learned = {
        name: [
            float(keras.ops.convert_to_numpy(getattr(layer, name)))
            for layer in keras_laurel.laurel_layers(model)
            if layer.residual_weights
        ]
        for name in ("alpha", "beta")
    }
    return {name: [min(x), max(x)] for name, x in learned.items() if x}


def learns_in_float32(model, settings):
    """Return whether the weights of the connections can become bfloat16."""
    return bool(
        settings.precision == "mixed_bfloat16"
        and settings.weights_in == "float32"
        and settings.start_from is None
        and keras_laurel.laurel_layers(model)
    )


def evaluate_cast(model, settings, corpus, build):
    """The loss with alpha, beta and gamma rounded to bfloat16, as a dict."""
    cast = dataclasses.replace(settings, weights_in="bfloat16")
    twin = build_arm(cast, *build.args[1:])
    twin.set_weights(model.get_weights())
    compile_language_model(twin, settings, corpus.sizes.steps)
    return {"held_out_loss_after_casting": held_out_loss(twin, corpus)}


def keep(model, settings, seed, folder, corpus, devices):
    """Save the model; the loss and the sample of what is read back.

    A file that cannot be read is of no use.
    """
    length = corpus.sizes.sequence_length
    saving.save_language_model(model, corpus.tokenizer, length, folder)
    if not settings.prompt:
        return {}
    with training.fresh_keras(settings.precision, devices.local_scope):
        return {"sample": saving.write_sample(folder, settings.prompt, seed)}
