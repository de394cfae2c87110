import collections

import pytest

from keras_laurel.conversion.residual_sites import search
from tests.conversion.finding import attention
from tests.conversion.finding import images
from tests.conversion.finding import sequences

ROWS = {**attention.ROWS, **images.ROWS, **sequences.ROWS}


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
    tables = (attention.ROWS, images.ROWS, sequences.ROWS)
    assert len(ROWS) == sum(map(len, tables))
