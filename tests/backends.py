"""Marks for tests that need not run in full on each backend.

Code that reads only the graph, or is plain Python, does the same on each. Its
tests run on the fastest backend. Of a table, the other backends run a few
rows, and the rest in `make test-slow`.
"""

import keras
import pytest

FASTEST = "torch"
IS_FASTEST = keras.config.backend() == FASTEST

once = pytest.mark.skipif(not IS_FASTEST, reason="is the same on each backend")


def rows(table, few):
    """Return the rows of a table for `pytest.mark.parametrize`.

    Args:
        table: Iterable of names, or of tuples of arguments.
        few: The rows to run on each backend.
    """
    return [
        row
        if IS_FASTEST or row in few
        else pytest.param(*_arguments(row), marks=pytest.mark.slow)
        for row in table
    ]


def _arguments(row):
    return row if isinstance(row, tuple) else (row,)
