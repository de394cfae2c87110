"""The page's tables of claims and questions on quality."""

import collections

import pandas

from experiments.report.results import ACCURACY
from experiments.report.results import LOSS
from experiments.report.results import is_vision
from experiments.report.statistics import signed
from experiments.report.statistics import with_interval
from experiments.report.summary import added
from experiments.report.summary import markdown
from experiments.report.verdicts import CONFIRMED
from experiments.report.verdicts import OPPOSITE
from experiments.report.verdicts import judge

# The share of claims that chance confirms at 95 %.
CHANCE = {"better": 0.025, "differs": 0.05}
SAID = {CONFIRMED: "Confirmed", OPPOSITE: "The opposite was seen"}


def claims_of(found, questions=False):
    """Rows of a claim with its difference and verdict, as a data frame.

    Args:
        found: Pairs of an `Experiment` and its `Results`, or None.
        questions: Whether what claims nothing is asked for.
    """
    rows = []
    for experiment, results in found:
        measure = ACCURACY if is_vision(experiment) else LOSS
        for claim in experiment.claims:
            if (claim.rule == "which") == questions:
                rows.append(row_of(claim, experiment, results, measure))
    return pandas.DataFrame(rows)


def row_of(claim, experiment, results, measure):
    difference = None
    if results:
        difference = results.difference(claim.arm, claim.reference, claim.value)
    return {
        "experiment": experiment.name,
        "claim": claim.text,
        "paper": claim.source,
        "its difference": signed(claim.paper, measure.digits),
        "its parameters, %": paper_parameters(claim, experiment),
        "ours, 95 %": with_interval(difference, measure.digits),
        "our parameters, %": our_parameters(claim, results),
        "seeds": str(difference.pairs) if difference else "",
        "verdict": judge(claim.rule, difference, measure),
        # Not shown.
        "rule": claim.rule,
        "measure": measure,
        "half": half_width(difference),
    }


def paper_parameters(claim, experiment):
    return against(
        claim,
        {arm: numbers[1] for arm, numbers in experiment.paper.items()},
    )


def our_parameters(claim, results):
    if results is None:
        return ""
    names = {claim.arm, claim.reference} & set(results.arms)
    return against(
        claim, {arm: added(results.percent_added(arm)) for arm in names}
    )


def against(claim, texts):
    """Return the overhead of an arm, and that of its reference."""
    ours, other = (texts.get(x, "") for x in (claim.arm, claim.reference))
    if claim.reference == "baseline":
        return ours
    return f"{ours} against {other}" if ours and other else ""


def half_width(difference):
    if difference is None or difference.interval is None:
        return None
    low, high = difference.interval
    return (high - low) / 2


HIDDEN = ["rule", "measure", "half"]


def claims_table(claims):
    return markdown(claims.drop(columns=HIDDEN))


def questions_table(questions):
    frame = questions[["experiment", "claim", "ours, 95 %", "seeds", "verdict"]]
    return markdown(
        frame.rename(columns={"claim": "what is changed", "verdict": "seen"})
    )


def count_verdicts(kind, verdicts):
    """Rows that say how often each verdict was given."""
    return [
        {"claims on": kind, "how many": str(count), "verdict": verdict}
        for verdict, count in collections.Counter(verdicts).most_common()
    ]


def describe_decided(claims):
    """The claims that were confirmed, and those whose opposite was seen."""
    lines = []
    for verdict, said in SAID.items():
        texts = claims.loc[claims["verdict"] == verdict, "claim"]
        if len(texts):
            lines.append(f"{said}, on quality: {'; '.join(texts)}.\n")
    return "\n".join(lines)


def describe_chance(claims):
    """Return a paragraph on chance results and on the power of the runs."""
    tested = claims[claims["half"].notna()]
    if tested.empty:
        return "No claim on quality has an interval yet."
    shares = [CHANCE[rule] for rule in tested["rule"] if rule in CHANCE]
    lines = [
        f"{len(tested)} claims on quality have an interval. If no arm differed "
        f"from any other, about {sum(shares):.1f} of the {len(shares)} that "
        "speak of a difference would be confirmed by chance; they share arms, "
        "so that chance may confirm several at once.\n\nA difference shows if "
        "the one found is larger than half of its interval, as it is in half "
        "of all cases where the true one has that size. These halves are:\n"
    ]
    for measure in (ACCURACY, LOSS):
        halves = tested.loc[tested["measure"] == measure, "half"]
        if len(halves):
            least, middle, most = (
                f"{value:.{measure.digits}f}"
                for value in (halves.min(), halves.median(), halves.max())
            )
            lines.append(
                f"- {least} to {most} {measure.unit}, with the median {middle}."
            )
    return "\n".join(lines)
