"""Save and load what LAuReL layers learned, apart from the model."""

import json
import pathlib

import h5py
import keras
import numpy as np

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.laurelize import laurel_layers

_SUFFIX = ".laurel.h5"
_FORMAT = "keras_laurel weights 1"


def save_laurel_weights(model, filepath):
    """Save the weights of the LAuReL layers alone, and those of LoRA.

    The file is small, and fits the same plain model once it is converted in
    the same way, as a `.lora.h5` file does once `enable_lora` was called.

    Args:
        model: A `keras.Model` with LAuReL layers. Of layers on which LoRA is
            enabled the low-rank weights are saved too.
        filepath: String or path that ends in `.laurel.h5`.

    Raises:
        ValueError: if the ending is another one, or `model` has no LAuReL
            layers.

    Example:

    >>> import pathlib, tempfile
    >>> x = keras.Input((8,))
    >>> plain = keras.Model(x, x + keras.layers.Dense(8)(x))
    >>> model = keras_laurel.laurelize(plain, keras_laurel.LaurelRW())
    Converted 1 residual addition to LaurelRW; left out 0 other additions.
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trained.laurel.h5"
    >>> keras_laurel.save_laurel_weights(model, path)
    >>> model = keras_laurel.laurelize(plain, keras_laurel.LaurelRW())
    Converted 1 residual addition to LaurelRW; left out 0 other additions.
    >>> keras_laurel.load_laurel_weights(model, path)
    """
    path = _checked_path(filepath)
    layers = _saved_layers(model)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = _FORMAT
        for kind, found in layers.items():
            file.create_group(kind)
            for i, (layer, weights) in enumerate(found):
                group = file[kind].create_group(str(i))
                group.attrs["name"] = layer.name
                for name, weight in weights.items():
                    group[name] = _wide(weight)


def load_laurel_weights(model, filepath):
    """Load what `save_laurel_weights` saved.

    Layers are matched in the order they stand in, not by their names, some of
    which Keras makes up.

    Args:
        model: A `keras.Model` that was converted as the saved one was, with
            LoRA of the same rank enabled where that had it.
        filepath: String or path of the file, which ends in `.laurel.h5`.

    Raises:
        ValueError: if it is no such file, or was saved from a model with other
            layers: their number, weights or shapes. Nothing has changed then.
    """
    path = _checked_path(filepath)
    layers = _saved_layers(model)
    with _opened(path) as file:
        pairs = [
            pair
            for kind, found in layers.items()
            for pair in _pairs(model, path, file[kind], found, kind)
        ]
    for weight, value in pairs:
        weight.assign(value)


def _saved_layers(model):
    """`(layer, weights by name)` of each layer, LAuReL's and LoRA's."""
    laurels = laurel_layers(model)
    if not laurels:
        raise ValueError(
            f"`model` got {model.name!r}, which has no LAuReL layers. Convert "
            "it first, `model = keras_laurel.laurelize(model, layer)`."
        )
    loras = [
        layer
        for layer in keras_internals.flatten_layers(model)
        if getattr(layer, "lora_enabled", False)
    ]
    return {
        "laurel": [(x, _by_name(x.weights)) for x in laurels],
        "lora": [(x, _by_name(_lora_weights(x))) for x in loras],
    }


def _lora_weights(layer):
    return [w for w in layer.weights if w.name.startswith("lora_")]


def _by_name(weights):
    """By name; by number too where two of a layer have one name."""
    names = [w.name for w in weights]
    return {
        w.name if names.count(w.name) == 1 else f"{w.name}_{i}": w
        for i, w in enumerate(weights)
    }


def _pairs(model, path, saved, found, kind):
    """`(weight, value)` for each weight of the layers of one kind."""
    if len(saved) != len(found):
        how = "Convert it with" if kind == "laurel" else "Enable LoRA on"
        raise ValueError(
            f"{str(path)!r} has {len(saved)} layers with "
            f"{_KINDS[kind]} weights, and {model.name!r} {len(found)}. {how} "
            "the same layers as that was saved from."
        )
    pairs = []
    for i, (layer, weights) in enumerate(found):
        group = saved[str(i)]
        values = {name: np.array(group[name]) for name in group}
        shapes = {name: list(x.shape) for name, x in values.items()}
        expected = {name: list(w.shape) for name, w in weights.items()}
        if shapes != expected:
            raise ValueError(
                f"{str(path)!r} has for its layer {group.attrs['name']!r} the "
                f"weights {json.dumps(shapes)}; {layer.name!r} of "
                f"{model.name!r}, in its place, has {json.dumps(expected)}. "
                "Use the same layer, rank and sites as when it was saved."
            )
        pairs += [(weights[name], values[name]) for name in weights]
    return pairs


_KINDS = {"laurel": "LAuReL", "lora": "LoRA"}


def _opened(path):
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            f"`filepath` got {str(path)!r}, which is no file that "
            f"`save_laurel_weights` wrote: {error}"
        ) from error
    if file.attrs.get("format") != _FORMAT:
        file.close()
        raise ValueError(
            f"`filepath` got {str(path)!r}, which `save_laurel_weights` did "
            "not write. Load weights of whole models with "
            "`model.load_weights`."
        )
    return file


def _checked_path(filepath):
    path = pathlib.Path(filepath)
    if not path.name.endswith(_SUFFIX):
        raise ValueError(
            f"`filepath` got {str(filepath)!r}; it needs a name that ends in "
            f"{_SUFFIX!r}, such as 'model{_SUFFIX}'."
        )
    return path


def _wide(weight):
    """NumPy, and the file, have no bfloat16; float32 holds it exactly."""
    value = keras.ops.convert_to_tensor(weight)
    if keras.backend.standardize_dtype(weight.dtype) in ("bfloat16", "float16"):
        value = keras.ops.cast(value, "float32")
    return keras.ops.convert_to_numpy(value)
