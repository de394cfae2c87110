"""The parts of a config: arms, their settings, and the claims they test.

Nothing here imports Keras, so that a command line is checked at once.
"""

import dataclasses
import types


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
        trainer: Module with `prepare` and `train`.
        settings: Dataclass with the settings that arms share.
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
    trainer: str
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

    def settings_of(self, arm):
        """The settings of an arm, checked."""
        return dataclasses.replace(self.settings, **self.arms[arm])

    def reference_of(self, arm):
        """Name of the arm that an arm is compared with, or None."""
        first = next(iter(self.arms))
        return self.references.get(arm, None if arm == first else first)


@dataclasses.dataclass(frozen=True)
class Range:
    """Values that a setting may have, and how to say so."""

    holds: types.FunctionType
    text: str


AT_LEAST_1 = Range(lambda x: x >= 1, "a number of 1 or more")
AT_LEAST_0 = Range(lambda x: x >= 0, "a number of 0 or more")
ABOVE_0 = Range(lambda x: 0 < x < float("inf"), "a number above 0")
BELOW_1 = Range(lambda x: 0 <= x < 1, "0 or more, below 1")


def one_of(*names):
    return Range(lambda x: x in names, f"one of {', '.join(names)}")


def some_of(*names):
    return Range(
        lambda x: set(x) <= set(names) and len(set(x)) == len(x),
        f"some of {', '.join(names)}, each once",
    )


def setting(default, text, allowed=None):
    """A field of a dataclass of settings, with its help and its range."""
    kind = "default_factory" if isinstance(default, dict) else "default"
    value = default.copy if isinstance(default, dict) else default
    metadata = {"help": text, "range": allowed}
    return dataclasses.field(**{kind: value}, metadata=metadata)


class Checked:
    """A dataclass whose fields are in the ranges that `setting` gave them."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), field.metadata["range"]
            if value is not None and allowed and not allowed.holds(value):
                raise ValueError(
                    f"Setting `{field.name}` must be {allowed.text}. "
                    f"Received: {field.name}={value!r}."
                )


VARIANTS = Range(
    lambda x: (
        x in ("baseline", "deeper")
        or {*x.split("+")} <= {"rw", "lr", "pa"}
        and len({*x.split("+")}) == len(x.split("+"))
    ),
    "baseline, deeper, or some of rw, lr and pa joined by +",
)
RATES = Range(
    lambda x: len(x) == 2 and all(map(ABOVE_0.holds, x)),
    "two factors above 0",
)
PRECISIONS = one_of("float32", "mixed_bfloat16")
