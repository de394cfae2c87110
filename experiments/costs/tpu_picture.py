"""Bars of what each variant adds on a chip, beside the paper's figures."""

import textwrap

import pandas
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

    Returns:
        The matplotlib `Figure`.
    """
    rows = pandas.DataFrame(rows)
    rows = rows[(rows["program"] == "train") & (rows["variant"] != "baseline")]
    added = pandas.DataFrame(list(rows["percent_added"]), rows.index)
    series = pandas.concat(
        [
            added[[*QUANTITIES]].rename(columns=QUANTITIES),
            rows[[*PAPER]].rename(columns=PAPER).dropna(axis=1, how="all"),
        ],
        axis=1,
    ).astype(float)
    series.index = [textwrap.fill(name, 12) for name in rows["variant"]]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    series.fillna(0).plot.bar(ax=axes, width=0.8, color=COLOURS, rot=0)
    for bars, (_, values) in zip(axes.containers, series.items()):
        axes.bar_label(
            bars,
            ["" if pandas.isna(v) else f"{v:.1f}" for v in values],
            fontsize=8,
            padding=2,
            rotation=90,
        )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.15)
    axes.set_ylabel("added to the baseline, %")
    axes.set_title(title, fontsize=11)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return figure
