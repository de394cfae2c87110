"""Checks of arguments that more than one part of the package uses."""

import numbers
import os

import keras
import numpy as np


def check_integer(name, value, least=None, optional=False):
    """Return an argument as a Python `int`, which JSON can store.

    Raises:
        ValueError: if the value is not an integer of Python or NumPy, or is
            below `least`. `None` is accepted only if `optional`.
    """
    if optional and value is None:
        return None
    if not is_integer(value, least):
        bound = "" if least is None else f" of at least {least}"
        or_none = ", or None" if optional else ""
        raise ValueError(
            f"Argument `{name}` must be an integer{bound}{or_none}. "
            f"Received: {name}={value!r}."
        )
    return int(value)


def is_integer(value, least=None):
    """Return whether a value is an integer, and is at least `least`.

    Integers of NumPy are integers, booleans are not.
    """
    is_number = isinstance(value, numbers.Integral)
    if not is_number or isinstance(value, bool):
        return False
    return least is None or value >= least


def check_boolean(name, value):
    """Return an argument as a Python `bool`.

    Raises:
        ValueError: if the value is not a boolean of Python or NumPy. Other
            values are not converted, since the string "no" is true.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(
            f"Argument `{name}` must be True or False. Received: "
            f"{name}={value!r}."
        )
    return bool(value)


def check_path(name, value, optional=False):
    """Raise if `value` is not a path, or is an empty one.

    `None` is accepted only if `optional`.
    """
    if optional and value is None:
        return
    # `Path("")` is the current folder.
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ValueError(
            f"Argument `{name}` must be a path: a string that is not empty, "
            f"or a `pathlib.Path`. Received: {name}={value!r}."
        )


def check_file_path(name, value, optional=False):
    """Raise if `value` is not the path of a file, which may not exist yet."""
    check_path(name, value, optional)
    if value is not None and os.path.isdir(value):
        raise ValueError(
            f"Argument `{name}` must be the path of a file. Received: "
            f"{name}={value!r}, which is a folder. Add the name of a file."
        )


def check_batch(name, value):
    """Raise if `value` holds nothing that may be a tensor.

    Objects of other classes than Python's numbers and strings are accepted,
    since they may hold tensors.
    """
    plain = (str, bytes, numbers.Number, type(None))
    leaves = keras.tree.flatten(value)
    if value is None or not all(isinstance(x, plain) for x in leaves):
        return
    sizes = leaves and all(x is None or is_integer(x) for x in leaves)
    what = "is a shape" if sizes else "holds no tensors"
    raise ValueError(
        f"Argument `{name}` must be a batch, or `keras.Input`s. Received: "
        f"{name}={value!r}, which {what}. Pass a batch of arrays, or a "
        "`keras.Input` of the shape without the batch axis, with "
        '`dtype="int32"` for tokens.'
    )


def check_model(name, value):
    """Raise if `value` is not a `keras.Model`."""
    if not isinstance(value, keras.Model):
        of_one_layer = (
            " To make a model of one layer, use `keras.Sequential([layer])`."
        )
        raise ValueError(
            f"Argument `{name}` must be a `keras.Model`. Received: "
            f"{name}={value!r}, of type {type(value).__name__}."
            f"{how_to_load(value) or of_one_layer}"
        )


def how_to_load(value):
    """Return advice for an error about a path where a model was expected.

    It is empty if `value` is not a path.
    """
    if not isinstance(value, (str, os.PathLike)):
        return ""
    return f" Load it first: `keras.models.load_model({os.fspath(value)!r})`."


def shapes_agree(shapes):
    """Return whether tensors of these shapes may all have the same shape.

    Only known sizes are compared. A traced size is unknown: it is `None` on
    TensorFlow and in `keras.Input`, a symbol in the exporters of JAX and
    PyTorch, and a tensor under `torch.jit.trace`.
    """
    if len({len(shape) for shape in shapes}) > 1:
        return False
    return all(len(set(filter(is_integer, s))) < 2 for s in zip(*shapes))
