"""The names, additions and lines in the code of a Python function."""

import contextlib
import dis
import inspect
import types

# Python 3.14 loads small integers by an instruction of their own.
_CONSTANTS = ("LOAD_CONST", "LOAD_SMALL_INT")


def function_of(value):
    """Return the function behind an attribute of a class, or `None`."""
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, types.FunctionType) else None


def closed_over(function):
    """Return the functions that a function closes over, or decorates."""
    found = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # The cell is empty.
            found.append(cell.cell_contents)
    return [x for x in found if isinstance(x, types.FunctionType)]


def functions_used(function):
    """Return the functions outside of classes that a function uses."""
    found = [function.__globals__.get(name) for name in names_in(function)]
    return [x for x in found if isinstance(x, types.FunctionType)]


def _codes(code):
    """Yield a code object and those of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def names_in(function):
    """Return the names of attributes and globals that a function uses."""
    return {x for code in _codes(function.__code__) for x in code.co_names}


def places_of(function):
    """Return the `(file, line, function)` of all lines of a function."""
    return {
        (code.co_filename, line, code.co_name)
        for code in _codes(function.__code__)
        for _, _, line in code.co_lines()
    }


def has_addition(function):
    """Return whether a function adds anything but a constant, as in `i + 1`."""
    if names_in(function) & {"add", "Add"}:
        return True
    for code in _codes(function.__code__):
        before = None
        for x in dis.get_instructions(code):
            if x.opname == "BINARY_OP" and x.argrepr in ("+", "+="):
                # After a jump, the constant is one of two alternatives.
                if x.is_jump_target or before not in _CONSTANTS:
                    return True
            before = x.opname
    return False
