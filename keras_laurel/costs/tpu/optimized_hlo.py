"""Read quantities from the text of an optimised HLO module.

No API of JAX gives them. Each loop counts as one pass, since the text does not
say how often it runs, and all branches count. The compiler's own counts of
FLOPs and bytes do the same.
"""

import collections
import math
import re

from keras_laurel.costs.tpu.program_cost import Collectives

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)

_COMPUTATION = re.compile(r"^(ENTRY )?%([^ ]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^  (?:ROOT )?%([^ ]+) = (.*)")
_CALLED = re.compile(r"(calls|body|to_apply)=%([^ ,)]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_LOOP = re.compile(r"^(?:\(.*?\)|\S+) while\(")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_COLLECTIVE = re.compile(
    r"^(\(.*?\)|\S+) (" + "|".join(COLLECTIVES) + r")(-start)?\(([^)]*)\)"
)
_CHANNEL = re.compile(r"channel_id=\d+")
_SHAPE = re.compile(r"^\(.*?\) |^\S+ ")
_ARRAY = re.compile(r"\b([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\]")


def estimated_cycles(text):
    """Return the number of cycles that the scheduler expects."""
    cycles = [_CYCLES.search(line) for _, _, line, _ in _instructions(text)]
    return sum(int(found.group(1)) for found in cycles if found)


def count_loops(text):
    """Return the number of loops."""
    lines = [line for _, _, line, _ in _instructions(text)]
    return sum(bool(_LOOP.match(line)) for line in lines)


def find_collectives(text):
    """Return the `Collectives` by kind, with the size of the larger side.

    A collective that is started and awaited by two instructions counts once.
    So does one that runs during several fusions: each of these fusions has it
    in its computation, with the same channel. A reduce-scatter appears in the
    text as a fusion of an all-reduce and a slice; it is recognised by its
    name.
    """
    found = {}
    for computation, name, line, is_fused in _instructions(text):
        match = _COLLECTIVE.match(line)
        if match is None:
            continue
        shapes, kind, started, operands = match.groups()
        if computation.name.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"
        elif kind == "reduce-scatter":
            shapes = computation.shapes_of(operands)
        channel = _CHANNEL.search(line) if is_fused else None
        key = kind, channel.group() if channel else (computation.name, name)
        found[key] = _buffer_size(shapes, kind, started)
    counts, sizes = collections.Counter(), collections.Counter()
    for (kind, _), size in found.items():
        counts[kind] += 1
        sizes[kind] += size
    return {kind: Collectives(counts[kind], sizes[kind]) for kind in counts}


class _Computation:
    """A named list of instructions, `{name: text}`."""

    def __init__(self, name):
        self.name = name
        self.instructions = {}

    def shapes_of(self, operands):
        """Return the shapes of operands such as `"%a, %b"`."""
        names = [operand.strip().lstrip("%") for operand in operands.split(",")]
        lines = [self.instructions.get(name, "") for name in names]
        return " ".join(m.group() for m in map(_SHAPE.match, lines) if m)


def _instructions(text):
    """Yield `(computation, name, instruction, is_fused)` of all that run."""
    computations, entry = _computations(text)
    waiting = [(entry, False)]
    while waiting:
        called, is_fused = waiting.pop()
        computation = computations[called]
        for name, line in computation.instructions.items():
            yield computation, name, line, is_fused
            waiting += [
                (called, is_fused or how == "calls")
                for how, called in _callees(line)
                if called in computations
            ]


def _callees(line):
    branches = _BRANCHES.search(line)
    names = branches.group(1).split(",") if branches else []
    return [
        *_CALLED.findall(line),
        *[("branch", name.strip().lstrip("%")) for name in names],
    ]


def _computations(text):
    computations, entry, current = {}, None, None
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            name = header.group(2)
            current = computations.setdefault(name, _Computation(name))
            entry = name if header.group(1) else entry
        elif instruction := _INSTRUCTION.match(line):
            if current is not None:
                name, rest = instruction.groups()
                current.instructions[name] = rest
    if entry is None:
        raise ValueError(
            "The text of an HLO module must have an ENTRY computation. "
            f"Received: {text[:80]!r}. JAX or libtpu may have changed the "
            "format: use the versions in constraints.txt."
        )
    return computations, entry


def _buffer_size(shapes, kind, started):
    sizes = [_size(*found) for found in _ARRAY.findall(shapes)]
    # An instruction that starts a gather returns its operands too.
    if started and kind != "all-reduce":
        return max(sizes)
    return sum(sizes)


def _size(letters, bits, dimensions):
    width = 8 if letters == "pred" else int(bits or 0)
    count = math.prod(int(size) for size in dimensions.split(",") if size)
    return count * width // 8
