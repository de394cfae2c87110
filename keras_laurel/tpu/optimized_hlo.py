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
_CALLED = re.compile(r"(calls|body|to_apply)=%([^ ,)]+)")
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_COLLECTIVE = re.compile(
    r"^(\(.*?\)|\S+) (" + "|".join(COLLECTIVES) + r")(-start)?\("
)
_CHANNEL = re.compile(r"channel_id=\d+")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


def estimated_cycles(text):
    """Cycles that the scheduler expects, a loop's as often as it runs."""
    total = 0
    for line, times, _ in _instructions(text):
        found = _CYCLES.search(line)
        total += times * int(found.group(1)) if found else 0
    return total


def find_collectives(text):
    """`Collectives` by kind; the size is that of the larger side.

    One that is started and awaited by two instructions is one, and so is one
    that goes on during several fusions: each of them then has it in its
    computation, with the same channel.
    """
    found = {}
    for number, (line, times, is_fused) in enumerate(_instructions(text)):
        match = _COLLECTIVE.match(line)
        if match:
            shapes, kind, started = match.groups()
            channel = _CHANNEL.search(line) if is_fused else None
            key = kind, channel.group() if channel else number
            found[key] = times, times * _buffer_size(shapes, kind, started)
    counts, sizes = collections.Counter(), collections.Counter()
    for (kind, _), (times, size) in found.items():
        counts[kind] += times
        sizes[kind] += size
    return {kind: Collectives(counts[kind], sizes[kind]) for kind in counts}


def _instructions(text):
    """Each instruction, how often the module runs it, and if in a fusion."""
    computations, entry = _computations(text)
    waiting = [(entry, 1, False)]
    while waiting:
        name, times, is_fused = waiting.pop()
        for line in computations[name]:
            yield line, times, is_fused
            trips = _TRIP_COUNT.search(line)
            inside = times * (int(trips.group(1)) if trips else 1)
            waiting += [
                (called, inside, is_fused or how == "calls")
                for how, called in _CALLED.findall(line)
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
