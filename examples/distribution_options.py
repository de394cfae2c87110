"""The options that say what is divided among the devices."""

import argparse

DISTRIBUTIONS = ("data", "fsdp", "tensor")


def add_distribution_options(group):
    group.add_argument(
        "--distribution",
        choices=DISTRIBUTIONS,
        default="data",
        help="what is divided among the devices: data (batches), fsdp "
        "(batches, and weights where they are kept), tensor (batches along "
        "the first axis of the mesh, layers along the second). fsdp and "
        "tensor are for jax",
    )
    group.add_argument(
        "--mesh",
        type=mesh_shape,
        metavar="N | NxM",
        help="shape of the mesh of devices, which tensor needs: 4x2 divides "
        "batches by 4 and layers by 2 (default: all devices in a row)",
    )


def mesh_shape(text):
    """`"4x2"` as `(4, 2)`."""
    try:
        shape = tuple(int(size) for size in text.split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(
            f"received {text!r}, expected sizes such as 8 or 4x2"
        )
    return shape


def check_distribution(options):
    kind, mesh = options.distribution, options.mesh
    if options.backend != "jax" and (kind != "data" or mesh):
        raise ValueError(
            f"Received `--distribution {kind}` or `--mesh` with `--backend "
            f"{options.backend}`, which trains whole models on every device "
            "it sees (torch on one); expected jax. Pass `--backend jax`, or "
            "leave out both."
        )
    axes = 2 if kind == "tensor" else 1
    if (mesh is None and axes == 2) or (mesh and len(mesh) != axes):
        given = "x".join(map(str, mesh)) if mesh else "none"
        raise ValueError(
            f"Received `--distribution {kind}` with the mesh {given}; expected "
            f"{axes} size{'s' * (axes - 1)}. Pass for example `--mesh "
            f"{'4x2' if axes == 2 else '8'}`, whose product is the number of "
            "devices."
        )
