"""All full names used in texts exist."""

import functools
import pathlib
import re

import pytest

import keras_laurel

ROOT = pathlib.Path(__file__).parent.parent
FILES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("keras_laurel/**/*.py"),
]
NAMES = {
    name
    for file in FILES
    for name in re.findall(r"`keras_laurel\.([A-Za-z_.]*\w)", file.read_text())
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_after_one_import(name):
    functools.reduce(getattr, name.split("."), keras_laurel)


def test_names_were_found():
    assert {"Laurel", "costs.tpu.compile_program"} <= NAMES
