"""Counts and conversion of published models, on one backend for all of them.

What is found depends on the graph alone, so each other backend gets a few.
"""

import collections
import re

import keras
import pytest

import keras_laurel
from keras_laurel.conversion.residual_sites import search
from tests.backends import once
from tests.conversion import zoo
from tests.conversion.models import assert_moved
from tests.conversion.models import assert_same_outputs
from tests.conversion.models import outputs
from tests.conversion.models import random_input

pytestmark = once

ALL_ROWS_ON = "tensorflow"


def _names():
    if keras.config.backend() != ALL_ROWS_ON:
        return zoo.REPRESENTATIVE
    return [
        pytest.param(name, marks=[pytest.mark.slow] if row.slow else [])
        for name, row in zoo.ROWS.items()
    ]


@pytest.fixture(scope="module", params=_names())
def built(request):
    keras.backend.clear_session()
    row = zoo.ROWS[request.param]
    return row, row.build()


def test_counts(built):
    row, model = built
    found, rejected = search(model)
    kinds = collections.Counter(site.kind for site in found)
    assert (kinds, len(rejected)) == (row.kinds, row.rejected)
    assert all(re.match(row.names, site.name) for site in found)


def test_conversion_changes_no_bit(built):
    row, model = built
    layer = keras_laurel.get("rw+lr+pa", rank=4)
    if not row.sites:
        with pytest.raises(ValueError, match="no residual addition was found"):
            keras_laurel.laurelize(model, layer)
        return
    x = random_input(model)
    expected = outputs(model, x)
    converted = keras_laurel.laurelize(model, layer)
    layers = keras_laurel.laurel_layers(converted)
    assert len(layers) == row.sites
    assert_same_outputs(outputs(converted, x), expected)
    for layer in layers:
        layer.laurel_residual_weights.assign([1.0, -1.0])
    assert_moved(outputs(converted, x), expected)
