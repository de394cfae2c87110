"""What chance may confirm of the claims, and what the runs could have shown."""

import statistics

from experiments_claims import COMPARISONS
from experiments_results import measure_of
from experiments_tables import compare
from experiments_verdicts import ACCURACY
from experiments_verdicts import LOSS

# Of a claim with a 95 % interval; "no worse" is meant to be confirmed.
CHANCE = {"better": 0.025, "differs": 0.05}
SIZES = """\
A difference shows if the one that is found is larger than half of its interval,
which a true one of that size is in half of all cases. These halves are

"""


def describe_chance(results):
    """What belongs to the verdicts, of the claims that have an interval."""
    found = [(claim, compare(results, claim)) for claim in COMPARISONS]
    tested = [(claim, x) for claim, x in found if x is not None and x.interval]
    if not tested:
        return "No claim on quality has an interval yet."
    claims = [claim for claim, _ in tested]
    return f"{describe_luck(claims)}\n\n{describe_sizes(tested)}"


def describe_luck(claims):
    """How many of the claims would be confirmed without an effect."""
    shares = [CHANCE[claim.rule] for claim in claims if claim.rule in CHANCE]
    return (
        f"{len(claims)} claims on quality have an interval. If no arm differed "
        f"from any other,\nabout {sum(shares):.1f} of the {len(shares)} that "
        "speak of a difference would be confirmed by\nchance; they share arms, "
        "so that chance may confirm several at once."
    )


def describe_sizes(tested):
    """The differences that the intervals leave room to see.

    Args:
        tested: Pairs of a `Comparison` and its `Difference`.
    """
    lines = []
    for measure in (ACCURACY, LOSS):
        halves = [
            half_width(difference)
            for claim, difference in tested
            if measure_of(claim.part) is measure
        ]
        if halves:
            lines.append(f"- {describe_halves(halves, measure)}")
    return SIZES + "\n".join(lines) + describe_room(tested)


def half_width(difference):
    low, high = difference.interval
    return (high - low) / 2


def describe_halves(halves, measure):
    least, middle, most = (
        f"{value:.{measure.digits}f}"
        for value in (min(halves), statistics.median(halves), max(halves))
    )
    return f"{least} to {most} {measure.unit}, with the median {middle}."


def describe_room(tested):
    """Of the claims that ask for a margin."""
    halves = [half_width(x) for claim, x in tested if claim.rule == "no worse"]
    if not halves:
        return ""
    room = sum(half < ACCURACY.margin for half in halves)
    return (
        "\n\nArms that are alike are seen to reach each other only if the half "
        f"is below\n{ACCURACY.margin} points, which holds for {room} of the "
        f"{len(halves)} claims that say *reaches*."
    )
