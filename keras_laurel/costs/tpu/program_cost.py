"""What the compiler says of one program, for each chip that runs it."""

import dataclasses

from keras_laurel.costs.tpu.chips import find_chip

# What crosses the network of a ring of chips, in the size of the buffer.
_TRIPS = {"all-reduce": 2.0}


@dataclasses.dataclass(frozen=True)
class Collectives:
    """The exchanges of one kind in a program.

    Args:
        count: How many a chip takes part in.
        size: Bytes of their buffers together, on one chip.
    """

    count: int
    size: int


@dataclasses.dataclass(frozen=True)
class ProgramCost:
    """The cost of a compiled program, for each chip.

    Args:
        program: `"train"`, `"predict"`, `"prefill"` or `"decode"`.
        topology: The slice that it was compiled for.
        num_chips: Chips in that slice.
        peak_memory: Bytes of memory in use at most; for a program that does
            not fit, what it would need.
        memory: Bytes of memory that a program may use.
        flops: Products and sums; `None`, as all that follows, for a program
            that does not fit. As in all that the compiler counts, a loop
            counts as one pass, and all branches count.
        bytes_accessed: Bytes read and written by all operations, those that
            the compiler keeps on the chip included.
        cycles: Clock cycles that the compiler's scheduler expects, over all
            operations that it gives a number for: not those that move data
            between chips.
        code_size: Bytes of the program itself.
        collectives: `Collectives` by kind, such as `"all-reduce"`.
        loops: How many loops there are.
        versions: Of the compiler and what calls it.
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
    collectives: dict = dataclasses.field(default_factory=dict)
    loops: int | None = None
    versions: dict = dataclasses.field(default_factory=dict)

    @property
    def fits(self):
        """Whether a chip's memory holds the program."""
        return self.peak_memory <= self.memory

    @property
    def compute_time(self):
        """Seconds for the flops at the chip's full rate."""
        return self.flops and self.flops / find_chip(self.topology).flops

    @property
    def memory_time(self):
        """Seconds for the bytes at the full bandwidth of its memory."""
        bandwidth = find_chip(self.topology).memory_bandwidth
        return self.bytes_accessed and self.bytes_accessed / bandwidth

    @property
    def network_time(self):
        """Seconds for the collectives at the full bandwidth of its links."""
        if not self.fits:
            return None
        sent = sum(
            found.size * _TRIPS.get(kind, 1.0)
            for kind, found in self.collectives.items()
        )
        return sent / find_chip(self.topology).network_bandwidth

    @property
    def roofline_time(self):
        """Seconds that the slowest of computing, memory and network takes.

        `None` for a program that does not fit. Memory is taken to serve every
        byte accessed, so a program that keeps much on the chip is faster.
        """
        return max(self._times().values()) if self._times() else None

    @property
    def bound(self):
        """What `roofline_time` is: `"compute"`, `"memory"` or `"network"`."""
        times = self._times()
        return max(times, key=times.get) if times else None

    def to_dict(self):
        """Plain values, for JSON, with what is derived from them."""
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
    def from_dict(cls, values):
        """A cost from what `to_dict` gave."""
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
