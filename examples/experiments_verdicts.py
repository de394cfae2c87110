"""When a claim counts as confirmed, and when not.

A claim is confirmed or not by Student's interval of paired differences, which
takes these to be normal. The bootstrap's is too narrow for few seeds.
"""

import dataclasses
import statistics

import numpy as np

from experiment_statistics import paired_difference

CONFIRMED = "confirmed here"
NOT_SEEN = "not seen here"
OPPOSITE = f"{NOT_SEEN}: the opposite was"
UNDECIDED = f"{NOT_SEEN}: undecided"
NOT_RUN = "not run"
TOO_SMALL = "cannot be tested at this scale"
NOT_TESTED = "not tested"
FULL = "cannot be told: the program fills the chip"

# Student's t, 97.5 %, for 1 to 10 degrees of freedom.
T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571),
    *(2.447, 2.365, 2.306, 2.262, 2.228),
)


@dataclasses.dataclass(frozen=True)
class Measure:
    """What is compared in an experiment.

    Args:
        name: The number of a run, in the files.
        factor: What it is multiplied by.
        unit: Of the product.
        digits: Decimals that are shown.
        sign: 1 if more is better, -1 if less is.
        margin: What `no worse` leaves open, if a claim says so of it.
    """

    name: str
    factor: int
    unit: str
    digits: int
    sign: int
    margin: float | None = None


# The margin: the paper's deviations in Table 1 are up to 0.12 points.
ACCURACY = Measure("accuracy_last", 100, "points", 2, 1, margin=0.1)
LOSS = Measure("held_out_loss", 1, "nats per token", 4, -1)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Mean of paired differences.

    Args:
        mean: Their mean.
        interval: Student's, which decides; None of one pair.
        bootstrap: Another one, which is shown beside it.
        pairs: How many there are.
    """

    mean: float
    interval: tuple | None
    bootstrap: tuple | None
    pairs: int


def difference_of(values, reference):
    """The `Difference` over the seeds that both have, or None without any.

    Args:
        values: Dict, a number for each seed.
        reference: The same of what it is compared with.
    """
    seeds = sorted(values.keys() & reference.keys())
    if not seeds:
        return None
    pairs = [values[seed] for seed in seeds], [reference[s] for s in seeds]
    mean, bootstrap = paired_difference(*pairs)
    interval = student_interval(np.subtract(*pairs))
    return Difference(mean, interval, bootstrap, len(seeds))


def student_interval(differences):
    """`(low, high)`, 95 %. Of more than 11 it is wider than need be."""
    count = len(differences)
    if count == 1:
        return None
    error = statistics.stdev(map(float, differences)) / count**0.5
    quantile = T_QUANTILES[min(count - 1, len(T_QUANTILES)) - 1]
    mean = float(np.mean(differences))
    return mean - quantile * error, mean + quantile * error


def judge(rule, difference, measure):
    """The verdict on a claim, with a word on what was seen instead.

    Args:
        rule: One of `RULES`.
        difference: A `Difference`, or None.
        measure: A `Measure`.
    """
    if difference is None:
        return NOT_RUN
    if difference.interval is None:
        return f"{NOT_SEEN}: one seed has no interval"
    low, high = sorted(measure.sign * end for end in difference.interval)
    return RULES[rule](low, high, measure.margin)


def better(low, high, margin):
    if low > 0:
        return CONFIRMED
    return OPPOSITE if high < 0 else UNDECIDED


def no_worse(low, high, margin):
    if low > -margin:
        return CONFIRMED
    return OPPOSITE if high < -margin else UNDECIDED


def differs(low, high, margin):
    return CONFIRMED if low > 0 or high < 0 else UNDECIDED


def which(low, high, margin):
    """Not a claim: which of two is better, if that can be seen."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference seen"


RULES = {
    "better": better,
    "no worse": no_worse,
    "differs": differs,
    "which": which,
}


def judge_limit(added, limit, full=False):
    """The verdict on a cost.

    Args:
        added: In percent, None where a program does not fit.
        limit: In percent.
        full: Whether it is the memory of a program that fills the chip: the
            compiler then trades memory for time.
    """
    if added is None:
        return f"{NOT_SEEN}: it does not fit the chip"
    if full:
        return FULL
    return CONFIRMED if added <= limit else f"{NOT_SEEN}: it costs more"


def judge_digits(ours, paper):
    """The verdict on a count, written with as many digits as the paper's."""
    return CONFIRMED if ours == paper else NOT_SEEN
