"""The pilot's table: what pairing leaves of chance, and how many seeds."""

import pandas

from experiments.configs.language_pilot import GRID
from experiments.configs.language_pilot import NULL_ARMS
from experiments.report.results import LOSS
from experiments.report.statistics import seeds_needed
from experiments.report.statistics import with_deviation
from experiments.report.summary import markdown

ABOUT = """\
The pilot varied the baseline alone. Its null arms are the baseline with noise
on its initial weights (`moved`: 1e-6; `shaken`: 1e-2), and LAuReL frozen at its
start (`frozen`). Their differences from the baseline are due to chance. More:
[language_pilot](results/language_pilot.md).

"""


def describe(experiment, results):
    if results is None:
        return "The pilot was not run: `python -m experiments language_pilot`\n"
    rows = [
        row_of(setting, null, results)
        for setting in GRID
        for null in NULL_ARMS
        if f"{setting}-{null}" in results.arms
    ]
    return ABOUT + markdown(pandas.DataFrame(rows))


def row_of(setting, null, results):
    found = results.difference(f"{setting}-{null}", setting)
    # Around 0, which is the true mean of a null arm.
    pairs = results.values(f"{setting}-{null}") - results.values(setting)
    deviation = float((pairs.dropna() ** 2).mean() ** 0.5)
    return {
        "setting": setting,
        "null arm": null,
        "loss": with_deviation(results.values(setting), 4),
        "pairs": str(found.pairs),
        "deviation": f"{deviation:.6f}",
        f"seeds for {LOSS.margin} nats": str(
            seeds_needed(LOSS.margin, deviation) if deviation else 2
        ),
    }
