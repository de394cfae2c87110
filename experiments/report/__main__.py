"""`python -m experiments.report`: the page docs/results.md and its pictures.

It is made of the numbers in `results/`; nothing in it is written by hand,
except for `page.md` beside this file. What has not been run says so, with the
command that runs it.
"""

from pathlib import Path

import pandas

from experiments.configs import all_experiments
from experiments.files import RESULTS
from experiments.files import read_json
from experiments.files import write_whole
from experiments.report import claims
from experiments.report import cost_claims
from experiments.report.full_scale import full_scale_table
from experiments.report.pictures import draw_differences
from experiments.report.pictures import draw_ranks
from experiments.report.results import load
from experiments.report.setup import describe_setup
from experiments.report.summary import markdown
from experiments.report.summary import summary

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
TEMPLATE = Path(__file__).with_name("page.md")
# In the order of the page.
EXPERIMENTS = (
    *("table_1", "figure_3", "vision_choices"),
    *("table_5", "bfloat16", "upcycling"),
)
TUNING = ("vision_tuning", "language_tuning")
RANKS = {4: "rank-4", 8: "rank-8", 16: "rw+lr", 32: "rank-32", 64: "rank-64"}
LABELS = {
    "deeper": "more layers",
    "rw": "RW",
    "lr": "LR",
    "pa": "PA",
    "rw+lr": "RW+LR",
    "rw+lr+pa": "RW+LR+PA",
    "rw+lr-rank-1": "RW+LR, r = 1",
    "rw+lr+pa-rank-1": "RW+LR+PA, r = 1",
}


def load_all(folder=RESULTS):
    """Dict, by name, of an `Experiment` and its `Results`, if any."""
    known = all_experiments()
    return {
        name: (known[name], load(known[name], folder))
        for name in (*EXPERIMENTS, *TUNING)
    }


def render(folder=RESULTS):
    """The text of the page, of the numbers in a folder."""
    loaded = load_all(folder)
    found = [loaded[name] for name in EXPERIMENTS]
    on_quality = claims.claims_of(found)
    compiled = cost_claims.read_rows(folder)
    costs = cost_claims.cost_claims(compiled)
    counted = (read_json(folder / "full_scale.json") or {"rows": []})["rows"]
    parameters = cost_claims.parameter_claims(counted)
    outcome = (
        claims.count_verdicts("quality", on_quality["verdict"])
        + claims.count_verdicts("costs", costs["verdict"])
        + claims.count_verdicts("parameters", parameters["verdict"])
    )
    return TEMPLATE.read_text("utf-8").format(
        outcome=markdown(pandas.DataFrame(outcome)),
        decided=claims.describe_decided(on_quality),
        chance=claims.describe_chance(on_quality),
        quality=claims.claims_table(on_quality),
        questions=claims.questions_table(claims.claims_of(found, True)),
        costs=markdown(costs),
        compiled=cost_claims.compiled_table(compiled),
        parameters=markdown(parameters),
        full_scale=full_scale(counted),
        **{name: describe(*loaded[name]) for name in (*EXPERIMENTS, *TUNING)},
    )


def describe(experiment, results):
    """The setup of an experiment and the table of its arms."""
    if results is None:
        return (
            f"Not run yet: `python -m experiments {experiment.name} --results "
            f"results/{experiment.name}.json`\n"
        )
    return f"{describe_setup(results)}\n{markdown(summary(results))}"


def full_scale(counted):
    if not counted:
        return "Not counted yet: `python -m experiments.costs.full_scale`\n"
    chosen = [
        experiment
        for name, experiment in all_experiments().items()
        if name.endswith("_full") or name in ("llm_1b", "llm_4b")
    ]
    return full_scale_table(chosen, counted)


def draw(folder=RESULTS):
    """Draw the page's pictures, of what there is."""
    loaded = load_all(folder)
    pictures = {"table_1": "vision", "table_5": "language"}
    for name, kind in pictures.items():
        results = loaded[name][1]
        if results:
            path = folder / f"{kind}_differences.png"
            draw_differences(path, results, LABELS)
    table_1, ranks = loaded["table_1"][1], loaded["figure_3"][1]
    if table_1 and ranks:
        draw_ranks(
            folder / "vision_ranks.png",
            ranks,
            RANKS,
            {
                "RW": ranks.values("rw"),
                "baseline": table_1.values("baseline"),
            },
            "rank r, at 64 to 128 features; in the paper 256 to 2,048",
        )


def main():
    draw()
    text = render()
    write_whole(PAGE, lambda partial: partial.write_text(text, "utf-8"))
    print(f"Written to {PAGE}")


if __name__ == "__main__":
    main()
