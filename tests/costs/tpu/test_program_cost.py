"""Quantities derived from those of the compiler."""

import dataclasses
import json

import pytest

from keras_laurel.costs.tpu.comparison import compare
from keras_laurel.costs.tpu.comparison import overheads
from keras_laurel.costs.tpu.program_cost import Collectives
from keras_laurel.costs.tpu.program_cost import ProgramCost

COST = ProgramCost(
    program="train",
    topology="v5e:4x4",
    num_chips=16,
    peak_memory=2**30,
    memory=16 * 2**30,
    flops=197e9,
    bytes_accessed=819e6 * 3,
    cycles=1_000,
    code_size=2**20,
    collectives={"all-reduce": Collectives(2, 100_000_000)},
    loops=0,
)
TOO_LARGE = ProgramCost("train", "v5e:4x4", 16, 17 * 2**30, 16 * 2**30)


def test_the_roofline_is_the_slowest_of_three():
    assert COST.compute_time == pytest.approx(1e-3)
    assert COST.memory_time == pytest.approx(3e-3)
    assert COST.network_time == pytest.approx(1e-3)
    assert COST.roofline_time == COST.memory_time
    assert COST.bound == "memory"


def test_a_sum_of_which_each_chip_keeps_a_part_crosses_the_network_once():
    part = {"reduce-scatter": Collectives(2, 100_000_000)}
    cost = dataclasses.replace(COST, collectives=part)
    assert cost.network_time == pytest.approx(0.5e-3)


def test_loops_are_told():
    assert "loops" not in str(COST)
    cost = dataclasses.replace(COST, loops=2)
    assert "loops             2, each counted as one pass" in str(cost)


def test_a_program_that_does_not_fit_says_by_how_much():
    assert COST.fits and not TOO_LARGE.fits
    assert TOO_LARGE.bound is None and TOO_LARGE.roofline_time is None
    assert "fits              no, by 1.000 GiB" in str(TOO_LARGE)
    assert "1.00 GiB over" in compare({"baseline": COST, "large": TOO_LARGE})
    assert overheads(TOO_LARGE, COST)["cycles"] is None


@pytest.mark.parametrize("cost", [COST, TOO_LARGE])
def test_costs_come_back_from_json(cost):
    text = json.dumps(cost.to_dict())
    assert ProgramCost.from_dict(json.loads(text)) == cost


def test_overheads_are_percents_of_the_baseline():
    more = dataclasses.replace(COST, flops=COST.flops * 1.02, cycles=990)
    added = overheads(more, COST)
    assert added["flops"] == pytest.approx(2.0)
    assert added["cycles"] == pytest.approx(-1.0)
    table = compare({"baseline": COST, "rw": more}).splitlines()
    assert "+2.00 %" in table[-1] and "-1.00 %" in table[-1]
    assert all(len(line) <= 80 for line in table)
