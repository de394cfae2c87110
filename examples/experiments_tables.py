"""The report's tables of claims, choices and costs, in Markdown."""

from experiment_statistics import format_difference
from experiment_statistics import signed as with_sign
from experiments_choices import CHOICES
from experiments_claims import COMPARISONS
from experiments_claims import PAPER_ADDS
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

# Of the chip's memory.
FULL_FROM = 0.9


def table(header, rows):
    """A Markdown table; its cells are text."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def signed(value, digits):
    return with_minus(with_sign(value, digits))


def with_minus(text):
    """The sign that is as wide as the plus; pages have it, terminals not."""
    return text.replace("-", "−")


def compare(results, comparison):
    """The `Difference` of a comparison, or None."""
    part = comparison.part
    return difference_of(
        results.values(part, comparison.arm, comparison.value),
        results.values(part, comparison.reference),
    )


def quality_table(results):
    rows = [quality_row(results, comparison) for comparison in COMPARISONS]
    header = ("claim", "paper", "its difference", "its parameters, %")
    header += ("ours, 95 %", "our parameters, %", "seeds", "verdict")
    return table(header, rows)


def quality_row(results, claim):
    measure, difference = measure_of(claim.part), compare(results, claim)
    paper = "" if claim.paper is None else signed(claim.paper, measure.digits)
    ours, seeds = shown(difference, measure.digits)
    return (
        claim.text,
        claim.source,
        paper,
        parameters_cell(claim, PAPER_ADDS.get(claim.part, {})),
        ours,
        parameters_cell(claim, parameters_added(results, claim.part)),
        seeds,
        judge(claim.rule, difference, measure),
    )


def parameters_cell(claim, added):
    """What the arm adds, and what the one adds that it is compared with.

    Args:
        claim: A `Comparison`.
        added: Dict, the text of each arm.
    """
    ours = added.get(claim.arm, "")
    if claim.reference == "baseline":
        return ours
    other = added.get(claim.reference)
    return f"{ours} against {other}" if ours and other else ""


def parameters_added(results, part):
    """Dict, what each arm has beyond the baseline, in per cent."""
    counts = {row["arm"]: row["parameters"] for row in results.part(part)}
    if "baseline" not in counts:
        return {}
    plain = counts["baseline"]
    return {arm: f"{in_unit(n, plain, '%'):.2f}" for arm, n in counts.items()}


def shown(difference, digits):
    """The cells of a difference: with its interval, and the seeds."""
    if difference is None:
        return "", ""
    text = format_difference(difference.mean, difference.interval, digits)
    return with_minus(text), str(difference.pairs)


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
    full = claim.quantity == "peak_memory" and fills_chip(found["cost"])
    verdict = judge_limit(added, claim.limit + claim.rounding, full)
    return claim.text, claim.source, limit, ours, verdict


def fills_chip(cost):
    return cost["peak_memory"] > FULL_FROM * cost["memory"]


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
    if unit == "%":
        return 100 * (count - plain) / plain
    return count / {"M": 1e6, "B": 1e9}[unit]


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
