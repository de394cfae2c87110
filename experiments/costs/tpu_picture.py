"""Bars of what each variant adds on a chip, beside the paper's figures."""

import textwrap

from matplotlib.figure import Figure

QUANTITIES = {
    "cycles": "scheduled cycles",
    "bytes_accessed": "bytes accessed",
    "peak_memory": "peak memory",
}
PAPER = {
    "paper_percent_step_time": "step time, paper",
    "paper_percent_memory": "peak memory, paper",
}
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00")


def draw(rows, title, path):
    """One group of bars for each variant of a training step.

    Args:
        rows: The rows of a table, as `tpu_tables` writes them.
        title: What was compiled for what.
        path: A PNG file.

    Returns:
        The matplotlib `Figure`.
    """
    rows = [
        row
        for row in rows
        if row["program"] == "train" and row["variant"] != "baseline"
    ]
    series = {
        label: [row["percent_added"][name] for row in rows]
        for name, label in QUANTITIES.items()
    }
    for name, label in PAPER.items():
        if any(row[name] is not None for row in rows):
            series[label] = [row[name] for row in rows]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(series)
    for i, (label, values) in enumerate(series.items()):
        places = [n - 0.4 + (i + 0.5) * width for n in range(len(rows))]
        heights = [0.0 if value is None else value for value in values]
        bars = axes.bar(places, heights, width, label=label, color=COLOURS[i])
        axes.bar_label(
            bars,
            ["" if v is None else f"{v:.1f}" for v in values],
            fontsize=8,
            padding=2,
            rotation=90,
        )
    names = [textwrap.fill(row["variant"], 12) for row in rows]
    axes.set_xticks(range(len(rows)), names)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.15)
    axes.set_ylabel("added to the baseline, %")
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return figure
