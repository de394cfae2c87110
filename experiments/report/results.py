"""The results of an experiment as tables: files in, data frames out."""

import dataclasses

import pandas

from experiments.files import RESULTS
from experiments.files import read_json
from experiments.report.statistics import difference_of


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that arms are compared by.

    Args:
        name: Name in the rows of results.
        factor: What it is multiplied by.
        unit: Unit of the product.
        digits: Decimals that are shown.
        sign: 1 if more is better, -1 if less is.
        margin: What `no worse` leaves open.
    """

    name: str
    factor: int
    unit: str
    digits: int
    sign: int
    margin: float | None = None


# The margin: the paper's deviations in Table 1 are up to 0.12 points.
ACCURACY = Measure("accuracy_last", 100, "points", 2, 1, margin=0.1)
LOSS = Measure("held_out_loss", 1, "nats per token", 4, -1)


class Results:
    """The runs of one experiment.

    Args:
        experiment: An `Experiment`.
        file: Dict with `about` and `rows`, as a run of it writes.
    """

    def __init__(self, experiment, file):
        self.experiment = experiment
        self.about = file["about"]
        self.rows = pandas.DataFrame(file["rows"])
        self.measure = ACCURACY if is_vision(experiment) else LOSS

    @property
    def arms(self):
        """The arms that have runs, in the order of the config."""
        found = set(self.rows["arm"])
        return [arm for arm in self.experiment.arms if arm in found]

    def runs(self, arm):
        """Data frame, the runs of an arm by seed."""
        chosen = self.rows[self.rows["arm"] == arm]
        return chosen.set_index("seed").sort_index()

    def values(self, arm, name=None):
        """Series of a number by seed, in the unit of the measure."""
        name = name or self.measure.name
        if name not in self.rows:
            return pandas.Series(dtype=float)
        return self.measure.factor * self.runs(arm)[name].dropna()

    def difference(self, arm, reference, name=None):
        """The `Difference` of two arms, or None."""
        if reference is None:
            return None
        return difference_of(self.values(arm, name), self.values(reference))

    def parameters(self, arm):
        """The arm's parameters, or None if it has no run."""
        runs = self.runs(arm)
        return None if runs.empty else int(runs["parameters"].iloc[0])

    def percent_added(self, arm):
        """Parameters beyond those of the baseline, in per cent, or None."""
        count, plain = self.parameters(arm), self.about["baseline_parameters"]
        return None if count is None else 100 * (count - plain) / plain


def is_vision(experiment):
    return ".vision." in experiment.trainer


def load(experiment, folder=RESULTS):
    """The `Results` that are kept in `results/`, or None."""
    file = read_json(folder / f"{experiment.name}.json")
    return file and Results(experiment, file)
