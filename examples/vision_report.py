"""The tables of the vision experiments: means, deviations, differences."""

from experiment_statistics import with_deviation
from experiment_statistics import with_interval
from training_report import format_added
from training_report import format_line

HEADER = (
    "arm",
    "accuracy %, last epoch",
    "difference to the first arm",
    "best epoch",
    "loss",
    "parameters added %",
)
NOTE = """\
Mean ± standard deviation over the seeds, on the evaluation split. The paper's
tables have the best epoch, which was chosen on that split; the last was not.
Differences are of the same seeds, in percentage points, with 95 % bootstrap
intervals, which are too narrow for few seeds."""


def describe_table(rows, arms):
    """A table for a terminal; the first arm is what others are compared to.

    Args:
        rows: List of dicts, one for each run.
        arms: Names of the arms of the table.
    """
    runs = {arm: runs_of(rows, arm) for arm in arms}
    body = [describe_arm(arm, runs[arm], runs[arms[0]]) for arm in arms]
    widths = [max(map(len, column)) for column in zip(HEADER, *body)]
    lines = [format_line(row, widths) for row in (HEADER, *body)]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def runs_of(rows, arm):
    rows = [row for row in rows if row["arm"] == arm]
    return sorted(rows, key=lambda row: row["seed"])


def describe_arm(arm, runs, first_runs):
    compared = runs is not first_runs
    last, first_last = (
        percent(each, "accuracy_last") for each in (runs, first_runs)
    )
    return (
        arm,
        with_deviation(last, 2),
        with_interval(last, first_last, 2) if compared else "",
        with_deviation(percent(runs, "accuracy_best"), 2),
        with_deviation([run["loss"] for run in runs], 4),
        format_added(runs[0]),
    )


def percent(runs, name):
    return [100 * run[name] for run in runs]
