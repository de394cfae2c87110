import collections

import pytest

from keras_laurel.conversion.residual_sites import search
from tests.conversion.finding import attention
from tests.conversion.finding import images
from tests.conversion.finding import sequences
from tests.conversion.finding import traps

TABLES = (attention.ROWS, images.ROWS, sequences.ROWS, traps.ROWS)
ROWS = {name: row for table in TABLES for name, row in table.items()}


@pytest.mark.parametrize("name", ROWS)
def test_residual_additions_are_found(name):
    row = ROWS[name]
    found, rejected = search(row.build())
    kinds = collections.Counter(site.kind for site in found)
    expected = collections.Counter(
        identity=row.identity, projection=row.projection, pooled=row.pooled
    )
    assert (kinds, len(rejected)) == (expected, row.rejected)


def test_each_name_stands_for_one_row():
    assert len(ROWS) == sum(map(len, TABLES))
