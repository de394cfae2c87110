"""Settings as fields of dataclasses, with a help text and a range.

Nothing here imports Keras, so that a command line is checked at once.
"""

import argparse
import dataclasses
import json
import types

import simple_parsing


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
        f"some of {', '.join(map(str, names))}, each once",
    )


def setting(default, text, allowed=None, several=False):
    """A field of a dataclass of settings, with its help and its range.

    `several` says of one without a default that it takes several values.
    Otherwise an option without a value would count as left out.
    """
    options = {"default": default}
    if isinstance(default, dict):
        options = {"default_factory": default.copy, "type": json_object}
    elif isinstance(default, bool):
        options["negative_prefix"] = "--no-"
    elif default is None:
        options["nargs"] = "+" if several else None
    return simple_parsing.field(
        **options,
        help=text.replace("%", "%%"),
        metadata={"range": allowed},
    )


def json_object(text):
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(
            f"it must be a JSON object, such as '{{\"scale\": 0.5}}'. "
            f"Received: {text}"
        )
    return found


class Checked:
    """A dataclass whose fields are in the ranges that `setting` gave them.

    Whole numbers without a range are 1 or more.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), field.metadata["range"]
            if type(value) is int:
                allowed = allowed or AT_LEAST_1
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


@dataclasses.dataclass(frozen=True)
class Shared(Checked):
    """Settings that runs on images and on text have in common."""

    variant: str = setting(
        "baseline",
        "baseline, deeper (more blocks; on images one in the third stage), or "
        "some of rw, lr and pa joined by +",
        VARIANTS,
    )
    num_activations: int = setting(
        3, "activations of the pa part, the block's input included"
    )
    layer_options: dict = setting({}, "further arguments of `Laurel`, as JSON")
    laurel_rates: tuple[float, ...] | None = setting(
        None,
        "factors of the rate for LAuReL's scalars and low-rank maps",
        RATES,
        several=True,
    )
    train_split: str = setting("train", "TFDS split to train on")
    eval_split: str | None = setting(
        None, "TFDS split to evaluate on; default: validation, or else test"
    )
    precision: str = setting(
        "float32", "Keras' dtype policy", one_of("float32", "mixed_bfloat16")
    )
