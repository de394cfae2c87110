"""Pictures: curves of all seeds, and differences to the baseline."""

import pandas
from matplotlib.figure import Figure

from experiments.files import write_whole
from experiments.report.verdicts import judge

# 840 pixels, as wide as GitHub shows a page.
WIDTH, FONT_SIZE = 5.25, 8
INK, FAINT = "#1f2933", "#cbd2d9"
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
COLORS = ("#52606d", VERMILION, BLUE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
SEEN = {"better": BLUE, "worse": VERMILION, "undecided": "#767676"}


def draw_curves(path, results, arms=None, reference=None):
    """The held-out measure of every run as training goes on: thin lines.

    The mean of the seeds is a thick line. With a `reference`, the name of an
    arm, differences from its curve of the same seed are drawn.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    drawn = [arm for arm in results.arms if arm in (arms or results.arms)]
    for index, arm in enumerate(drawn):
        curves = curves_of(arm, results)
        if reference:
            curves = curves - curves_of(reference, results)[curves.columns]
        color = COLORS[index % len(COLORS)]
        draw_arm(axes, curves, arm, color, results.measure.digits)
    vision = results.experiment.is_vision
    axes.set_title(results.experiment.title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel("epoch" if vision else "million tokens", color=INK)
    name = "accuracy, %" if vision else "held-out loss, nats per token"
    over = f", over {reference}" if reference else ""
    axes.set_ylabel(name + over, color=INK)
    axes.xaxis.get_major_locator().set_params(integer=vision)
    style(axes, "y", 10)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK)
    save(path, figure)


def curves_of(arm, results):
    """Data frame of an arm's curves: a column of values for each seed."""
    vision = results.experiment.is_vision
    curves = {}
    for seed, rows in results.runs(arm)["history"].items():
        history = pandas.DataFrame(rows)
        curves[seed] = (
            (100 * history["val_accuracy"]).set_axis(history["epoch"] + 1)
            if vision
            else history["val_loss"].set_axis(history["tokens"] / 1e6)
        )
    return pandas.DataFrame(curves)


def draw_arm(axes, curves, arm, color, digits):
    axes.plot(curves, color=color, linewidth=0.7, alpha=0.5)
    mean = curves.dropna().mean(axis=1)
    label = f"{arm}: {mean.iloc[-1]:.{digits}f}"
    axes.plot(mean, color=color, linewidth=2, marker="o", ms=3.5)
    axes.plot([], [], color=color, linewidth=2, label=label)


def draw_differences(path, results, labels):
    """A dot with its interval for each arm, over the baseline."""
    found = {
        text: results.difference(arm, "baseline")
        for arm, text in labels.items()
        if arm in results.arms
    }
    height = 0.75 + 0.26 * len(found)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, difference in enumerate(found.values()):
        color = SEEN["undecided"]
        if difference.interval:
            ends = sorted(results.measure.sign * x for x in difference.interval)
            color = SEEN[judge("which", ends, margin=0)]
            axes.plot(difference.interval, (place, place), color=color, lw=1.4)
        axes.plot(difference.mean, place, "o", color=color, markersize=5)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    name = "accuracy" if results.experiment.is_vision else "held-out loss"
    text = f"{name}, {results.measure.unit} more than the baseline"
    axes.set_xlabel(text, fontsize=FONT_SIZE, color=INK)
    style(axes, "x")
    for text, color in SEEN.items():
        axes.plot([], [], "o-", color=color, lw=1.4, markersize=5, label=text)
    figure.legend(
        loc="outside upper left",
        ncols=len(SEEN),
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=INK,
    )
    save(path, figure)


def style(axes, grid, size=FONT_SIZE):
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, length=0, labelsize=size)


def save(path, figure):
    write_whole(path, lambda partial: figure.savefig(partial, dpi=160))
