"""Deviations, and intervals of paired differences, from a few seeds."""

import dataclasses

from scipy import stats


@dataclasses.dataclass(frozen=True)
class Difference:
    """Mean of paired differences.

    Args:
        mean: The mean.
        deviation: Their sample deviation; None for one pair.
        interval: Student's, 95 %; None for one pair.
        pairs: Number of pairs.
    """

    mean: float
    deviation: float | None
    interval: tuple | None
    pairs: int


def difference_of(values, reference):
    """The `Difference` over the seeds that both have, or None without any.

    Args:
        values: Series of numbers by seed.
        reference: The same of the arm it is compared with.
    """
    pairs = (values - reference).dropna()
    if pairs.empty:
        return None
    mean = float(pairs.mean())
    if len(pairs) == 1:
        return Difference(mean, None, None, 1)
    return Difference(
        mean,
        float(pairs.std()),
        student_interval(pairs),
        len(pairs),
    )


def student_interval(pairs):
    error = stats.sem(pairs)
    if not error:
        return float(pairs.mean()), float(pairs.mean())
    low, high = stats.t.interval(0.95, len(pairs) - 1, pairs.mean(), error)
    return float(low), float(high)


def with_deviation(values, digits):
    """Text such as `88.20 ± 0.09`; empty without values."""
    if values.empty:
        return ""
    text = f"{values.mean():.{digits}f}"
    if len(values) == 1:
        return text
    return f"{text} ± {values.std():.{digits}f}"


def signed(value, digits):
    """With a sign in front, except for what rounds to zero; None is empty."""
    if value is None:
        return ""
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def with_interval(difference, digits):
    """Text such as `+0.10 [−0.02, +0.22]`; None is empty."""
    if difference is None:
        return ""
    text = signed(difference.mean, digits)
    if difference.interval is None:
        return text
    low, high = (signed(end, digits) for end in difference.interval)
    return f"{text} [{low}, {high}]"
