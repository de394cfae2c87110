"""Subclassed models and layers as people write them, in two tables.

By domain in `own_text`, `own_seq2seq`, `own_vision`, `own_networks`,
`own_generative` and `own_signals`; `own_ways` has the ways to hold and call a
block, `own_merges` the ways to add. `other_text` and `other_vision` were not
seen while conversion was written. `row.Row` says what the columns are.
"""

from tests.conversion.inside import other_text
from tests.conversion.inside import other_vision
from tests.conversion.inside import own_generative
from tests.conversion.inside import own_merges
from tests.conversion.inside import own_networks
from tests.conversion.inside import own_seq2seq
from tests.conversion.inside import own_signals
from tests.conversion.inside import own_text
from tests.conversion.inside import own_vision
from tests.conversion.inside import own_ways
from tests.conversion.inside import twins

DOMAINS = (
    own_text,
    own_seq2seq,
    own_vision,
    own_networks,
    own_generative,
    own_signals,
    own_ways,
    own_merges,
)
HELD_OUT = (other_text, other_vision)
TABLE = {
    name: row
    for domain in DOMAINS + HELD_OUT
    for name, row in domain.ROWS.items()
}
DOMAIN_OF = {
    name: domain for domain in DOMAINS + HELD_OUT for name in domain.ROWS
}
CONVERTED = {name: row for name, row in TABLE.items() if not row.refused}


def twin(name, prototype):
    """The model of a row with copies of `prototype` where it adds."""
    rewritten = twins.module(DOMAIN_OF[name].__name__)
    with twins.TWINS.building(prototype):
        return rewritten.ROWS[name].build()
