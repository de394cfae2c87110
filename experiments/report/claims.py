"""The page's tables of claims and questions on quality."""

import collections

import pandas
from scipy import stats

from experiments.report.results import measures_of
from experiments.report.statistics import signed
from experiments.report.statistics import with_interval
from experiments.report.summary import added
from experiments.report.summary import markdown
from experiments.report.verdicts import NOT_RUN
from experiments.report.verdicts import judge

# The share of false ones among all differences that are called real.
FALSE_SHARE = 0.05
# Those whose verdict speaks of a difference from 0.
OF_A_DIFFERENCE = ("better", "differs", "which")
SHOWN = ["claim", "paper", "ours, 95 %", "parameters", "seeds", "verdict"]


def claims_of(found):
    """Data frame with a row for each claim and measure, and its verdict.

    Of pairs of an `Experiment` and its `Results`, or None.
    """
    rows = [
        row_of(claim, experiment, results, measure)
        for experiment, results in found
        for claim in experiment.claims
        for measure in measures_of(experiment)
    ]
    frame = pandas.DataFrame(rows)
    frame["holds"] = adjusted(frame)
    frame["verdict"] = [verdict_of(row) for row in frame.itertuples()]
    return frame


def row_of(claim, experiment, results, measure):
    difference = None
    if results:
        difference = results.difference(
            claim.arm, claim.reference, measure, claim.value
        )
    # The paper's images are compared by accuracy alone.
    same = measure is measures_of(experiment)[0]
    paper = claim.paper if same else None
    return {
        "experiment": experiment.name,
        "claim": claim.text,
        "paper": signed(paper, measure.digits),
        "ours, 95 %": with_unit(difference, measure),
        "parameters": parameters_of(claim, results),
        "seeds": seeds_of(difference, experiment),
        # Not shown.
        "rule": claim.rule,
        "measure": measure,
        "effect": paper,
        "difference": difference,
    }


def seeds_of(difference, experiment):
    """Pairs of runs, and how many are planned where there are fewer."""
    if not difference:
        return ""
    pairs, planned = difference.pairs, experiment.seeds
    return str(pairs) if pairs >= planned else f"{pairs} of {planned}"


def with_unit(difference, measure):
    text = with_interval(difference, measure.digits)
    return text and f"{text} {measure.unit.split()[0]}"


def parameters_of(claim, results):
    """The parameters that an arm has beyond its reference, in per cent."""
    if results is None:
        return ""
    arm, other = map(results.parameters, (claim.arm, claim.reference))
    if arm is None or other is None:
        return ""
    percent = added(abs(100 * (arm - other) / other))
    return f"{'−' if arm < other else '+'}{percent} %" if arm != other else "0"


def adjusted(frame):
    """Whether each difference from 0 holds among all that are tested.

    Benjamini and Hochberg's correction: among those that hold, the share of
    false ones is expected to be 5 % at most.
    """
    holds = pandas.Series(True, frame.index)
    tested = [
        row.Index
        for row in frame.itertuples()
        if row.rule in OF_A_DIFFERENCE
        and row.difference
        and row.difference.chance is not None
    ]
    if tested:
        chances = [frame["difference"][index].chance for index in tested]
        corrected = stats.false_discovery_control(chances)
        holds[tested] = corrected <= FALSE_SHARE
    return holds


def verdict_of(row):
    if not row.difference:
        return NOT_RUN
    measure, interval = row.measure, row.difference.interval
    if interval:
        interval = sorted(measure.sign * end for end in interval)
    paper = None
    if row.effect is not None and not pandas.isna(row.effect):
        paper = measure.sign * row.effect
    return judge(row.rule, interval, measure.margin, paper, row.holds)


def claims_table(claims):
    """Markdown table of the rows that were run; empty columns left out."""
    frame = claims[claims["verdict"] != NOT_RUN][SHOWN]
    if frame.empty:
        return ""
    return markdown(frame.loc[:, (frame != "").any()])


def count_verdicts(kind, verdicts):
    """Rows that say how often each verdict was given."""
    return [
        {"on": kind, "how many": str(count), "verdict": verdict}
        for verdict, count in collections.Counter(verdicts).most_common()
    ]


def is_question(claims):
    return claims["rule"] == "which"


def decided(claims):
    """How many of the claims or questions that were run have an answer."""
    ran = claims[claims["verdict"] != NOT_RUN]
    count = sum(not x.startswith("undecided") for x in ran["verdict"])
    return f"{count} of {len(ran)}"


def half_widths(claims):
    """Text: half of the widths of the intervals, by measure."""
    ends = {}
    for row in claims.itertuples():
        if row.difference and row.difference.interval:
            low, high = row.difference.interval
            ends.setdefault(row.measure, []).append((high - low) / 2)
    return "; ".join(
        f"{min(x):.{measure.digits}f} to {max(x):.{measure.digits}f} "
        f"{measure.unit}, median {pandas.Series(x).median():.{measure.digits}f}"
        for measure, x in ends.items()
    )
