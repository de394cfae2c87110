"""What the text of an optimised HLO module says that no API of JAX gives."""

import collections
import math
import re

from keras_laurel.tpu.program_cost import Collectives

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)

_COMPUTATION = re.compile(r"^(ENTRY )?%([^ ]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^  (?:ROOT )?%[^ ]+ = (.*)")
_CALLED = re.compile(r"(?:calls|body|to_apply)=%([^ ,)]+)")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_COLLECTIVE = re.compile(
    r"^(\(.*?\)|[^ (]+) (" + "|".join(COLLECTIVES) + r")(-start)?\("
)
_ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


def estimated_cycles(text):
    """Cycles that the scheduler expects, a loop's as often as it runs."""
    total = 0
    for line, times in _instructions(text):
        found = _CYCLES.search(line)
        total += times * int(found.group(1)) if found else 0
    return total


def find_collectives(text):
    """`Collectives` by kind; the size is that of the larger side.

    A collective that is started and awaited by two instructions is one.
    """
    counts, sizes = collections.Counter(), collections.Counter()
    for line, times in _instructions(text):
        found = _COLLECTIVE.match(line)
        if found is None:
            continue
        shapes, kind, started = found.groups()
        counts[kind] += times
        sizes[kind] += times * _buffer_size(shapes, kind, started)
    return {kind: Collectives(counts[kind], sizes[kind]) for kind in counts}


def _instructions(text):
    """Each instruction and how often a run of the module executes it."""
    computations, entry = _computations(text)
    waiting = [(entry, 1)]
    while waiting:
        name, times = waiting.pop()
        for line in computations[name]:
            yield line, times
            trips = _TRIP_COUNT.search(line)
            inside = times * (int(trips.group(1)) if trips else 1)
            waiting += [
                (called, inside)
                for called in _CALLED.findall(line)
                if called in computations
            ]


def _computations(text):
    computations, entry, lines = {}, None, []
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            lines = computations.setdefault(header.group(2), [])
            entry = header.group(2) if header.group(1) else entry
        elif instruction := _INSTRUCTION.match(line):
            lines.append(instruction.group(1))
    if entry is None:
        raise ValueError(
            "Expected the text of an HLO module with an ENTRY computation; "
            f"received {text[:80]!r}. JAX or libtpu may have changed its form."
        )
    return computations, entry


def _buffer_size(shapes, kind, started):
    sizes = [_size(*found) for found in _ARRAY.findall(shapes)]
    # What starts a gather returns its operands beside its results.
    if started and kind != "all-reduce":
        return max(sizes)
    return sum(sizes)


def _size(letters, bits, dimensions):
    width = 8 if letters == "pred" else int(bits or 0)
    count = math.prod(int(size) for size in dimensions.split(",") if size)
    return count * width // 8
