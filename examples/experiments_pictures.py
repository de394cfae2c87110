"""The report's pictures: differences to the baseline, accuracy by rank."""

import statistics

from matplotlib.figure import Figure

from experiments_arms import addition_widths
from experiments_claims import NAMES
from experiments_results import measure_of
from experiments_verdicts import difference_of
from experiments_verdicts import judge
from training_report import FAINT
from training_report import INK
from training_report import save_figure

# 840 pixels, as wide as GitHub shows a page.
WIDTH, FONT_SIZE = 5.25, 8
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
SEEN = {"better": BLUE, "worse": VERMILION, "no difference seen": "#767676"}

LABELS = {
    "baseline": "baseline",
    "extra-layer": "one more layer",
    "deeper": "4 more blocks",
    **NAMES,
    "rw+lr-rank-1": "RW+LR, r = 1",
    "rw+lr+pa-rank-1": "RW+LR+PA, r = 1",
}
QUANTITIES = {
    "vision": "accuracy, points more than the baseline",
    "table_5": "held-out loss, nats per token more than the baseline",
}
RANKS = {4: "rank-4", 8: "rank-8", 16: "rw+lr", 32: "rank-32", 64: "rank-64"}


def draw_differences(path, results, part):
    """A dot for each arm, with its interval, by the measure of the part.

    Returns:
        Boolean, whether there was anything to draw.
    """
    measure = measure_of(part)
    plain = results.values(part, "baseline")
    found = {
        LABELS[arm]: difference_of(results.values(part, arm), plain)
        for arm in LABELS
        if arm != "baseline"
    }
    found = {name: x for name, x in found.items() if x}
    if not found:
        return False
    height = 0.75 + 0.26 * len(found)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, difference in enumerate(found.values()):
        draw_difference(axes, place, difference, measure)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel(QUANTITIES[part], fontsize=FONT_SIZE, color=INK)
    style(axes, "x")
    add_legend(figure, axes)
    save_figure(path, figure)
    return True


def draw_difference(axes, place, difference, measure):
    color = SEEN["no difference seen"]
    if difference.interval:
        color = SEEN[judge("which", difference, measure)]
        axes.plot(difference.interval, (place, place), color=color, lw=1.4)
    axes.plot(difference.mean, place, "o", color=color, markersize=5)


def add_legend(figure, axes):
    """Of all colours, whichever occur."""
    for text, color in SEEN.items():
        axes.plot([], [], "o-", color=color, lw=1.4, markersize=5, label=text)
    place_legend(figure, len(SEEN))


def place_legend(figure, columns):
    figure.legend(
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=INK,
    )


def draw_ranks(path, results):
    """Accuracy by rank: each seed, the mean, and two arms without a rank.

    Returns:
        Boolean, whether there was anything to draw.
    """
    by_rank = {
        rank: list(results.values("vision", arm).values())
        for rank, arm in RANKS.items()
    }
    by_rank = {rank: values for rank, values in by_rank.items() if values}
    if not by_rank:
        return False
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes = figure.subplots()
    draw_rank_means(axes, by_rank)
    for arm, color, line in (("rw", GREEN, "--"), ("baseline", INK, ":")):
        draw_level(axes, results.values("vision", arm), arm, color, line)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(by_rank), [str(rank) for rank in by_rank])
    settings = results.about("vision")["settings"]
    axes.set_xlabel(rank_label(settings), fontsize=FONT_SIZE, color=INK)
    axes.set_ylabel("accuracy, %", fontsize=FONT_SIZE, color=INK)
    style(axes, "y")
    place_legend(figure, 4)
    save_figure(path, figure)
    return True


def rank_label(settings):
    if "width" not in settings:
        return "rank r"
    low, high = addition_widths(settings)
    return f"rank r, at {low} to {high} features; in the paper 256 to 2,048"


def draw_rank_means(axes, by_rank):
    points = [(r, x) for r, values in by_rank.items() for x in values]
    means = [statistics.fmean(values) for values in by_rank.values()]
    axes.plot(
        list(by_rank), means, "o-", color=BLUE, lw=1.4, ms=5, label="RW+LR"
    )
    axes.plot(*zip(*points), "o", color=BLUE, ms=3, alpha=0.4, mew=0)
    axes.plot([], [], "o", color=BLUE, ms=3, alpha=0.4, mew=0, label="a seed")


def draw_level(axes, values, arm, color, line):
    """The mean as a line, the standard deviation as a band."""
    if not values:
        return
    mean = statistics.fmean(values.values())
    axes.axhline(mean, color=color, lw=1.2, ls=line, label=LABELS[arm])
    if len(values) > 1:
        spread = statistics.stdev(values.values())
        axes.axhspan(mean - spread, mean + spread, color=color, alpha=0.1, lw=0)


def style(axes, grid):
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, length=0, labelsize=FONT_SIZE)
