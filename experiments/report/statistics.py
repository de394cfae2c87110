"""Deviations, and intervals of paired differences, from a few seeds."""

import dataclasses
import math

from scipy import stats


@dataclasses.dataclass(frozen=True)
class Difference:
    """Mean of paired differences.

    `deviation` is that of the pairs, `interval` Student's of 95 %, and `chance`
    the probability of a mean so far from 0, by Student's test, if the true one
    is 0; None for one pair.
    """

    mean: float
    pairs: int
    deviation: float | None = None
    interval: tuple | None = None
    chance: float | None = None


def difference_of(values, reference):
    """The `Difference` over the seeds that both have, or None without any."""
    pairs = (values - reference).dropna()
    if pairs.empty:
        return None
    mean, deviation = float(pairs.mean()), float(pairs.std())
    if len(pairs) == 1:
        return Difference(mean, 1)
    if deviation == 0:
        return Difference(mean, len(pairs), 0.0, (mean, mean), float(mean == 0))
    test = stats.ttest_1samp(pairs, 0)
    low, high = test.confidence_interval(0.95)
    return Difference(
        mean,
        len(pairs),
        deviation,
        (float(low), float(high)),
        float(test.pvalue),
    )


def power(effect, deviation, pairs):
    """The probability that a 95 % interval of as many pairs leaves out 0.

    `effect` is the true mean, and `deviation` that of single differences.
    """
    quantile = stats.t.ppf(0.975, pairs - 1)
    shift = effect / deviation * math.sqrt(pairs)
    outside = stats.nct(pairs - 1, shift)
    return float(outside.sf(quantile) + outside.cdf(-quantile))


def seeds_needed(effect, deviation, wanted=0.8, most=1000):
    """The least number of seeds that shows an effect with a probability."""
    return next(
        (n for n in range(2, most) if power(effect, deviation, n) >= wanted),
        most,
    )


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
