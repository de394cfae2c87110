"""What a run leaves behind: CSV, JSON, two pictures and a table on screen.

Accuracies are fractions in the files and per cent in tables and pictures. As
in the paper, the accuracy of a trial is that of its best epoch.
"""

import csv
import statistics
import textwrap

from matplotlib.figure import Figure

from run_folder import write_json
from run_folder import write_whole

PAPER_TABLE_1 = {
    "baseline": ("74.95 ± 0.01", "0"),
    "extra-layer": ("75.20 ± 0.12", "4.37"),
    "rw": ("75.10 ± 0.10", "0.003"),
    "rw+lr": ("75.20 ± 0.07", "1.68"),
    "rw+lr+pa": ("75.25 ± 0.09", "2.40"),
}
PAPER_PARAMETERS = (
    "The paper does not say what its 0.003 % for RW counts: two scalars on "
    "each of 16 connections are 32 parameters, 0.00013 %. Its 1.68 % and "
    "2.40 % follow from no single way of counting either."
)
COLORS = ("#52606d", "#e4572e", "#1768ac", "#2a9d5c", "#9b4fb8", "#c98a00")
INK = "#1f2933"
FAINT = "#cbd2d9"


def summarize(trials, baseline_parameters):
    """One row per variant, in the order of the trials.

    Args:
        trials: Results of trials, dicts with `variant`, `parameters` and
            `history`, a list of one dict per epoch.
        baseline_parameters: Trainable parameters of the baseline.
    """
    variants = dict.fromkeys(trial["variant"] for trial in trials)
    return [
        summarize_variant(
            [trial for trial in trials if trial["variant"] == variant],
            baseline_parameters,
        )
        for variant in variants
    ]


def summarize_variant(trials, baseline_parameters):
    accuracies = [best_accuracy(trial) for trial in trials]
    parameters = trials[0]["parameters"]
    added = parameters - baseline_parameters
    return {
        "variant": trials[0]["variant"],
        "accuracy_mean": statistics.fmean(accuracies),
        "accuracy_std": (
            statistics.stdev(accuracies) if len(accuracies) > 1 else None
        ),
        "best_accuracies": accuracies,
        "parameters": parameters,
        "parameters_added_percent": 100 * added / baseline_parameters,
    }


def best_accuracy(trial):
    return max(row["val_accuracy"] for row in trial["history"])


def write_history(path, trials):
    """All epochs of all trials as CSV."""
    rows = [
        {"variant": t["variant"], "trial": t["trial"], "seed": t["seed"], **row}
        for t in trials
        for row in t["history"]
    ]

    def write(partial):
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def write_results(path, summary, about):
    """The summary as JSON, with what is needed to repeat the run."""
    write_json(path, {"variants": summary, **about})


def format_accuracy(row):
    mean = f"{100 * row['accuracy_mean']:.2f}"
    if row["accuracy_std"] is None:
        return mean
    return f"{mean} ± {100 * row['accuracy_std']:.2f}"


def format_added(row):
    """Per cent with as many decimals as 32 of 25 million parameters need."""
    added = row["parameters_added_percent"]
    return f"{added:.3f}" if added == 0 or added >= 0.01 else f"{added:.5f}"


def table_rows(summary):
    header = (
        "variant",
        "accuracy %",
        "parameters\nadded %",
        "paper:\naccuracy %",
        "paper: parame-\nters added %",
    )
    body = [
        (
            row["variant"],
            format_accuracy(row),
            format_added(row),
            *PAPER_TABLE_1.get(row["variant"], ("–", "–")),
        )
        for row in summary
    ]
    return header, body


def format_table(summary):
    """The table for a terminal."""
    header, body = table_rows(summary)
    header = [title.replace("-\n", "").replace("\n", " ") for title in header]
    widths = [max(map(len, column)) for column in zip(header, *body)]
    lines = [format_line(row, widths) for row in (header, *body)]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def format_line(cells, widths):
    name, *numbers = map(str.rjust, cells, widths)
    return "  ".join([name.strip().ljust(widths[0]), *numbers])


def draw_accuracy(path, trials, about):
    """Evaluation accuracy after each epoch: mean, and range of the trials."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    variants = dict.fromkeys(trial["variant"] for trial in trials)
    for color, variant in zip(cycle_colors(len(variants)), variants):
        runs = [trial for trial in trials if trial["variant"] == variant]
        draw_curve(axes, runs, color)
    draw_chance(axes, 100 / about["classes"])
    style_axes(axes, describe_curves(about["config"]))
    save_figure(path, figure)


def draw_chance(axes, chance):
    axes.axhline(chance, color=FAINT, linestyle="--", linewidth=1)
    place = axes.get_yaxis_transform()
    axes.text(0.005, chance + 1, "chance", transform=place, color="#7b8794")


def describe_curves(config):
    shown = "mean and range of " if config["trials"] > 1 else ""
    return (
        f"ResNet-50 on {config['dataset']} at {config['image_size']} × "
        f"{config['image_size']}: {shown}{count_trials(config)}"
    )


def cycle_colors(count):
    return [COLORS[index % len(COLORS)] for index in range(count)]


def draw_curve(axes, runs, color):
    epochs = [row["epoch"] for row in runs[0]["history"]]
    curves = [
        [100 * row["val_accuracy"] for row in run["history"]] for run in runs
    ]
    means = [statistics.fmean(values) for values in zip(*curves)]
    lows, highs = zip(*((min(v), max(v)) for v in zip(*curves)))
    axes.fill_between(epochs, lows, highs, color=color, alpha=0.15, lw=0)
    axes.plot(
        epochs,
        means,
        color=color,
        linewidth=2,
        marker="o",
        markersize=5 if len(epochs) < 30 else 0,
        label=runs[0]["variant"],
    )


def style_axes(axes, title):
    axes.set_title(title, loc="left", color=INK, fontsize=12, pad=12)
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel("evaluation accuracy, %", color=INK)
    axes.set_ylim(0, 100)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, length=0)
    axes.legend(frameon=False, loc="best", labelcolor=INK)


def draw_table(path, summary, caption):
    """The table as a picture, the paper's numbers beside this run's."""
    header, body = table_rows(summary)
    lines = textwrap.wrap(caption, 128)
    height = 1.0 + 0.38 * len(body) + 0.2 * len(lines)
    figure = Figure(figsize=(8.6, height))
    axes = figure.add_axes((0.03, 0, 0.94, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(height, 0))
    draw_rows(axes, header, body)
    bottom = 0.95 + 0.38 * len(body)
    axes.text(
        0, bottom, "\n".join(lines), va="top", fontsize=8.5, color="#52606d"
    )
    save_figure(path, figure)


def draw_rows(axes, header, body):
    rights = (0.24, 0.44, 0.60, 0.81, 1.0)
    axes.axhspan(0.12, 0.7, xmin=0.62, color="#f5f7fa")
    draw_row(axes, 0.4, header, rights, weight="bold")
    axes.plot((0, 1), (0.7, 0.7), color=INK, linewidth=1)
    axes.axhspan(0.7, 0.75 + 0.38 * len(body), xmin=0.62, color="#f5f7fa")
    for index, row in enumerate(body):
        draw_row(axes, 0.94 + 0.38 * index, row, rights)
    end = 0.75 + 0.38 * len(body)
    axes.plot((0, 1), (end, end), color=FAINT, linewidth=1)


def draw_row(axes, y, cells, rights, weight="normal"):
    style = {"va": "center", "color": INK, "fontsize": 10, "weight": weight}
    axes.text(0, y, cells[0], ha="left", **style)
    for x, cell in zip(rights[1:], cells[1:], strict=True):
        axes.text(x - 0.01, y, cell, ha="right", **style)


def save_figure(path, figure):
    write_whole(path, lambda partial: figure.savefig(partial, dpi=160))


def describe_difference(about):
    """The caption: what differs from the paper's experiment."""
    config = about["config"]
    mean = "Mean ± standard deviation of the b" if config["trials"] > 1 else "B"
    return (
        f"{mean}est evaluation accuracy of {count_trials(config)}, parameters "
        f"added to this baseline's {about['baseline_parameters']:,}. Here: "
        f"{config['dataset']} ({about['training_images']:,} training images) "
        f"at {config['image_size']} × {config['image_size']}, "
        f"{config['epochs']} epochs, {config['optimizer']}, batch "
        f"{config['batch_size']}, {describe_device(about)}, rank "
        f"{config['rank']}, LAuReL on {config['sites']} residual connections. "
        "Paper: ImageNet-1K, 5 trials on 16 TPU v5e chips, a learning-rate "
        f"schedule tuned for the baseline. {PAPER_PARAMETERS}"
    )


def count_trials(config):
    trials = config["trials"]
    return "1 trial" if trials == 1 else f"{trials} trials"


def describe_device(about):
    return f"{about['config']['backend']} on {about['device']}"
