"""The report of all experiments, made of the numbers in `results/`.

    python examples/experiments_report.py

writes `docs/results.md` and its pictures. What has not been run says so, with
the command that runs it.
"""

import argparse
from pathlib import Path

from experiments_arms import language_section
from experiments_arms import tuning_section
from experiments_arms import vision_section
from experiments_chance import describe_chance
from experiments_full_scale import CHIP
from experiments_full_scale import UTILISATION
from experiments_full_scale import full_scale_table
from experiments_pictures import draw_differences
from experiments_pictures import draw_ranks
from experiments_results import FOLDER
from experiments_results import TPU_TABLES
from experiments_results import load
from experiments_results import not_run
from experiments_summary import describe_outcome
from experiments_tables import FULL_FROM
from experiments_tables import choices_table
from experiments_tables import compiled_table
from experiments_tables import cost_table
from experiments_tables import parameter_table
from experiments_tables import quality_table
from experiments_tables import untested_table
from experiments_verdicts import ACCURACY
from run_folder import write_whole

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
PICTURES = {
    "vision": "vision_differences.png",
    "table_5": "language_differences.png",
    "ranks": "vision_ranks.png",
}

HEAD = """\
# Results

The claims of the LAuReL paper (arXiv 2411.07501 v4), and what was found here.
`python examples/experiments_report.py` writes this page of the numbers in
`results/`; nothing in it is written by hand.

LAuReL replaces the sum x + f(x) of a residual connection, where f is the block
that the connection leads around and D the width of x:

- RW: α f(x) + β x, with numbers α and β
- LR: f(x) + x + B A x, with A and B of rank r; B starts at 0
- PA: f(x) + x + Σ γⱼ xᵢ₋ⱼ, over the k activations before
- RW+LR: α f(x) + β (x + B A x)
- RW+LR+PA: α f(x) + β (x + Σ γⱼ Bⱼ Aⱼ xᵢ₋ⱼ)

## In short

{outcome}
Except for the counts of costs and parameters, all of it was run on
{scale}.
"Confirmed here" is said of those models and that data, and no more.
"""
SCALES = {
    "reduced": "small models and little data",
    "full": "models of the paper's size",
}
RULES = """\
## How a verdict is made

The rules are in `examples/experiments_verdicts.py`. Those on quality were fixed
before the runs of the experiments. A quarter of an hour earlier, the baseline
and RW+LR at r = 16 had been run on the test images with the final settings and
seeds 0 and 1 (88.27 and 88.14 %; 88.11 and 88.22 %). The arms on images with
r = 1 and the claims on them were added during the runs of the first seed, when
there was no interval. The rules on costs were made when the compiler's counts
were known.

Arms of one seed share their start, as far as their weights are the same, and
the order of the data, so that differences are taken seed by seed. Student's t
makes the 95 % interval that decides, which is that of the claims and of the
pictures; it takes differences to be normal. The bootstrap's is shown beside it
where the arms are listed. It is too narrow for few seeds: with five it covers
the true difference in 84 % of cases, with three in 75 %. Until the first seed
was run the wider of the two was to decide, which in 40,000 random samples never
was the bootstrap's. Both are intervals over initialisation and order: all runs
have the same training and test data, so that they say nothing of other images
or texts.

- *gains*, *lowers*, *beats*: confirmed here if the interval lies on the claimed
  side of 0. Otherwise not seen here: the opposite was, if it lies on the other
  side; undecided, if it holds 0.
- *reaches*: confirmed here if the interval leaves out all that is worse by
  {points} points of accuracy, about the paper's deviations in Table 1.
- *matters*: confirmed here if the interval leaves out 0.
- Costs: confirmed here if the TPU compiler counts no more than the paper
  measured, with 1 point for the digits of its step times and 0.1 for those of
  its memory. Noise in latency is taken to be 1 %, since the paper calls 1 to
  2 % an increase. Where a program needs more than {full:.0f} % of the chip's
  memory, the compiler trades memory for time, and what it needs cannot tell.
- Parameters: confirmed here if the digits are the paper's.

Accuracy is that of the last epoch, which nothing was chosen by. The paper has
the best one.

{chance}
"""
QUALITY = """\
## The claims on quality

Accuracy in points, more is better; losses in nats per token, less is better.
Parameters are those that an arm has beyond the baseline, and "against" is said
of the arm that it is compared with. In the narrow network the paper's rank adds
many times the paper's share of them, so that Table 1 is tested at two ranks;
how A starts is tested at r = 16.

"""
COSTS = """\
## The claims on costs

Ours are the TPU compiler's counts for this implementation on v5e: scheduled
cycles for step time and latency, and peak memory. Nothing was timed. The paper
measured Table 5 on v6e, with code of its own
([tpu_costs.md](tpu_costs.md)).

"""
COMPILED = """\

All that was compiled, in percent over the baseline. `deeper` has one more
layer, and four more blocks in the 157M model. For ResNet-50 the paper has no
times.

"""
PARAMETERS = """\
Parameters, of models of the paper's size. The widths of its language models are
not in the paper; ours were derived from its other parameters, so that those
agree and are no evidence. Its 3.63 % for the 41st layer of the 4B model cannot
come of 40 equal blocks, which leave 2.5 % at most. ResNet-50 has LAuReL on all
16 connections, for RW two scalars on each, 32 parameters. The paper does not
say what it counts, and no single way that was tried gives its figures. What
Table 4 has for one connection, a test compares
(`tests/footprint/test_connection.py`).

"""
CHOICES = """\
## What the paper leaves open

Questions, and no claims. "better" and "worse" are said where the interval
leaves out 0, by the same rule; among as many questions, chance answers some.
On images RW+LR has r = 16.

"""
UNTESTED = """\
## What no number here speaks of

"""
TUNING = """\
## Learning rates

Chosen once, on the baseline, by a part of the training data that is held out;
then the same for all arms. `make experiments` does not repeat these searches.

"""
FULL_SCALE = """\
## At full scale

The same programs at the paper's size. Chip-hours are estimates: the baseline's
counted flops for all runs (LAuReL adds some percent), at {utilisation:.0f} % of
the peak of TPU {chip}. For ResNet-50 they are likely to be too low, since it
moves more bytes for each flop, and for the large models too: `--remat` adds a
second forward pass, a third of the flops, that is not counted, and the paper
needed several times as much for the 1B model. None of these commands has been
run. Each needs `--data-dir` with its data set, prepared by TFDS. The commands
of `vision_experiments.py` share an `--output`, and so do those of
`language_experiments.py`: upcycling finds there what Table 5 trained. The rate
that a search finds best is passed on as `--learning-rate`.

The data of the paper's large models is not public, and that of the 4B model has
images too. C4 has about 0.16 trillion tokens, so that the commands below read
it three times.

"""


def render(results):
    """The text of the page.

    Args:
        results: `experiments_results.Results`.
    """
    return "\n".join(
        [
            describe_head(results),
            describe_rules(results),
            QUALITY + quality_table(results),
            COSTS + cost_table(results) + compiled_section(results),
            PARAMETERS + parameter_table(results),
            CHOICES + choices_table(results),
            UNTESTED + untested_table(),
            "## Images\n",
            vision_section(results) + vision_pictures(results),
            "## Language\n",
            language_section(results) + language_pictures(results),
            TUNING + tuning_section(results),
            full_scale_section(results),
        ]
    )


def describe_head(results):
    return HEAD.format(
        scale=describe_scale(results), outcome=describe_outcome(results)
    )


def describe_scale(results):
    files = [name for name in ("vision", "language") if name in results]
    scales = {results.about(name)["scale"] for name in files} or {"reduced"}
    return " and ".join(SCALES[scale] for scale in sorted(scales))


def describe_rules(results):
    return RULES.format(
        points=ACCURACY.margin,
        full=100 * FULL_FROM,
        chance=describe_chance(results),
    )


def compiled_section(results):
    missing = [
        not_run(name)
        for name in (f"tpu_{table}" for table in TPU_TABLES)
        if name not in results
    ]
    return "\n".join([COMPILED + compiled_table(results), *missing])


DIFFERENCES = "means over the seeds and Student's 95 % intervals"


def vision_pictures(results):
    texts = {
        "vision": f"Differences of accuracy to the baseline: {DIFFERENCES}",
        "ranks": "Accuracy by the rank of RW+LR; bands are standard deviations "
        "over the seeds, ranks other shares of the width than in the paper",
    }
    return pictures(texts) if results.runs("vision", "baseline") else ""


def language_pictures(results):
    texts = {
        "table_5": "Differences of held-out loss to the baseline: "
        f"{DIFFERENCES}"
    }
    return pictures(texts) if results.runs("table_5", "baseline") else ""


def pictures(texts):
    return "".join(
        f"\n![{text}](../results/{PICTURES[name]})\n\n{text}.\n"
        for name, text in texts.items()
    )


def full_scale_section(results):
    head = FULL_SCALE.format(utilisation=100 * UTILISATION, chip=CHIP)
    if "full_scale" not in results:
        return head + not_run("full_scale")
    return head + full_scale_table(results.rows("full_scale"))


def draw_pictures(results, folder):
    for part in ("vision", "table_5"):
        draw_differences(folder / PICTURES[part], results, part)
    draw_ranks(folder / PICTURES["ranks"], results)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    results = load()
    draw_pictures(results, FOLDER)
    text = render(results)
    write_whole(PAGE, lambda partial: partial.write_text(text, "utf-8"))
    print(f"Written to {PAGE}")


if __name__ == "__main__":
    main()
