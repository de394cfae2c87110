"""The claims of the LAuReL paper, and what tests each of them here.

In our words, with the numbers of arXiv 2411.07501 v4.
"""

import dataclasses

from experiments_verdicts import NOT_TESTED
from experiments_verdicts import TOO_SMALL
from training_report import PAPER_TABLE_1


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An arm against another one with the same seeds.

    Args:
        text: The claim, or what is asked.
        part: `vision`, or a part of the language experiments.
        arm: What the claim is about.
        reference: The arm it is compared with.
        source: Where the paper says so.
        paper: Its difference, as it is shown.
        rule: One of `experiments_verdicts.RULES`.
        value: Another number of the arm's runs than the part's measure.
    """

    text: str
    part: str
    arm: str
    reference: str
    source: str = ""
    paper: str = ""
    rule: str = "which"
    value: str | None = None


@dataclasses.dataclass(frozen=True)
class Untested:
    """A claim that no number here speaks of, and why."""

    text: str
    source: str
    paper: str
    verdict: str
    reason: str


def vision(rule, source, rows):
    """Claims on accuracy: text, arm, reference, the paper's difference."""
    return [
        Comparison(text, "vision", arm, reference, source, paper, rule)
        for text, arm, reference, paper in rows
    ]


# The paper's rank is no low one in a network so narrow, where r = 1 has about
# the share of parameters that the paper's arms have.
RANKS = {"": "r = 16, the paper's", "-rank-1": "r = 1, about the paper's share"}


def at_both_ranks(text, variant, reference, paper):
    return [
        (f"{text}: {rank}", f"{variant}{ending}", reference, paper)
        for ending, rank in RANKS.items()
    ]


TABLE_1 = [
    *vision(
        "better",
        "Table 1",
        [
            ("One more layer gains accuracy", "extra-layer", "baseline", 0.25),
            ("RW gains accuracy", "rw", "baseline", 0.15),
            *at_both_ranks("RW+LR gains accuracy", "rw+lr", "baseline", 0.25),
            *at_both_ranks(
                "RW+LR+PA gains accuracy", "rw+lr+pa", "baseline", 0.30
            ),
            *at_both_ranks(
                *("RW+LR+PA beats one more layer", "rw+lr+pa"),
                *("extra-layer", 0.05),
            ),
        ],
    ),
    *vision(
        "no worse",
        "Table 1",
        at_both_ranks(
            "RW+LR reaches one more layer", "rw+lr", "extra-layer", 0.0
        ),
    ),
]

FIGURE_3 = [
    *vision(
        "no worse",
        "Figure 3",
        [
            ("r = 4 gains nothing: RW reaches it", "rw", "rank-4", None),
            ("r = 8 gains nothing: RW reaches it", "rw", "rank-8", None),
        ],
    ),
    *vision(
        "better",
        "Figure 3",
        [
            ("r = 16 beats r = 8", "rw+lr", "rank-8", None),
            ("r = 32 beats r = 8", "rank-32", "rank-8", None),
            ("r = 16 beats r = 64", "rw+lr", "rank-64", None),
            ("r = 32 beats r = 64", "rank-32", "rank-64", None),
            ("RW+LR at r = 64 beats RW", "rank-64", "rw", None),
        ],
    ),
]

INITIALIZATION = vision(
    "differs",
    "text",
    [
        ("How A starts matters: orthogonal", "orthogonal", "rw+lr", None),
        (
            "How A starts matters: column-orthogonal",
            *("column-orthogonal", "rw+lr", None),
        ),
    ],
)

NAMES = {
    "rw": "RW",
    "lr": "LR",
    "pa": "PA",
    "rw+lr": "RW+LR",
    "rw+lr+pa": "RW+LR+PA",
}
# The paper's test losses, step times in seconds, peak memories in GB and
# millions of parameters.
TABLE_5_PAPER = {
    "baseline": (3.0159, 0.095, 11.65, 157.20),
    "deeper": (2.9963, 0.105, 13.23, 179.23),
    "rw": (2.9557, 0.095, 11.93, 157.20),
    "lr": (2.9624, 0.098, 12.29, 158.40),
    "pa": (2.9512, 0.100, 12.55, 157.22),
    "rw+lr": (2.9531, 0.099, 12.57, 158.40),
    "rw+lr+pa": (2.9499, 0.104, 12.90, 160.83),
}
# Per cent of parameters that each arm adds in the paper.
PAPER_ADDS = {
    "vision": {
        f"{variant}{ending}": added
        for variant, (_, added) in PAPER_TABLE_1.items()
        for ending in RANKS
    },
    "table_5": {
        variant: f"{100 * (numbers[-1] / 157.20 - 1):.2f}"
        for variant, numbers in TABLE_5_PAPER.items()
    },
}


def lowers_loss(text, arm, reference):
    paper = TABLE_5_PAPER[arm][0] - TABLE_5_PAPER[reference][0]
    return Comparison(
        text, "table_5", arm, reference, "Table 5", paper, "better"
    )


TABLE_5 = [
    lowers_loss("Four more blocks lower the loss", "deeper", "baseline"),
    *(lowers_loss(f"{NAMES[x]} lowers the loss", x, "baseline") for x in NAMES),
    *(
        lowers_loss(f"{NAMES[x]} beats four more blocks", x, "deeper")
        for x in NAMES
    ),
    lowers_loss("RW+LR+PA beats RW+LR", "rw+lr+pa", "rw+lr"),
]

COMPARISONS = [*TABLE_1, *FIGURE_3, *INITIALIZATION, *TABLE_5]

UNTESTED = [
    Untested(
        "RW+LR at r = 4 makes a 1B model better",
        "Table 2",
        "8 of 9 tasks better, 1 equal",
        TOO_SMALL,
        "the model reads 0.5 T tokens",
    ),
    Untested(
        "RW+LR at r = 64 makes a 4B model better",
        "Table 3",
        "8 of 10 tasks better",
        TOO_SMALL,
        "as above, and the model sees images too",
    ),
    Untested(
        "RW+LR at r = 64 makes a 4B model better than one more layer does",
        "Table 7",
        "8 of 10 tasks better, 2 equal",
        TOO_SMALL,
        "as above",
    ),
    Untested(
        "RW+LR at r = 64 slows the 4B model little, on servers and phones",
        "text, 3.2.2",
        "+1 to +2 %",
        NOT_TESTED,
        "its prefill and generation were not compiled, nothing was timed",
    ),
    Untested(
        "γ has to be learned, and k = 3 is enough",
        "text",
        "",
        NOT_TESTED,
        "no arm has a fixed γ or another k",
    ),
    Untested(
        "Ranks of 32, 48 and 64 work well for language models",
        "text, 3.3",
        "",
        NOT_TESTED,
        "no rank was varied on text",
    ),
    Untested(
        "α and β have to be bounded",
        "text",
        "",
        NOT_TESTED,
        "every layer here bounds them; which bound is best is asked above",
    ),
    Untested(
        "LAuReL goes together with LoRA, AltUp and shared parameters",
        "text, 5",
        "",
        NOT_TESTED,
        "no arm has them; that it trains beside LoRA, a test shows",
    ),
]
