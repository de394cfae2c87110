"""The cost of one compiled program, for each chip that runs it."""

import dataclasses
from typing import Any

from keras_laurel.costs.tpu.chips import find_chip

# Bytes sent through a ring of chips, per byte of the buffer; 1 by default.
# An all-reduce sends parts to add them up, and the sum to share it.
_TRIPS = {"all-reduce": 2.0}


@dataclasses.dataclass(frozen=True)
class Collectives:
    """The exchanges of one kind in a program.

    Args:
        count: The number in which a chip takes part.
        size: Bytes of all their buffers on one chip.
    """

    count: int
    size: int


@dataclasses.dataclass(frozen=True)
class ProgramCost:
    """The cost of a compiled program, for each chip.

    Args:
        program: `"train"`, `"predict"`, `"prefill"` or `"decode"`.
        topology: The slice for which it was compiled.
        num_chips: The number of chips in that slice.
        peak_memory: The most bytes of memory in use; for a program that does
            not fit, the bytes it would need.
        memory: Bytes of memory that a program may use.
        flops: Multiplications and additions. As in all counts of the
            compiler, a loop counts as one pass, and all branches count. This
            and the following are `None` for a program that does not fit.
        bytes_accessed: Bytes read and written by all operations, including
            those that the compiler keeps on the chip.
        cycles: Clock cycles that the compiler's scheduler expects for all
            operations except those that move data between chips, for which it
            gives no number.
        code_size: Bytes of the program itself.
        collectives: Dict of `Collectives` by kind, such as `"all-reduce"`.
        loops: The number of loops.
        versions: Dict of the versions of the compiler and its callers.
    """

    program: str
    topology: str
    num_chips: int
    peak_memory: int
    memory: int
    flops: float | None = None
    bytes_accessed: float | None = None
    cycles: int | None = None
    code_size: int | None = None
    collectives: dict[str, Collectives] = dataclasses.field(
        default_factory=dict
    )
    loops: int | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """True if a chip's memory can hold the program."""
        return self.peak_memory <= self.memory

    @property
    def compute_time(self) -> float | None:
        """Seconds for the FLOPs at the chip's full rate."""
        return self.flops and self.flops / find_chip(self.topology).flops

    @property
    def memory_time(self) -> float | None:
        """Seconds for the bytes at the full bandwidth of its memory."""
        bandwidth = find_chip(self.topology).memory_bandwidth
        return self.bytes_accessed and self.bytes_accessed / bandwidth

    @property
    def network_time(self) -> float | None:
        """Seconds for the collectives at the full bandwidth of its links."""
        if not self.fits:
            return None
        sent = sum(
            found.size * _TRIPS.get(kind, 1.0)
            for kind, found in self.collectives.items()
        )
        return sent / find_chip(self.topology).network_bandwidth

    @property
    def roofline_time(self) -> float | None:
        """Seconds of the slowest of computing, memory and network.

        It is `None` for a program that does not fit. It assumes that every
        byte accessed comes from memory, so a program that keeps much on the
        chip is faster.
        """
        return max(self._times().values()) if self._times() else None

    @property
    def bound(self) -> str | None:
        """The slowest part: `"compute"`, `"memory"` or `"network"`."""
        times = self._times()
        return max(times, key=times.get) if times else None

    def to_dict(self) -> dict[str, Any]:
        """Return all values, also derived ones, as a dict for JSON."""
        return {
            **dataclasses.asdict(self),
            "fits": self.fits,
            "compute_time": self.compute_time,
            "memory_time": self.memory_time,
            "network_time": self.network_time,
            "roofline_time": self.roofline_time,
            "bound": self.bound,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ProgramCost":
        """Return a cost from a dict of `to_dict`."""
        fields = {f.name for f in dataclasses.fields(cls)}
        kept = {key: values[key] for key in fields if key in values}
        kept["collectives"] = {
            kind: Collectives(**found)
            for kind, found in kept["collectives"].items()
        }
        return cls(**kept)

    def __str__(self):
        return "\n".join(
            f"{name:<18}{value}" for name, value in self._rows().items()
        )

    def _rows(self):
        rows = {
            "program": self.program,
            "chips": f"{self.num_chips} ({self.topology})",
            "peak memory": f"{_gibibytes(self.peak_memory)} of "
            f"{_gibibytes(self.memory)} a chip",
        }
        if not self.fits:
            excess = _gibibytes(self.peak_memory - self.memory)
            rows["fits"] = f"no, by {excess}"
            return rows
        rows["flops"] = f"{self.flops / 1e12:,.4f} TFLOP a chip"
        rows["bytes accessed"] = f"{self.bytes_accessed / 1e9:,.3f} GB a chip"
        rows["cycles"] = f"{self.cycles:,}"
        rows["code"] = f"{self.code_size / 2**20:,.1f} MiB"
        for kind, found in self.collectives.items():
            rows[kind] = f"{found.count} of {found.size / 1e6:,.1f} MB together"
        milliseconds = f"{1e3 * self.roofline_time:,.3f} ms"
        rows["roofline"] = f"{milliseconds}, bound by {self.bound}"
        if self.loops:
            rows["loops"] = f"{self.loops}, each counted as one pass"
        return rows

    def _times(self):
        if not self.fits:
            return {}
        return {
            "compute": self.compute_time,
            "memory": self.memory_time,
            "network": self.network_time,
        }


def _gibibytes(size):
    return f"{size / 2**30:,.3f} GiB"
