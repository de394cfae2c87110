"""The tables of the language experiments: means, deviations, differences."""

from experiment_statistics import with_deviation
from experiment_statistics import with_interval
from training_report import format_line

HEADER = (
    "arm",
    "parameters",
    "trained",
    "loss before",
    "held-out loss",
    "bits/byte",
    "against",
    "difference of loss",
    "cast afterwards",
    "step time",
    "step MB",
)
LOSS, SPEED = "held_out_loss", "tokens_per_second"
DIGITS = 4
NOTE = """\
Means and standard deviations over the seeds. Differences are of the same
seeds, with 95 % bootstrap intervals, which are too narrow for few seeds. "Cast
afterwards" is what the loss changes by if alpha, beta and gamma of the trained
model are rounded to bfloat16. Step time is the mean ratio over the seeds and
its range; runs that share a machine disturb each other."""


def describe_results(results, references):
    """A table for a terminal, of the columns that the results fill.

    Args:
        results: List of dicts, one for each run.
        references: Dict, the name of the arm that each arm is compared with.
    """
    arms = group_by_arm(results)
    body = [
        describe_arm(name, runs, references.get(name), arms)
        for name, runs in arms.items()
    ]
    columns = [
        (title, *cells) for title, *cells in zip(HEADER, *body) if any(cells)
    ]
    return align(list(zip(*columns)))


def group_by_arm(results):
    """Dict, the runs of each arm in the order of their seeds."""
    arms = {}
    for result in sorted(results, key=lambda result: result["seed"]):
        arms.setdefault(result["arm"], []).append(result)
    return arms


def describe_arm(name, runs, reference, arms):
    """The cells of a row; those without numbers are empty."""
    first, others = runs[0], arms.get(reference, [])
    losses, memory = column(runs, LOSS), first["step_memory_mb"]
    return (
        name,
        f"{first['parameters']:,}",
        f"{first['trainable_parameters']:,}",
        with_deviation(column(runs, f"{LOSS}_before"), DIGITS),
        with_deviation(losses, DIGITS),
        with_deviation(column(runs, "bits_per_byte"), DIGITS),
        reference if others else "",
        with_interval(losses, column(others, LOSS), DIGITS),
        with_interval(column(runs, f"{LOSS}_after_casting"), losses, DIGITS),
        step_time(column(runs, SPEED), column(others, SPEED)),
        f"{memory:,.0f}" if memory else "",
    )


def column(runs, name):
    """The values of the runs that have one."""
    return [run[name] for run in runs if name in run]


def step_time(speeds, baseline):
    """Mean ratio to the baseline's time, and its range."""
    if not baseline:
        return ""
    ratios = [before / now for now, before in zip(speeds, baseline)]
    mean = f"{sum(ratios) / len(ratios):.3f}"
    if len(ratios) == 1:
        return mean
    return f"{mean} ({min(ratios):.3f} to {max(ratios):.3f})"


def align(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [format_line(row, widths) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
