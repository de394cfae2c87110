"""What a run leaves behind: CSV, JSON, a picture, samples, a table on screen.

Losses are in nats per token, and also in bits per byte of text, which can be
compared across tokenizers.
"""

import csv
import math

from matplotlib.figure import Figure

from run_folder import write_whole
from training_log import typical_speed
from training_report import FAINT
from training_report import INK
from training_report import cycle_colors
from training_report import format_line
from training_report import save_figure


def summarize(results, plain):
    """One row per variant, with what it adds to the baseline's parameters.

    Args:
        results: Dicts with `variant`, `parameters`, `history` and `sample`,
            one for each variant.
        plain: The baseline's parameters.
    """
    return [summarize_variant(result, plain) for result in results]


def summarize_variant(result, plain):
    last = result["history"][-1]
    added = result["parameters"] - plain
    return {
        "variant": result["variant"],
        "parameters": result["parameters"],
        "parameters_added": added,
        "parameters_added_percent": 100 * added / plain,
        "val_loss": last["val_loss"],
        "perplexity": math.exp(last["val_loss"]),
        "bits_per_byte": last["bits_per_byte"],
        "tokens_per_second": typical_speed(result["history"]),
        "peak_memory_mb": last["peak_memory_mb"],
    }


def write_history(path, results):
    """All rounds of all variants as CSV."""
    rows = [
        {"variant": result["variant"], **row}
        for result in results
        for row in result["history"]
    ]

    def write(partial):
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)


def write_samples(path, results):
    text = "\n".join(
        f"===== {result['variant']} =====\n{result['sample']}\n"
        for result in results
    )
    write_whole(path, lambda partial: partial.write_text(text, "utf-8"))


def format_table(summary):
    """The table for a terminal."""
    header = ("variant", "parameters", "added %", "loss", "bits/byte")
    header = (*header, "tokens/s", "MB")
    body = [
        (
            row["variant"],
            f"{row['parameters']:,}",
            f"{row['parameters_added_percent']:.3f}",
            f"{row['val_loss']:.4f}",
            f"{row['bits_per_byte']:.4f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['peak_memory_mb']:,.0f}",
        )
        for row in summary
    ]
    widths = [max(map(len, column)) for column in zip(header, *body)]
    lines = [format_line(row, widths) for row in (header, *body)]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def compare(summary):
    """Which variant ended lowest, and how little one seed says about it."""
    best = min(summary, key=lambda row: row["val_loss"])
    plain = next((r for r in summary if r["variant"] == "baseline"), None)
    if plain is None or len(summary) == 1:
        return f"Lowest loss: {best['variant']}, {best['val_loss']:.4f}."
    others = [
        f"{row['variant']} {row['val_loss'] - plain['val_loss']:+.4f}"
        for row in summary
        if row is not plain
    ]
    return (
        f"Against the baseline's loss of {plain['val_loss']:.4f}: "
        f"{', '.join(others)}. Lowest: {best['variant']}. This is one seed; "
        "it does not show how much of a difference is chance."
    )


def draw_loss(path, results, title):
    """Held-out loss by tokens seen, with the training loss in pale lines."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for color, result in zip(cycle_colors(len(results)), results):
        draw_curves(axes, result, color)
    axes.plot([], [], color=INK, alpha=0.3, label="training, same colour")
    style_axes(axes, title)
    save_figure(path, figure)


def draw_curves(axes, result, color):
    tokens = [row["tokens"] / 1e6 for row in result["history"]]
    training = [row["loss"] for row in result["history"]]
    held_out = [row["val_loss"] for row in result["history"]]
    axes.plot(tokens, training, color=color, alpha=0.3, linewidth=1.2)
    axes.plot(
        tokens,
        held_out,
        color=color,
        linewidth=2,
        marker="o",
        markersize=4 if len(tokens) < 30 else 0,
        label=f"{result['variant']}: {held_out[-1]:.4f}",
    )


def style_axes(axes, title):
    axes.set_title(title, loc="left", color=INK, fontsize=12, pad=12)
    axes.set_xlabel("million tokens", color=INK)
    axes.set_ylabel("held-out loss, nats per token", color=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, length=0)
    axes.legend(frameon=False, loc="best", labelcolor=INK)
