"""Intervals and verdicts that are known by construction."""

import math
import statistics

import pandas
import pytest

from experiments.report.results import ACCURACY
from experiments.report.results import LOSS
from experiments.report.statistics import Difference
from experiments.report.statistics import difference_of
from experiments.report.statistics import signed
from experiments.report.statistics import with_deviation
from experiments.report.statistics import with_interval
from experiments.report.verdicts import judge
from experiments.report.verdicts import judge_limit
from tests.backends import once

pytestmark = once


def test_the_interval_is_students_over_the_seeds_that_both_have():
    values = pandas.Series({0: 3.0, 1: 7.0, 2: 4.5, 9: 100.0})
    reference = pandas.Series({0: 2.0, 1: 4.0, 2: 4.0, 7: -100.0})
    found = difference_of(values, reference)
    pairs = [1.0, 3.0, 0.5]
    assert found.mean == pytest.approx(1.5) and found.pairs == 3
    assert found.deviation == pytest.approx(statistics.stdev(pairs))
    # The quantile of two degrees of freedom.
    half = 4.302653 * statistics.stdev(pairs) / math.sqrt(3)
    assert found.interval == pytest.approx((1.5 - half, 1.5 + half))
    assert with_interval(found, 2) == "+1.50 [−1.79, +4.79]"


def test_one_pair_has_no_interval_and_none_no_difference():
    one = difference_of(pandas.Series({0: 1.0}), pandas.Series({0: 3.0}))
    assert one == Difference(-2.0, None, None, 1)
    assert with_interval(one, 1) == "−2.0"
    assert (
        difference_of(pandas.Series({0: 1.0}), pandas.Series({1: 3.0})) is None
    )
    assert with_interval(None, 1) == ""


def test_text_of_numbers():
    assert with_deviation(pandas.Series([80.0, 84.0]), 2) == "82.00 ± 2.83"
    assert with_deviation(pandas.Series([80.0]), 1) == "80.0"
    assert with_deviation(pandas.Series(dtype=float), 1) == ""
    assert signed(-0.001, 2) == "0.00" and signed(None, 2) == ""


@pytest.mark.parametrize(
    "rule, measure, interval, verdict",
    [
        ("no worse", ACCURACY, (-0.09, 0.5), "confirmed here"),
        ("no worse", ACCURACY, (-0.11, 0.5), "not seen here: undecided"),
        ("no worse", ACCURACY, (-1, -0.11), "not seen here: the opposite was"),
        ("better", LOSS, (-0.1, -0.01), "confirmed here"),
        ("better", LOSS, (0.01, 0.1), "not seen here: the opposite was"),
        ("differs", ACCURACY, (-2, -1), "confirmed here"),
        ("differs", ACCURACY, (-2, 1), "not seen here: undecided"),
        ("which", LOSS, (-2, -1), "better"),
        ("which", ACCURACY, (-2, -1), "worse"),
        ("which", ACCURACY, (-2, 1), "no difference seen"),
        ("which", ACCURACY, None, "not seen here: one seed has no interval"),
    ],
)
def test_rules(rule, measure, interval, verdict):
    assert judge(rule, Difference(0.0, 1.0, interval, 3), measure) == verdict


@pytest.mark.parametrize(
    "added, full, verdict",
    [
        (1.0, False, "confirmed here"),
        (1.1, False, "not seen here: it costs more"),
        (None, False, "not seen here: it does not fit the chip"),
        (0.0, True, "inconclusive: the program fills the chip"),
    ],
)
def test_costs(added, full, verdict):
    assert judge_limit(added, 1.0, full) == verdict
