"""A footprint as text of at most 80 columns."""

import collections
import dataclasses

QUANTITIES = ("parameters", "forward_flops", "training_flops")
_COLUMNS = (
    ("connections", 18),
    ("width", 7),
    ("rank", 5),
    ("reads", 6),
    ("positions", 12),
    ("parameters", 11),
    ("forward", 9),
    ("kept", 11),
)


def draw(footprint):
    """Return the totals, then the connections, with equal ones in one row."""
    lines = [_title(footprint), "", _row("", "model", "LAuReL", "added", "")]
    lines += [_total(footprint, quantity) for quantity in QUANTITIES]
    lines += [
        _row(label, "", _bytes(size))
        for label, size in (
            ("kept for backward", footprint.activation_bytes),
            ("previous activations", footprint.history_bytes),
        )
    ]
    if footprint.connections:
        lines += ["", _line([name for name, _ in _COLUMNS])]
        lines += _connections(footprint)
    return "\n".join(line.rstrip() for line in lines)


def _title(footprint):
    title = f"{footprint.model}: batch size {footprint.batch_size}"
    if footprint.sequence_length:
        title += f", sequence length {footprint.sequence_length}"
    if footprint.baseline:
        title += f", against {footprint.baseline.model}"
    return title


def _total(footprint, quantity):
    write = "{:,}".format if quantity == "parameters" else _scaled
    added, percent = footprint.added(quantity)
    return _row(
        quantity.replace("_", " "),
        write(getattr(footprint, quantity)),
        write(getattr(footprint, f"laurel_{quantity}")),
        write(added),
        f"{percent:+.3f} %",
    )


def _row(label, *cells):
    return f"{label:<20}" + "".join(f"{cell:>15}" for cell in cells)


def _connections(footprint):
    rows = [dataclasses.replace(row, layer="") for row in footprint.connections]
    for row, count in collections.Counter(rows).items():
        yield _line(
            [
                f"{count} x {row.variant}",
                row.width,
                row.rank or "-",
                row.activations,
                f"{row.positions:,}",
                f"{row.parameters:,}",
                _scaled(row.forward_flops),
                _bytes(row.activation_bytes),
            ]
        )


def _line(cells):
    first, *rest = zip(cells, (width for _, width in _COLUMNS))
    return f"{first[0]:<{first[1]}}" + "".join(
        f"{cell:>{width}}" for cell, width in rest
    )


def _scaled(number):
    return _in_units(number, 1000, ("", "k", "M", "G", "T", "P", "E"))


def _bytes(number):
    return _in_units(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _in_units(number, step, units):
    """Return a number in a suitable unit, such as `1.23 G`."""
    power = 0
    while abs(number) >= step and power < len(units) - 1:
        number, power = number / step, power + 1
    digits = 2 if power else 0
    return f"{number:.{digits}f} {units[power]}".strip()
