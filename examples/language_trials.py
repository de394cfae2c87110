"""What one run of the language experiments does: build, train, count.

Its functions are those that `experiment_runs.Experiment` calls, in a process
of their own where there are several. What Keras prints goes to `log.txt` in
the folder of the run.
"""

import argparse
import contextlib
import dataclasses
import math
from pathlib import Path

import keras

import keras_laurel
from experiments.devices import find_devices
from experiments.language.models import build_language_model
from experiments.variants import LaurelSizes
from llm_models import find_architecture
from llm_saving import fresh_keras
from llm_training import Recipe
from llm_training import clear_checkpoints
from llm_training import compile_language_model
from llm_training import evaluate
from llm_training import train
from shared_weights import copy_shared_weights
from text_corpus import open_corpus
from training_log import typical_speed

WEIGHTS = "model.weights.h5"
CORPUS_SETTINGS = (
    "dataset",
    "train_split",
    "eval_split",
    "max_tokens",
    "batch_size",
    "evaluation_batches",
)
RECIPE_SETTINGS = (
    "steps",
    "schedule",
    "learning_rate",
    "weight_decay",
    "accumulate",
)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Where the tokens of all runs are; several processes only read them.

    Args:
        folder: Gets a folder for each data set.
        data_dir: TFDS folder of prepared sets, or None.
    """

    folder: Path
    data_dir: str | None = None

    def open(self, settings, seed, devices):
        """The `Corpus` of some settings, in the order of a seed."""
        options = argparse.Namespace(
            **{name: settings[name] for name in CORPUS_SETTINGS},
            output=self._folder_of(settings["dataset"]),
            data_dir=self.data_dir,
            tokenizer=self._tokenizer(settings),
            seed=seed,
        )
        sizes = architecture_of(settings)
        return open_corpus(
            options, sizes.vocabulary_size, sizes.sequence_length, devices
        )

    def _tokenizer(self, settings):
        """A model that goes on with another text keeps its tokenizer."""
        first = settings.get("pretrained_on", settings["dataset"])
        if first == settings["dataset"]:
            return "bpe"
        return self._folder_of(first) / "data" / "tokens" / "tokenizer"

    def _folder_of(self, dataset):
        return self.folder / dataset.replace("/", "_")


def architecture_of(settings):
    return find_architecture(settings["configuration"])


def recipe_of(settings):
    return Recipe(
        **{name: settings[name] for name in RECIPE_SETTINGS},
        evaluate_every=settings["steps"] // settings["rounds"],
        warmup_steps=settings["steps"] // 10,
    )


def train_from_scratch(settings, seed, folder, texts):
    """Trains a variant; the weights of a baseline are kept, to go on from.

    Args:
        settings: Dict of what the run depends on.
        seed: Of the weights and of the order of the text.
        folder: Of the run.
        texts: `Texts`.

    Returns:
        Dict of numbers.
    """
    with started(settings, seed, folder, texts) as corpus:
        model = build_model(settings, seed)
        numbers = train_and_count(model, settings, corpus, folder)
        if settings["variant"] == "baseline":
            model.save_weights(folder / WEIGHTS)
        if learns_in_float32(model, settings):
            twin = build_model({**settings, "weights_in": "bfloat16"}, seed)
            twin.set_weights(model.get_weights())
            compile_language_model(twin, recipe_of(settings))
            numbers["held_out_loss_after_casting"] = evaluate(twin, corpus)
    clear_checkpoints(folder)
    return numbers


def continue_training(settings, seed, folder, texts, find_trained):
    """Trains a finished baseline further, in one of `METHODS`.

    Args:
        settings, seed, folder, texts: As for `train_from_scratch`.
        find_trained: Function of the seed: its baseline's `RunFolder`.

    Returns:
        Dict of numbers.
    """
    # Not the order that the baseline has seen this text in.
    order = seed + 1000
    with started(settings, order, folder, texts) as corpus:
        sizes = architecture_of(settings)
        model = build_language_model("baseline", sizes, seed=seed)
        model.load_weights(find_trained(seed)[WEIGHTS])
        model = METHODS[settings["method"]](model, settings)
        compile_language_model(model, recipe_of(settings))
        before = evaluate(model, corpus)
        numbers = train_and_count(model, settings, corpus, folder)
    clear_checkpoints(folder)
    return {"held_out_loss_before": before, **numbers}


@contextlib.contextmanager
def started(settings, seed, folder, texts):
    """The corpus of a run, with its devices, precision and log in use."""
    devices = find_devices()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "log.txt").open("a"))
        stack.enter_context(contextlib.redirect_stdout(log))
        corpus = texts.open(settings, seed, devices)
        precision = settings["precision"]
        stack.enter_context(fresh_keras(precision, devices.scope))
        yield corpus


def build_model(settings, seed):
    """The model of a variant; equal seeds give the shared weights alike."""
    variant, sizes = settings["variant"], architecture_of(settings)
    model = build_language_model("baseline", sizes, seed=seed)
    if variant == "deeper":
        deeper = build_language_model(variant, sizes, seed=seed)
        copy_shared_weights(model.backbone, deeper.backbone)
        return deeper
    return model if variant == "baseline" else add_laurel(model, settings)


def add_laurel(model, settings):
    sizes = LaurelSizes(settings["rank"], settings["num_activations"])
    layer = sizes.layer(
        settings["variant"], a_initializer=keras_laurel.ColumnOrthogonal()
    )
    if settings["weights_in"] == "bfloat16":
        layer = CastLaurel.from_config(layer.get_config())
    return keras_laurel.laurelize(
        model, layer, granularity=settings["granularity"]
    )


def add_lora(model, settings):
    model.backbone.enable_lora(settings["lora_rank"])
    return model


def add_laurel_alone(model, settings):
    """LAuReL's weights train, all others stay as they are."""
    model = add_laurel(model, settings)
    for layer in model.backbone.layers:
        layer.trainable = False
    for layer in keras_laurel.laurel_layers(model):
        layer.trainable = True
    return model


METHODS = {
    "plain": lambda model, settings: model,
    "laurel": add_laurel,
    "lora": add_lora,
    "laurel-alone": add_laurel_alone,
}


@keras.saving.register_keras_serializable(package="keras_laurel_examples")
class CastLaurel(keras_laurel.Laurel):
    """What the library avoids: alpha, beta and gamma applied in bfloat16.

    The weights behind them stay in float32, as under any mixed policy, and so
    does the sum: what differs is that 1.002 acts as 1.
    """

    def _bounded_weights(self):
        return tuple(map(round_to_bfloat16, super()._bounded_weights()))

    def _gamma(self):
        gamma = super()._gamma()
        return None if gamma is None else round_to_bfloat16(gamma)


def round_to_bfloat16(x):
    """x with 8 significant bits, in float32; the gradient is that of x.

    Not by casts there and back, which XLA may leave out. The sum that is
    taken away again is too large for the other 16 bits (Veltkamp, 1968).
    """
    wide = x * 65537.0
    return wide - (wide - x)


def learns_in_float32(model, settings):
    """Whether the model could be cast to bfloat16 after its training."""
    return bool(
        settings["precision"] == "mixed_bfloat16"
        and settings["weights_in"] == "float32"
        and keras_laurel.laurel_layers(model)
    )


def train_and_count(model, settings, corpus, folder):
    """Trains a model; its losses, size, speed and learned weights."""
    history = train(model, recipe_of(settings), corpus, folder)
    last = history[-1]
    return {
        "held_out_loss": last["val_loss"],
        "bits_per_byte": last["bits_per_byte"],
        "held_out_losses": [row["val_loss"] for row in history],
        "tokens": last["tokens"],
        "parameters": count(model.weights),
        "trainable_parameters": count(model.trainable_weights),
        "tokens_per_second": typical_speed(history),
        "step_memory_mb": step_memory(model, corpus),
        **learned_ranges(model),
    }


def count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


def learned_ranges(model):
    """The smallest and the largest alpha and beta of a model's layers."""
    learned = {
        name: [
            float(getattr(layer, name))
            for layer in keras_laurel.laurel_layers(model)
            if layer.residual_weights
        ]
        for name in ("alpha", "beta")
    }
    return {name: [min(x), max(x)] for name, x in learned.items() if x}


def step_memory(model, corpus):
    """MB that XLA plans for a training step; None but for JAX on one device.

    Its arguments, results and temporary buffers. The peak of the process would
    be that of all runs it has made so far.
    """
    if keras.backend.backend() != "jax":
        return None
    import jax

    from keras_laurel.tpu.keras_programs import make_program

    if len(jax.devices()) > 1:
        return None
    batch = (*corpus.training.batch(0), None)
    step, state, arguments, donated = make_program("train", model, batch)
    state = jax.tree.map(lambda variable: variable.value, state)
    lowered = jax.jit(step, donate_argnums=donated).lower(state, *arguments)
    sizes = lowered.compile().memory_analysis()
    total = sizes.argument_size_in_bytes + sizes.output_size_in_bytes
    total += sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
    return total / 1e6
