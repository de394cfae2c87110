"""Intervals and verdicts that are known by construction."""

import math
import statistics

import numpy as np
import pandas
import pytest
from scipy import stats

from experiments.report.claims import adjusted
from experiments.report.statistics import Difference
from experiments.report.statistics import difference_of
from experiments.report.statistics import power
from experiments.report.statistics import seeds_needed
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
    assert one == Difference(-2.0, 1)
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
    "rule, interval, paper, holds, verdict",
    [
        ("better", (0.01, 0.10), None, True, "confirmed"),
        ("better", (0.01, 0.10), None, False, "undecided"),
        ("better", (-0.10, -0.01), None, True, "refuted: the opposite"),
        ("better", (-0.10, 0.10), None, True, "undecided"),
        ("better", (-0.10, 0.04), None, True, "refuted: negligible"),
        # Smaller than the paper's, but there: the claim says no size.
        ("better", (0.01, 0.04), 0.06, True, "confirmed"),
        (
            "better",
            (-0.01, 0.04),
            0.06,
            True,
            "refuted: smaller than the paper's",
        ),
        ("better", (-0.01, 0.07), 0.06, True, "undecided"),
        ("no worse", (-0.04, 0.5), None, True, "confirmed"),
        ("no worse", (-0.06, 0.5), None, True, "undecided"),
        ("no worse", (-1, -0.06), None, True, "refuted: the opposite"),
        ("differs", (-2, -1), None, True, "confirmed"),
        ("differs", (-2, -1), None, False, "undecided"),
        ("differs", (-2, 1), None, True, "undecided"),
        ("differs", (-0.04, 0.04), None, True, "refuted: negligible"),
        ("which", (1, 2), None, True, "better"),
        ("which", (-2, -1), None, True, "worse"),
        ("which", (-2, -1), None, False, "undecided"),
        ("which", (-0.01, 0.04), None, True, "no difference"),
        ("which", (-2, 1), None, True, "undecided"),
        ("which", None, None, True, "undecided: one seed"),
    ],
)
def test_rules(rule, interval, paper, holds, verdict):
    assert judge(rule, interval, 0.05, paper, holds) == verdict


def test_seeds_are_those_that_show_an_effect_in_four_of_five_cases():
    random = np.random.default_rng(0)
    seeds = seeds_needed(0.005, 0.005)
    assert power(0.005, 0.005, seeds - 1) < 0.8 <= power(0.005, 0.005, seeds)
    samples = random.normal(0.005, 0.005, (20_000, seeds))
    chances = stats.ttest_1samp(samples, 0, axis=1).pvalue
    share = (chances < 0.05).mean()
    assert share == pytest.approx(power(0.005, 0.005, seeds), abs=0.01)


def test_chance_is_corrected_for_the_number_of_claims():
    """Benjamini and Hochberg by hand: 0.04 holds alone, but not of four."""
    chances = [0.001, 0.012, 0.04, 0.9]
    differences = [Difference(1, 3, 1, (0, 1), x) for x in chances]
    frame = pandas.DataFrame({"difference": differences, "rule": "better"})
    assert list(adjusted(frame)) == [True, True, False, False]
    assert list(adjusted(frame.iloc[[2]])) == [True]
    # Rules that speak of no difference are not counted.
    frame["rule"] = ["better", "better", "better", "no worse"]
    assert list(adjusted(frame)) == [True, True, True, True]


@pytest.mark.parametrize(
    "added, full, verdict",
    [
        (1.0, False, "confirmed"),
        (1.1, False, "refuted: it costs more"),
        (None, False, "refuted: it does not fit the chip"),
        (0.0, True, "undecided: the program fills the chip"),
    ],
)
def test_costs(added, full, verdict):
    assert judge_limit(added, 1.0, full) == verdict
