"""A twin that computes with the weights of a plain model."""

from tests.conversion.inside import own_models
from tests.conversion.inside import twins
from tests.conversion.inside.running import State
from tests.conversion.inside.running import laurels_in_run_order
from tests.conversion.inside.running import run
from tests.conversion.inside.running import variables


class TwinRun:
    """The hand-marked model of a row.

    Args:
        name, row: Of the table.
        prototype: The LAuReL layer at each addition.
        state: `State` of the plain model, whose weights the twin takes.
    """

    def __init__(self, name, row, prototype, state):
        self.row, self.prototype, self.own_layers = row, prototype, []
        self.model = own_models.twin(name, prototype)
        run(self.model, row.example())
        own = variables(self.model)
        assert [v.shape for v in own] == [v.shape for v in state.variables]
        for variable, value in zip(own, state.values):
            variable.assign(value)
        self.plain = State(own)
        self.layers = laurels_in_run_order(self._run, row.example())
        self.plain.restore()

    def outputs(self, x):
        self.plain.restore()
        return run(self._run, x)

    def _run(self, x, training=False):
        with twins.TWINS.running(
            self.prototype, self.own_layers, self.row.sites
        ):
            return self.model(x, training=training)
