"""What more than one part of the package asks of its arguments."""

import numbers


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
