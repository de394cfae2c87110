"""The report's first answer: how many claims came out how, and which."""

import collections

from experiments_claims import COMPARISONS
from experiments_cost_claims import COSTS
from experiments_cost_claims import PARAMETERS
from experiments_tables import cost_row
from experiments_tables import parameter_row
from experiments_tables import quality_row
from experiments_tables import table
from experiments_verdicts import CONFIRMED
from experiments_verdicts import OPPOSITE

KINDS = {
    "quality": (quality_row, COMPARISONS),
    "costs": (cost_row, COSTS),
    "parameters": (parameter_row, PARAMETERS),
}
SAID = {CONFIRMED: "Confirmed", OPPOSITE: "The opposite was seen"}


def describe_outcome(results):
    """The verdicts counted, and the decided claims on quality."""
    found = {
        kind: [(claim.text, row_of(results, claim)[-1]) for claim in claims]
        for kind, (row_of, claims) in KINDS.items()
    }
    lines = [table(("claims on", "how many", "verdict"), count_verdicts(found))]
    for verdict, said in SAID.items():
        texts = [text for text, given in found["quality"] if given == verdict]
        if texts:
            lines.append(f"{said}, on quality: {'; '.join(texts)}.\n")
    return "\n".join(lines)


def count_verdicts(found):
    return [
        (kind, str(count), verdict)
        for kind, claims in found.items()
        for verdict, count in collections.Counter(
            verdict for _, verdict in claims
        ).most_common()
    ]
