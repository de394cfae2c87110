"""The TPU chips and slices that the compiler knows, and their devices."""

import dataclasses
import math
import os

_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = (
    *("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8"),
    *("8x8x8", "8x8x16", "8x16x16"),
)


@dataclasses.dataclass(frozen=True)
class Chip:
    """A TPU chip, as in Google Cloud's "System architecture" pages.

    Args:
        flops: Multiplications and additions in bfloat16 per second.
        memory: Bytes of high-bandwidth memory that the compiler gives to a
            program, slightly less than the chip has.
        memory_bandwidth: Bytes per second between that memory and the chip.
        network_bandwidth: Bytes per second that a chip sends to its
            neighbours over all its links: half of the bidirectional figure.
        slices: Tuple of the available layouts of chips.
        core_layout: The compiler's name for two cores that act as one.
    """

    flops: float
    memory: float
    memory_bandwidth: float
    network_bandwidth: float
    slices: tuple[str, ...]
    core_layout: str = "default"


CHIPS = {
    "v4": Chip(275e12, 30.75 * 2**30, 1228e9, 300e9, _CUBES, "megacore"),
    "v5e": Chip(197e12, 15.75 * 2**30, 819e9, 200e9, _FLAT),
    "v5p": Chip(459e12, 95.73 * 2**30, 2765e9, 600e9, _CUBES, "megacore"),
    "v6e": Chip(918e12, 31.24 * 2**30, 1640e9, 400e9, _FLAT),
}

# Read when libtpu starts. With these it does not ask the host about its TPU,
# and a second process may load the library.
_WITHOUT_A_TPU = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


def find_chip(topology):
    """Return the `Chip` of a topology such as `"v5e:4x4"`.

    Raises:
        ValueError: if the name is not that of a known slice.
    """
    kind, _, layout = str(topology).partition(":")
    if kind not in CHIPS or layout not in CHIPS[kind].slices:
        known = "\n".join(
            f"  {kind}: {', '.join(chip.slices)}"
            for kind, chip in CHIPS.items()
        )
        raise ValueError(
            "Argument `topology` must be a chip and a slice of it. Received: "
            f'topology={topology!r}. Use, for example, "v5e:4x4", out '
            f"of\n{known}"
        )
    return CHIPS[kind]


def num_chips(topology):
    """Return the number of chips in a slice, such as 16 for `"v5e:4x4"`."""
    find_chip(topology)
    sizes = topology.partition(":")[2].split("x")
    return math.prod(int(size) for size in sizes)


def find_devices(topology):
    """Return the devices of a topology, for `keras.distribution.DeviceMesh`.

    Programs can be compiled for them, but they neither hold nor compute
    anything.

    Raises:
        ValueError: for an unknown topology, or without libtpu.
    """
    chip = find_chip(topology)
    for name, value in _WITHOUT_A_TPU.items():
        os.environ.setdefault(name, value)
    try:
        import libtpu  # noqa: F401
        from jax.experimental import topologies
    except ImportError as error:
        raise ValueError(
            "Compiling for a TPU needs the TPU compiler. Received: "
            f"topology={topology!r}, while this Python has no "
            f"`{error.name}`. Install the extra: `pip install "
            '"keras-laurel[tpu]"` (0.5 GB).'
        ) from error
    description = topologies.get_topology_desc(
        platform="tpu",
        topology_name=topology,
        chip_config_name=chip.core_layout,
    )
    return list(description.devices)
