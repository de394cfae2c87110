"""Plots of the learned weights, of the width of a paper's column.

They need the extra `plots`: `pip install "keras-laurel[plots]"`.
"""

import math
import os
from typing import Any

import keras

from keras_laurel.learned.connection import quantities as quantities_in
from keras_laurel.learned.connection import stem
from keras_laurel.learned.log_file import read_log
from keras_laurel.learned.summary import LaurelSummary
from keras_laurel.learned.summary import laurel_summary

__all__ = ["residual_weights"]

# The sizes are in inches, that of the font in points.
_WIDTH, _ROW_HEIGHT, _FOOT = 3.3, 0.8, 0.3
_FONT_SIZE = 7
_FAINT = "0.75"


def residual_weights(
    model_or_log: "keras.Model | LaurelSummary | str | os.PathLike[str]",
    inputs: Any = None,
    quantities: list[str] | tuple[str, ...] | None = None,
) -> Any:
    """Draw alpha, beta, gamma, norms and shares by depth and over time.

    The figure has a row for each quantity of
    `keras_laurel.learned.laurel_summary`. The left panel shows its last values
    by connection, in the order of `keras_laurel.laurel_layers`. For a log of
    several steps, the right panel shows its values over time: a line for each
    connection, in the colour it has on the left. For weights `per_channel` the
    means are drawn, on the left with their range. The dashed line is the
    weight of a plain addition, 1.

    The figure is 3.3 inches wide, as a column of a paper, and 0.8 inches
    higher for each row. `figure.savefig("weights.pdf")` writes it.

    Args:
        model_or_log: A built `keras.Model`, its `LaurelSummary`, or the path
            of the CSV file of a `keras_laurel.learned.LaurelLogger`.
        inputs: A batch of the model's inputs, on which shares are measured.
        quantities: List of names such as `["alpha", "beta", "gamma_0"]`, the
            rows to draw. `None` draws all.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: if `model_or_log` is a model without LAuReL layers, a file
            that is not a log, or something else; if a quantity is unknown; or
            without matplotlib.
    """
    rows = _rows(model_or_log, inputs)
    quantities = _chosen(quantities, rows)
    steps = sorted({row["step"] for row in rows})
    figure, panels = _panels(len(quantities), 2 if len(steps) > 1 else 1)
    for quantity, (left, *right) in zip(quantities, panels):
        _draw_last(left, quantity, [r for r in rows if r["step"] == steps[-1]])
        for axes in right:
            _draw_course(axes, quantity, rows)
        left.set_ylabel(_label(quantity, quantities), fontsize=_FONT_SIZE)
        left.set_ylim(_limits(quantity, rows))
    for axes, name in zip(panels[-1], ("connection", "step")):
        axes.set_xlabel(name, fontsize=_FONT_SIZE)
    figure.align_ylabels()
    return figure


def _rows(model_or_log, inputs):
    if isinstance(model_or_log, (str, os.PathLike)):
        return read_log(model_or_log)
    if isinstance(model_or_log, keras.Model):
        model_or_log = laurel_summary(model_or_log, inputs)
    if not isinstance(model_or_log, LaurelSummary):
        raise ValueError(
            "Argument `model_or_log` must be a `keras.Model`, a "
            "`LaurelSummary` or the path of a log. Received: "
            f"model_or_log={model_or_log!r}. Give the `path` of a "
            "`LaurelLogger`, not the logger."
        )
    return [
        {"step": 0, "connection": i, **connection.to_dict()}
        for i, connection in enumerate(model_or_log.connections)
    ]


def _chosen(quantities, rows):
    # Ranges have no rows of their own: they are drawn with their means.
    known = [x for x in quantities_in(rows) if x[-4:] not in ("_min", "_max")]
    if quantities is None:
        return known
    is_list = isinstance(quantities, (list, tuple)) and len(quantities)
    if not is_list or any(x not in known for x in quantities):
        raise ValueError(
            f"Argument `quantities` must be a list of some of {known}. "
            f"Received: quantities={quantities!r}. Leave it out to draw all."
        )
    return list(quantities)


def _panels(rows, columns):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(
            "`keras_laurel.learned.plots` draws with matplotlib. Received: a "
            f"Python that has no `{error.name}`. Install the extra: "
            '`pip install "keras-laurel[plots]"`.'
        ) from error
    size = (_WIDTH, rows * _ROW_HEIGHT + _FOOT)
    figure = Figure(figsize=size, layout="constrained", dpi=200)
    panels = figure.subplots(
        rows, columns, squeeze=False, sharex="col", sharey="row"
    )
    for axes in panels.flat:
        _style(axes)
    return figure, panels


def _style(axes):
    from matplotlib.ticker import EngFormatter
    from matplotlib.ticker import MaxNLocator
    from matplotlib.ticker import StrMethodFormatter

    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_linewidth(0.5)
    axes.tick_params(labelsize=_FONT_SIZE, length=2, width=0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    # This formatter never writes offsets from a number at the corner.
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _draw_last(axes, quantity, rows):
    """Draw points by connection, with their range if they have one."""
    points = [
        (row["connection"], _value(row, quantity), color)
        for row, color in zip(rows, _colors(len(rows)))
        if quantity in row
    ]
    x, y, colors = zip(*points)
    _draw_plain_addition(axes, quantity)
    for row, color in zip(rows, _colors(len(rows))):
        if f"{quantity}_min" in row:
            span = row[f"{quantity}_min"], row[f"{quantity}_max"]
            axes.vlines(row["connection"], *span, color=color, linewidth=0.8)
    axes.plot(x, y, color=_FAINT, linewidth=0.6, zorder=1)
    axes.scatter(x, y, c=colors, s=9 if len(rows) < 40 else 4, zorder=2)


def _draw_course(axes, quantity, rows):
    """Draw a line over the steps for each connection."""
    connections = sorted({row["connection"] for row in rows})
    _draw_plain_addition(axes, quantity)
    for connection, color in zip(connections, _colors(len(connections))):
        course = [
            (row["step"], _value(row, quantity))
            for row in rows
            if row["connection"] == connection and quantity in row
        ]
        width = 0.7 if len(connections) < 40 else 0.4
        axes.plot(*zip(*course), color=color, linewidth=width)


def _draw_plain_addition(axes, quantity):
    if quantity in ("alpha", "beta"):
        axes.axhline(
            1, color="0.4", linewidth=0.6, linestyle=(0, (4, 3)), zorder=0
        )


def _colors(count):
    """Return colours from dark to light, also when printed in grey.

    The palest are left out, since they would be lost on white.
    """
    from matplotlib import colormaps

    span = 0.8 / max(count - 1, 1)
    return [colormaps["viridis"](i * span) for i in range(count)]


def _limits(quantity, rows):
    """Return the same limits for all rows of a kind, to compare them."""
    kind = stem(quantity)
    values = [_value(r, x) for r in rows for x in r if stem(x) == kind]
    # A run that diverged has infinite values or NaN.
    values = [x for x in values if math.isfinite(x)] or [0]
    if kind in ("norm", "share"):
        return 0, 1.08 * max(values) or 1
    if kind != "gamma":
        values.append(1)
    margin = 0.08 * (max(values) - min(values)) or 0.1
    return min(values) - margin, max(values) + margin


def _value(row, quantity):
    return 100 * row[quantity] if quantity == "share" else row[quantity]


def _label(quantity, quantities):
    kind, _, index = quantity.partition("_")
    if kind == "share":
        return "share (%)"
    if kind == "norm":
        alone = "norm_1" not in quantities
        return "norm" if alone else f"norm, $j={index}$"
    return rf"$\{kind}_{index}$" if index else rf"$\{kind}$"
