"""Save and load the LAuReL weights of a model in a file of their own."""

import json
import os
import pathlib

import h5py
import keras
import numpy as np

from keras_laurel.checks import check_file_path
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.laurelize import laurel_layers

_SUFFIX = ".laurel.h5"
_FORMAT = "keras_laurel weights 1"


def save_laurel_weights(
    model: keras.Model, filepath: str | os.PathLike[str]
) -> None:
    """Save only the weights of the LAuReL layers, and of LoRA.

    The file is small. It can be loaded into the same plain model after the
    same conversion, just as a `.lora.h5` file can after `enable_lora`.

    Args:
        model: A `keras.Model` with LAuReL layers. For layers on which LoRA is
            enabled, the LoRA weights are saved too.
        filepath: String or path that ends in `.laurel.h5`.

    Raises:
        ValueError: if `filepath` has another ending, or `model` has no LAuReL
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


def load_laurel_weights(
    model: keras.Model, filepath: str | os.PathLike[str]
) -> None:
    """Load weights that `save_laurel_weights` saved.

    Layers are matched by their order, not by their names, since Keras
    generates some of the names.

    Args:
        model: A `keras.Model` that was converted like the saved one, with
            LoRA of the same rank enabled on the same layers.
        filepath: String or path of the file, which ends in `.laurel.h5`.

    Raises:
        ValueError: if `filepath` is not such a file, or if the number, the
            weights or the shapes of the saved layers differ from those of
            `model`. Nothing has changed then.
    """
    path = _checked_path(filepath)
    layers = _saved_layers(model)
    with _opened(path) as file:
        pairs = [
            pair
            for kind, found in layers.items()
            for pair in _pairs(model, path, file[kind], found, kind)
        ]
    # Every layer has been checked before the first weight changes.
    for weight, value in pairs:
        weight.assign(value)


def _saved_layers(model):
    """Return `(layer, weights by name)` for each LAuReL and LoRA layer."""
    laurels = laurel_layers(model)
    if not laurels:
        raise ValueError(
            "Argument `model` must have LAuReL layers. Received: "
            f"{model.name!r}, which has no LAuReL layers. Convert it first: "
            "`model = keras_laurel.laurelize(model, layer)`."
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
    """Return a dict of the weights, with an index in names used twice."""
    names = [w.name for w in weights]
    return {
        w.name if names.count(w.name) == 1 else f"{w.name}_{i}": w
        for i, w in enumerate(weights)
    }


def _pairs(model, path, saved, found, kind):
    """Return `(weight, value)` for each weight of the layers of one kind."""
    if len(saved) != len(found):
        how = "Convert it with" if kind == "laurel" else "Enable LoRA on"
        raise ValueError(
            "Argument `filepath` must be a file saved from a model with as "
            f"many layers. Received: {str(path)!r}, which has {len(saved)} "
            f"layers with {_KINDS[kind]} weights, while {model.name!r} has "
            f"{len(found)}. {how} the same layers as in the saved model."
        )
    pairs = []
    for i, (layer, weights) in enumerate(found):
        group = saved[str(i)]
        values = {name: np.array(group[name]) for name in group}
        shapes = {name: list(x.shape) for name, x in values.items()}
        expected = {name: list(w.shape) for name, w in weights.items()}
        if shapes != expected:
            raise ValueError(
                "Argument `filepath` must be a file saved from a model with "
                f"the same layers. Received: {str(path)!r}, in which the layer "
                f"{group.attrs['name']!r} has the weights "
                f"{json.dumps(shapes)}, while {layer.name!r} of "
                f"{model.name!r} has {json.dumps(expected)}. Use the same "
                "layer, rank and sites as when it was saved."
            )
        pairs += [(weights[name], values[name]) for name in weights]
    return pairs


_KINDS = {"laurel": "LAuReL", "lora": "LoRA"}


def _opened(path):
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(
            "Argument `filepath` must be a file that `save_laurel_weights` "
            f"wrote. Received: {str(path)!r}, which cannot be read: {error}"
        ) from error
    if file.attrs.get("format") != _FORMAT:
        file.close()
        raise ValueError(
            "Argument `filepath` must be a file that `save_laurel_weights` "
            f"wrote. Received: {str(path)!r}, which it did not write. Load "
            "weights of whole models with `model.load_weights`."
        )
    return file


def _checked_path(filepath):
    check_file_path("filepath", filepath)
    path = pathlib.Path(filepath)
    if not path.name.endswith(_SUFFIX):
        raise ValueError(
            "Argument `filepath` must have a name that ends in "
            f"{_SUFFIX!r}. Received: {str(filepath)!r}. Use, for example, "
            f"'model{_SUFFIX}'."
        )
    return path


def _wide(weight):
    """Return a weight as an array, in float32 if it is narrower.

    NumPy and HDF5 have no bfloat16; float32 holds its values exactly.
    """
    value = keras.ops.convert_to_tensor(weight)
    if keras.backend.standardize_dtype(weight.dtype) in ("bfloat16", "float16"):
        value = keras.ops.cast(value, "float32")
    return keras.ops.convert_to_numpy(value)
