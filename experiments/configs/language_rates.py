"""The rate on text was tuned for the baseline: variants at other rates."""

from experiments.configs import text
from experiments.configs.table_5 import NAMES
from experiments.experiment import Claim
from experiments.experiment import Experiment

FACTORS = {"half": 0.5, "twice": 2.0}
VARIANTS = ("pa", "rw+lr")


def at(factor, variant):
    return {
        "variant": variant,
        "learning_rate": factor * text.REDUCED.learning_rate,
    }


LANGUAGE_RATES = Experiment(
    name="language_rates",
    title="Half and twice the rate on text.",
    settings=text.REDUCED,
    seeds=text.FEWER_SEEDS,
    arms={
        "baseline": {"keep_model": True},
        **{x: {"variant": x} for x in VARIANTS},
        **{
            f"{x}-{name}": at(factor, x)
            for name, factor in FACTORS.items()
            for x in ("baseline", *VARIANTS)
        },
    },
    references={f"{x}-{name}": x for name in FACTORS for x in VARIANTS},
    claims=(
        *(
            Claim(f"The baseline at {name} the rate", f"baseline-{name}")
            for name in FACTORS
        ),
        *(
            Claim(
                f"{NAMES[x]} at {name} the rate, over the baseline there",
                f"{x}-{name}",
                f"baseline-{name}",
            )
            for x in VARIANTS
            for name in FACTORS
        ),
    ),
    family=text.FAMILY,
)
EXPERIMENTS = (LANGUAGE_RATES,)
