"""The report's tables of claims, choices and costs, in Markdown."""

from experiments_choices import CHOICES
from experiments_claims import COMPARISONS
from experiments_claims import UNTESTED
from experiments_cost_claims import COSTS
from experiments_cost_claims import PARAMETERS
from experiments_results import TPU_TABLES
from experiments_results import measure_of
from experiments_verdicts import NOT_RUN
from experiments_verdicts import difference_of
from experiments_verdicts import judge
from experiments_verdicts import judge_digits
from experiments_verdicts import judge_limit


def table(header, rows):
    """A Markdown table; its cells are text."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def signed(value, digits):
    """With a sign in front, but for what rounds to zero."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if float(f"{value:.{digits}f}") else text[1:]


def with_interval(mean, interval, digits):
    text = signed(mean, digits)
    if interval is None:
        return text
    low, high = (signed(end, digits) for end in interval)
    return f"{text} [{low}, {high}]"


def compare(results, comparison):
    """The `Difference` of a comparison, or None."""
    part = comparison.part
    return difference_of(
        results.values(part, comparison.arm, comparison.value),
        results.values(part, comparison.reference),
    )


def quality_table(results):
    rows = [quality_row(results, comparison) for comparison in COMPARISONS]
    header = (
        "claim",
        "paper",
        "its difference",
        "ours, 95 %",
        "seeds",
        "verdict",
    )
    return table(header, rows)


def quality_row(results, claim):
    measure, difference = measure_of(claim.part), compare(results, claim)
    paper = "" if claim.paper is None else signed(claim.paper, measure.digits)
    return (
        claim.text,
        claim.source,
        paper,
        *shown(difference, measure.digits),
        judge(claim.rule, difference, measure),
    )


def shown(difference, digits):
    """The cells of a difference: with its wider interval, and the seeds."""
    if difference is None:
        return "", ""
    text = with_interval(difference.mean, difference.interval, digits)
    return text, str(difference.pairs)


def tested_claims(results):
    """The claims that have an interval, and so may be confirmed."""
    found = [(claim, compare(results, claim)) for claim in COMPARISONS]
    return [claim for claim, x in found if x is not None and x.interval]


def choices_table(results):
    rows = [choice_row(results, choice) for choice in CHOICES]
    return table(("what is changed", "difference, 95 %", "seeds", "seen"), rows)


def choice_row(results, choice):
    measure, difference = measure_of(choice.part), compare(results, choice)
    return (
        choice.text,
        *shown(difference, measure.digits),
        judge(choice.rule, difference, measure),
    )


def cost_table(results):
    rows = [cost_row(results, claim) for claim in COSTS]
    return table(("adds", "paper", "at most, %", "ours, %", "verdict"), rows)


def cost_row(results, claim):
    limit = claim.paper or signed(claim.limit, 1)
    found = find_program(results, claim.table, claim.program, claim.variant)
    if found is None:
        return claim.text, claim.source, limit, "", NOT_RUN
    added = found["percent_added"][claim.quantity]
    ours = "" if added is None else signed(added, 1)
    verdict = judge_limit(added, claim.limit + claim.rounding)
    return claim.text, claim.source, limit, ours, verdict


def find_program(results, name, program, variant):
    for row in results.rows(f"tpu_{name}"):
        if (row["program"], row["variant"]) == (program, variant):
            return row
    return None


def parameter_table(results):
    rows = [parameter_row(results, claim) for claim in PARAMETERS]
    return table(("has", "source", "paper", "ours", "verdict"), rows)


def parameter_row(results, claim):
    text = f"{claim.text}, {claim.model}"
    paper = f"{claim.paper} {claim.unit}"
    counts = {
        row["variant"]: row["parameters"]
        for row in results.rows("full_scale")
        if row["model"] == claim.model
    }
    if not {"baseline", claim.variant} <= counts.keys():
        return text, claim.source, paper, "", NOT_RUN
    ours = in_unit(counts[claim.variant], counts["baseline"], claim.unit)
    decimals = len(claim.paper.partition(".")[2])
    verdict = judge_digits(f"{ours:.{decimals}f}", claim.paper)
    # Two digits at least, of what the paper's decimals would round to zero.
    ours = f"{ours:.2g}" if ours < 0.01 else f"{ours:.{decimals}f}"
    return text, claim.source, paper, f"{ours} {claim.unit}", verdict


def in_unit(count, plain, unit):
    return count / 1e6 if unit == "M" else 100 * (count - plain) / plain


def untested_table():
    rows = [
        (claim.text, claim.source, claim.paper, claim.verdict, claim.reason)
        for claim in UNTESTED
    ]
    return table(("claim", "source", "paper", "verdict", "why"), rows)


QUANTITIES = ("flops", "bytes_accessed", "cycles", "peak_memory")


def compiled_table(results):
    """All that was compiled, in percent over the baseline."""
    rows = [
        compiled_row(name, row)
        for name in TPU_TABLES
        for row in results.rows(f"tpu_{name}")
        if row["variant"] != "baseline"
    ]
    header = ("table", "program", "variant", "flops", "bytes", "cycles")
    return table((*header, "peak memory"), rows)


def compiled_row(name, row):
    added = [row["percent_added"][quantity] for quantity in QUANTITIES]
    cells = ["" if x is None else signed(x, 1) for x in added]
    if not row["cost"]["fits"]:
        cells[-1] += ", does not fit"
    return name, row["program"], row["variant"], *cells
