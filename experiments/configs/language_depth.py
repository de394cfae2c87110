"""Does what LAuReL gains on text grow with depth?"""

from experiments.configs.text import DEEP
from experiments.configs.text import FAMILY
from experiments.configs.text import FEWER_SEEDS
from experiments.configs.text import REDUCED
from experiments.configs.text import TRAINER
from experiments.experiment import Claim
from experiments.experiment import Experiment

VARIANTS = {"pa": "PA", "rw+lr": "RW+LR"}
DEPTHS = {4: {"depth": 4}, 16: {"depth": 16}}


def arms_of(name, changes, variants):
    return {
        name: changes,
        **{f"{name}-{x}": {**changes, "variant": x} for x in variants},
    }


LANGUAGE_DEPTH = Experiment(
    name="language_depth",
    title="Depth on text: 4 and 16 blocks, and 24 narrow ones.",
    trainer=TRAINER,
    settings=REDUCED,
    seeds=FEWER_SEEDS,
    arms={
        **arms_of("4-blocks", DEPTHS[4], VARIANTS),
        **arms_of("16-blocks", DEPTHS[16], VARIANTS),
        **arms_of("24-narrow", DEEP, ("rw", "pa", "rw+lr", "rw+lr+pa")),
    },
    references={
        **dict.fromkeys(("4-blocks", "16-blocks", "24-narrow")),
        **{f"{n}-blocks-{x}": f"{n}-blocks" for n in DEPTHS for x in VARIANTS},
        **{
            f"24-narrow-{x}": "24-narrow"
            for x in ("rw", "pa", "rw+lr", "rw+lr+pa")
        },
    },
    claims=(
        *(
            Claim(
                f"{name}, {depth} blocks",
                f"{depth}-blocks-{variant}",
                f"{depth}-blocks",
            )
            for depth in DEPTHS
            for variant, name in VARIANTS.items()
        ),
        *(
            Claim(f"{name}, 24 narrow blocks", f"24-narrow-{x}", "24-narrow")
            for x, name in {
                "rw": "RW",
                **VARIANTS,
                "rw+lr+pa": "RW+LR+PA",
            }.items()
        ),
    ),
    family=FAMILY,
)
EXPERIMENTS = (LANGUAGE_DEPTH,)
