"""Does what LAuReL gains on text grow with depth?"""

from experiments.configs import text
from experiments.configs.table_5 import NAMES
from experiments.experiment import Claim
from experiments.experiment import Experiment

# The settings of each depth, and the variants that are compared there.
DEPTHS = {
    "4 blocks": ({"depth": 4}, ("pa", "rw+lr")),
    "16 blocks": ({"depth": 16}, ("pa", "rw+lr")),
    "24 narrow blocks": (text.DEEP, ("rw", "pa", "rw+lr", "rw+lr+pa")),
}


def name_of(depth, variant=None):
    name = depth.replace(" ", "-")
    return f"{name}-{variant}" if variant else name


# Each variant with its depth.
PAIRS = [(x, depth) for depth, (_, names) in DEPTHS.items() for x in names]

LANGUAGE_DEPTH = Experiment(
    name="language_depth",
    title="Depth on text: 4 and 16 blocks, and 24 narrow ones.",
    settings=text.REDUCED,
    seeds=text.FEWER_SEEDS,
    arms={
        name_of(depth, variant): {
            **settings,
            **({"variant": variant} if variant else {}),
        }
        for depth, (settings, variants) in DEPTHS.items()
        for variant in (None, *variants)
    },
    references={
        **{name_of(depth): None for depth in DEPTHS},
        **{name_of(depth, x): name_of(depth) for x, depth in PAIRS},
    },
    claims=tuple(
        Claim(f"{NAMES[x]}, {depth}", name_of(depth, x), name_of(depth))
        for x, depth in PAIRS
    ),
    family=text.FAMILY,
)
EXPERIMENTS = (LANGUAGE_DEPTH,)
