"""A summary as text of at most 80 columns."""

import collections
import itertools

from keras_laurel.learned.connection import QUANTITIES

_COLUMNS = 80


def draw(summary):
    """Return a line for each connection, and more if it has several terms."""
    rows = [_cells(connection) for connection in summary.connections]
    shown = [name for name in QUANTITIES if any(row[name] for row in rows)]
    names = _short([row.layer for row in summary.connections])
    lines = [("#", "layer", *shown)]
    for index, (name, row) in enumerate(zip(names, rows)):
        columns = [str(index)], [name], *(row[x] for x in shown)
        lines += itertools.zip_longest(*columns, fillvalue="")
    return "\n".join([_title(summary), "", *_aligned(lines)])


def _title(summary):
    variants = collections.Counter(row.variant for row in summary.connections)
    parts = [f"{count} x {name}" for name, count in variants.items()]
    return f"{summary.model}: {', '.join(parts)}"


def _cells(row):
    """Return the lines of each quantity, none if the connection lacks it."""
    return {
        "alpha": _weight(row.alpha, row.alpha_min, row.alpha_max),
        "beta": _weight(row.beta, row.beta_min, row.beta_max),
        "gamma": [f"{x:.4f}" for x in row.gamma],
        "norm": [f"{x:#.3g}" for x in row.norm],
        "share": [] if row.share is None else [f"{100 * row.share:#.3g} %"],
    }


def _weight(mean, least, most):
    if mean is None:
        return []
    span = [] if least is None else [f"{least:.3f}..{most:.3f}"]
    return [f"{mean:.4f}", *span]


def _aligned(lines):
    number, layer, *widths = [max(map(len, cells)) for cells in zip(*lines)]
    rest = number + 2 + sum(width + 2 for width in widths)
    layer = min(layer, _COLUMNS - rest)
    for index, name, *cells in lines:
        line = f"{index:>{number}}  {_end(name, layer):<{layer}}"
        cells = [f"  {x:>{width}}" for x, width in zip(cells, widths)]
        yield (line + "".join(cells)).rstrip()


def _end(name, width):
    return name if len(name) <= width else "..." + name[3 - width :]


def _short(paths):
    """Return paths without the common parts at their beginnings and ends."""
    parts = [path.split("/") for path in paths]
    while all(len(x) > 1 for x in parts) and len({x[0] for x in parts}) == 1:
        parts = [x[1:] for x in parts]
    while all(len(x) > 1 for x in parts) and len({x[-1] for x in parts}) == 1:
        parts = [x[:-1] for x in parts]
    return ["/".join(x) for x in parts]
