"""Every backbone that KerasHub exports has a row, and the row is right."""

import inspect

import pytest

import keras_laurel
from keras_laurel.conversion.hub.families import FAMILIES
from keras_laurel.conversion.hub.families import UNSUPPORTED
from tests.conversion.hub.other_classes import OTHERS

with_graph = [name for name, row in OTHERS.items() if row.sites is not None]


def exported():
    """Names of the backbone classes that KerasHub exports."""
    import keras_hub

    models = keras_hub.models
    classes = inspect.getmembers(models, inspect.isclass)
    return {
        cls.__name__
        for _, cls in classes
        if issubclass(cls, models.Backbone) and cls is not models.Backbone
    }


def test_every_class_has_a_row():
    import keras_hub

    tables = (FAMILIES, UNSUPPORTED, OTHERS)
    rows = [name for table in tables for name in table]
    assert len(rows) == len(set(rows)), "a class has two rows"
    assert exported() <= set(rows), "add a row to `other_classes.py`"
    assert all(hasattr(keras_hub.models, name) for name in rows)


@pytest.mark.parametrize("name", with_graph)
def test_the_sites_of_a_graph(name):
    sites = keras_laurel.residual_sites(OTHERS[name].build())
    assert len(sites) == OTHERS[name].sites
