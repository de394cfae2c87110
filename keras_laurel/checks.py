"""What more than one part of the package asks of its arguments."""

import numbers
import os

import keras
import numpy as np


def check_integer(name, value, least=None, optional=False):
    """The value of an argument as Python's `int`, which JSON has.

    Raises:
        ValueError: if it is no integer, Python's or NumPy's, or is below
            `least`; `None` only where it is `optional`.
    """
    if optional and value is None:
        return None
    if not is_integer(value, least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"`{name}` got {value!r}; it needs an integer{bound}.")
    return int(value)


def is_integer(value, least=None):
    is_number = isinstance(value, numbers.Integral)
    if not is_number or isinstance(value, bool):
        return False
    return least is None or value >= least


def check_boolean(name, value):
    """The value of an argument as Python's `bool`.

    Raises:
        ValueError: if it is none, Python's or NumPy's: the string "no" is
            true.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(
            f"Argument `{name}` must be True or False. Received: "
            f"{name}={value!r}."
        )
    return bool(value)


def check_path(name, value):
    """Raises where `value` is neither a path nor `None`."""
    if value is not None and not isinstance(value, (str, os.PathLike)):
        raise ValueError(
            f"Argument `{name}` must be a string or a `pathlib.Path`. "
            f"Received: {name}={value!r}."
        )


def check_model(name, value):
    """Raises where `value` is no `keras.Model`."""
    if not isinstance(value, keras.Model):
        raise ValueError(
            f"Argument `{name}` must be a `keras.Model`. Received: "
            f"{name}={value!r}, a {type(value).__name__}. One layer is a "
            "model too: `keras.Sequential([layer])`."
        )


def shapes_agree(shapes):
    """Whether tensors of these shapes may all be of one shape.

    Only what is known decides. A size that is traced is not: `None` on
    TensorFlow and in `keras.Input`, a symbol in JAX's and PyTorch's exporters,
    a tensor under `torch.jit.trace`.
    """
    if len({len(shape) for shape in shapes}) > 1:
        return False
    return all(len(set(filter(is_integer, s))) < 2 for s in zip(*shapes))
