"""Means, deviations and intervals against values computed by hand."""

import math

import keras
import pytest

from experiment_statistics import mean_and_deviation
from experiment_statistics import paired_difference

if keras.backend.backend() != "jax":
    pytest.skip("is the same on each backend", allow_module_level=True)


def test_deviation_is_that_of_a_sample():
    assert mean_and_deviation([1.0, 2.0, 6.0]) == (3.0, math.sqrt(7))
    assert mean_and_deviation([1.5]) == (1.5, None)


def test_interval_of_two_pairs_ends_at_their_differences():
    """A quarter of the draws has one pair twice, a quarter the other."""
    mean, interval = paired_difference([3.0, 7.0], [2.0, 4.0])
    assert mean == 2.0
    assert interval == (1.0, 3.0)


def test_interval_shrinks_with_the_confidence():
    """Of the 27 draws of three pairs, 1 has the mean 0 and 3 have 1/3."""
    values, baseline = [1.0, 2.0, 4.0], [1.0, 1.0, 1.0]
    _, interval = paired_difference(values, baseline, confidence=0.95)
    assert interval == (0.0, 3.0)
    _, interval = paired_difference(values, baseline, confidence=0.9)
    assert interval == pytest.approx((1 / 3, 7 / 3))


def test_interval_is_the_same_each_time_and_none_of_one_pair():
    values, baseline = [0.3, 0.1, 0.5, 0.2], [0.1, 0.2, 0.2, 0.2]
    first = paired_difference(values, baseline)
    assert first == paired_difference(values, baseline)
    assert paired_difference([2.0], [1.5]) == (0.5, None)
