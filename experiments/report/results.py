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
        margin: The largest difference that does not matter.
    """

    name: str
    factor: int
    unit: str
    digits: int
    sign: int
    margin: float


# The margins: the paper's deviations in Table 1 are up to 0.12 points, and a
# tenth of its gains in Table 5 is 0.006 nats.
ACCURACY = Measure("accuracy_last", 100, "points", 2, 1, 0.1)
IMAGE_LOSS = Measure("held_out_loss", 1, "nats per image", 4, -1, 0.005)
LOSS = Measure("held_out_loss", 1, "nats per token", 4, -1, 0.005)


class Results:
    """The runs of one experiment."""

    def __init__(self, experiment, file):
        self.experiment = experiment
        self.about = file["about"]
        self.rows = pandas.DataFrame(file["rows"])
        self.measure = measures_of(experiment)[0]

    @property
    def arms(self):
        """The arms that have runs, in the order of the config."""
        found = set(self.rows["arm"])
        return [arm for arm in self.experiment.arms if arm in found]

    def runs(self, arm):
        """Data frame, the runs of an arm by seed."""
        chosen = self.rows[self.rows["arm"] == arm]
        return chosen.set_index("seed").sort_index()

    def values(self, arm, measure=None, name=None):
        """Series of the measure by seed, or of another number in its unit."""
        measure = measure or self.measure
        name = name or measure.name
        if name not in self.rows:
            return pandas.Series(dtype=float)
        return measure.factor * self.runs(arm)[name].dropna()

    def difference(self, arm, reference, measure=None, name=None):
        """The `Difference` of two arms, or None."""
        if reference is None:
            return None
        return difference_of(
            self.values(arm, measure, name), self.values(reference, measure)
        )

    def parameters(self, arm):
        """The arm's parameters, or None if it has no run."""
        runs = self.runs(arm)
        return None if runs.empty else int(runs["parameters"].iloc[0])

    def percent_added(self, arm):
        """Parameters beyond those of the baseline, in per cent, or None."""
        count, plain = self.parameters(arm), self.about["baseline_parameters"]
        return None if count is None else 100 * (count - plain) / plain


def measures_of(experiment):
    """The measures of an experiment, the one that is drawn first."""
    return (ACCURACY, IMAGE_LOSS) if experiment.is_vision else (LOSS,)


def load(experiment, folder=RESULTS):
    """The `Results` that are kept in `results/`, or None."""
    file = read_json(folder / f"{experiment.name}.json")
    return file and Results(experiment, file)
