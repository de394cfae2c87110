"""The harness' model `keras_hub`: a preset or a `.keras` file by its path."""

from pathlib import Path

import keras
import keras_hub
from lm_eval.api.registry import register_model

from experiments.evaluation.harness_lm import HarnessLM


@register_model("keras_hub")
class KerasHubLM(HarnessLM):
    """`HarnessLM` with a model that is read from disk or from a hub.

    Args:
        path: A `.keras` file, or a KerasHub preset: a folder, a name, or an
            address such as `hf://...`.
        dtype: Dtype policy of a preset; a `.keras` file keeps its own.
        batch_size: As for `HarnessLM`.
        options: Further arguments of `HarnessLM`: `max_length`,
            `max_gen_toks`, `add_bos_token`. `device` and `max_batch_size`,
            which the harness passes to every model, have no meaning here.

    Raises:
        ValueError: If there is no such model.
    """

    def __init__(self, path, dtype="float32", batch_size=1, **options):
        for name in ("device", "max_batch_size"):
            options.pop(name, None)
        if not str(batch_size).isdecimal():
            raise ValueError(
                "`--batch_size` must be a number. Received: "
                f"--batch_size {batch_size}."
            )
        super().__init__(load(path, dtype), int(batch_size), **options)


def load(path, dtype):
    """A task with its preprocessor."""
    if path.endswith(".keras") and Path(path).exists():
        return keras.models.load_model(path, compile=False)
    of_hub = "://" in path or path in keras_hub.models.CausalLM.presets
    if not of_hub and not Path(path, "config.json").exists():
        raise ValueError(
            "`path` must be a .keras file, the folder or the name of a preset, "
            f"or an address on a hub. Received: path={path}."
        )
    # Without a dtype KerasHub 0.32 fails on a preset in mixed precision.
    return keras_hub.models.CausalLM.from_preset(path, dtype=dtype)
