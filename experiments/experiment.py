"""The parts of a config: arms, their settings, and the claims they test.

Nothing here imports Keras, so that a command line is checked at once.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Claim:
    """An arm compared with another one of the same seeds.

    Args:
        text: The claim, or the question.
        arm: Name of the arm that the claim is about.
        reference: Name of the arm it is compared with.
        rule: One of `experiments.report.verdicts.RULES`; `"which"` asks a
            question and claims nothing.
        source: Place in the paper.
        paper: The paper's difference, in the unit of the measure.
        value: Another number of the arm's runs than the measure.
    """

    text: str
    arm: str
    reference: str = "baseline"
    rule: str = "which"
    source: str = ""
    paper: float | None = None
    value: str | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Arms that are trained with the same seeds.

    Args:
        name: Name on the command line and of the results.
        title: One line: what is compared.
        settings: Dataclass with the settings that arms share, and `trainer`,
            the module that has `prepare` and `train` for them.
        arms: Dict of the settings that each arm changes, by name.
        seeds: Number of seeds, from 0 on.
        references: Dict, the arm that an arm is compared with, by name; the
            first arm is the reference of all others.
        claims: Tuple of `Claim`.
        paper: Dict of the paper's `(measure, parameters added in %)` as text,
            by arm.
        family: Folder of the runs. Experiments of one family share the runs
            of arms of the same name.
    """

    name: str
    title: str
    settings: object
    arms: dict
    seeds: int = 1
    references: dict = dataclasses.field(default_factory=dict)
    claims: tuple = ()
    paper: dict = dataclasses.field(default_factory=dict)
    family: str | None = None

    @property
    def folder(self):
        return self.family or self.name

    @property
    def trainer(self):
        return self.settings.trainer

    @property
    def is_vision(self):
        return ".vision." in self.trainer

    def settings_of(self, arm):
        """The settings of an arm, checked."""
        return dataclasses.replace(self.settings, **self.arms[arm])

    def reference_of(self, arm):
        """Name of the arm that an arm is compared with, or None."""
        first = next(iter(self.arms))
        return self.references.get(arm, None if arm == first else first)

    def at_full_scale(self, settings, arms=None):
        """The same at the paper's size; its claims are not tested there."""
        return dataclasses.replace(
            self,
            name=f"{self.name}_full",
            title=f"{self.title[:-1]}, at the paper's size.",
            settings=settings,
            arms=arms or self.arms,
            family=f"{self.folder}_full",
            claims=(),
        )
