"""Rules that decide if a claim is confirmed.

Student's interval of paired differences decides; it assumes that these are
normally distributed. A difference from 0 has to hold after the correction for
the number of claims, too (`experiments.report.claims.adjusted`).
"""

CONFIRMED = "confirmed"
OPPOSITE = "refuted: the opposite"
SMALLER = "refuted: smaller than the paper's"
NEGLIGIBLE = "refuted: negligible"
UNDECIDED = "undecided"
ONE_SEED = "undecided: one seed"
NOT_RUN = "not run"
COSTS_MORE = "refuted: it costs more"
FULL = "undecided: the program fills the chip"


def judge(rule, interval, margin, paper=None, holds=True):
    """The verdict on a claim.

    Args:
        rule: One of `RULES`.
        interval: Its ends, of differences of which more is better; None for
            one seed.
        margin: The largest difference that does not matter.
        paper: The paper's difference, in the unit of the interval.
        holds: Whether a difference from 0 holds after the correction for the
            number of claims.
    """
    if interval is None:
        return ONE_SEED
    return RULES[rule](*interval, margin, paper, holds)


def better(low, high, margin, paper, holds):
    if low > 0 and holds:
        return CONFIRMED
    if high < 0 and holds:
        return OPPOSITE
    if paper is not None and high < paper:
        return SMALLER
    return NEGLIGIBLE if paper is None and high < margin else UNDECIDED


def no_worse(low, high, margin, paper, holds):
    if low > -margin:
        return CONFIRMED
    return OPPOSITE if high < -margin else UNDECIDED


def differs(low, high, margin, paper, holds):
    if holds and (low > 0 or high < 0):
        return CONFIRMED
    return NEGLIGIBLE if -margin < low and high < margin else UNDECIDED


def which(low, high, margin, paper, holds):
    """The answer to a question, which claims nothing."""
    if holds and low > 0:
        return "better"
    if holds and high < 0:
        return "worse"
    return "no difference" if -margin < low and high < margin else UNDECIDED


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
        return "refuted: it does not fit the chip"
    if full:
        return FULL
    return CONFIRMED if added <= limit else COSTS_MORE


def judge_digits(ours, paper):
    """The verdict on a count, written with as many digits as the paper's."""
    return CONFIRMED if ours == paper else "not seen here"
