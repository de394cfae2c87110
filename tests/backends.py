"""Tests that need not run on each backend.

What depends on the graph alone, or is Python, is the same on each. It runs on
the fastest; where it is a table, the others show a few of its rows, and all of
them in `make test-slow`.
"""

import keras
import pytest

FASTEST = "torch"
_IS_FASTEST = keras.config.backend() == FASTEST

once = pytest.mark.skipif(not _IS_FASTEST, reason="is the same on each backend")


def rows(table, few):
    """The rows of a table for `pytest.mark.parametrize`.

    Args:
        table: Iterable of names, or of tuples of arguments.
        few: Those to show on each backend.
    """
    return [
        row
        if _IS_FASTEST or row in few
        else pytest.param(*_arguments(row), marks=pytest.mark.slow)
        for row in table
    ]


def _arguments(row):
    return row if isinstance(row, tuple) else (row,)
