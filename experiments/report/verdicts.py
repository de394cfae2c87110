"""Rules that decide if a claim is confirmed.

Student's interval of paired differences decides; it assumes that these are
normally distributed.
"""

CONFIRMED = "confirmed here"
NOT_SEEN = "not seen here"
OPPOSITE = f"{NOT_SEEN}: the opposite was"
UNDECIDED = f"{NOT_SEEN}: undecided"
NOT_RUN = "not run"
FULL = "inconclusive: the program fills the chip"


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
    """Return which of two is better, for a question instead of a claim."""
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
