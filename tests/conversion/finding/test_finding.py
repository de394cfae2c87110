"""The residual additions of the tables are found, and no others."""

import collections

import pytest

from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.graphs.search import search_one
from tests.backends import rows
from tests.conversion.finding import attention
from tests.conversion.finding import images
from tests.conversion.finding import networks
from tests.conversion.finding import sequences
from tests.conversion.finding import traps

REPRESENTATIVE = (
    "windows by layers",
    "masked by hand",
    "positions",
    "shortcut, own layer",
    "shortcut, padded by Lambda, second",
    "u-net 1D of any size, own",
    "u-net of any size, all its own",
    "own autoencoder of any size",
    "broadcasts",
    "skips that pass",
)

TABLES = (
    attention.ROWS,
    images.ROWS,
    sequences.ROWS,
    traps.ROWS,
    networks.ROWS,
)
ROWS = {name: row for table in TABLES for name, row in table.items()}


def search(model):
    """In graphs alone: some of these models are built and cannot run."""
    pairs = [search_one(graph) for graph in functional_models(model)]
    sites = [site for found, _ in pairs for site in found]
    return sites, [reason for _, rejected in pairs for reason in rejected]


@pytest.mark.parametrize("name", rows(ROWS, REPRESENTATIVE))
def test_residual_additions_are_found(name):
    row = ROWS[name]
    found, rejected = search(row.build())
    kinds = collections.Counter(site.kind for site in found)
    assert (kinds, len(rejected)) == (row.kinds, row.rejected)


def test_each_name_stands_for_one_row():
    assert len(ROWS) == sum(map(len, TABLES))
    assert ROWS.keys() >= {*REPRESENTATIVE}
