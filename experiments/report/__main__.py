"""`python -m experiments.report`: the page docs/results.md and its pictures.

It is made of the numbers in `results/`; nothing in it is written by hand,
except for the Markdown files beside this one. The page of each experiment, with
its setup and all arms, lies in docs/results/. What has not been run says so,
with the command that runs it.
"""

from pathlib import Path

import pandas

from experiments.configs import all_experiments
from experiments.configs.table_5 import NAMES
from experiments.files import RESULTS
from experiments.files import read_json
from experiments.files import write_text
from experiments.options import make_parser
from experiments.report import claims
from experiments.report import cost_claims
from experiments.report import pilot
from experiments.report.pictures import draw_curves
from experiments.report.pictures import draw_differences
from experiments.report.results import load
from experiments.report.summary import NOTE
from experiments.report.summary import describe_setup
from experiments.report.summary import markdown
from experiments.report.summary import summary
from experiments.report.verdicts import CONFIRMED

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
# In the order of the page.
TEXT = (
    *("table_5", "language_choices", "language_depth", "language_rates"),
    *("upcycling", "bfloat16", "gpu_text"),
)
IMAGES = ("table_1", "figure_3", "vision_choices")
SEARCHES = ("language_pilot", "language_tuning", "vision_tuning")
LABELS = {
    "wider": "wider, as many parameters as RW+LR",
    "longer": "6 % more steps",
    "deeper": "more layers",
    **NAMES,
}
PICTURES = {
    "table_5": {
        "language_differences": "Differences of held-out loss to the baseline: "
        "means over the seeds and Student's 95 % intervals.",
        "language_curves": "The same differences over the tokens read: thin "
        "lines are single seeds, thick ones their means.",
    },
    "table_1": {
        "vision_differences": "Differences of accuracy to the baseline: means "
        "over the seeds and Student's 95 % intervals."
    },
}
CURVES = ("baseline", "deeper", "rw", "pa", "rw+lr", "rw+lr+pa")


def load_all(folder=RESULTS):
    """Dict, by name, of an `Experiment` and its `Results`, if any."""
    known = all_experiments()
    return {
        name: (known[name], load(known[name], folder))
        for name in (*TEXT, *IMAGES, *SEARCHES)
    }


def render(folder=RESULTS):
    """Dict of the text of each page, by its path beside docs/."""
    loaded = load_all(folder)
    compiled = cost_claims.read_rows(folder)
    counted = (read_json(folder / "full_scale.json") or {"rows": []})["rows"]
    pages = {
        f"results/{name}.md": describe(*pair)
        for name, pair in loaded.items()
        if pair[1]
    }
    tables = {
        "compiled.md": cost_claims.compiled_table(compiled),
        "full_scale.md": cost_claims.full_scale_table(counted),
    }
    for name, table in tables.items():
        pages[f"results/{name}"] = template(name).format(table=table)
    pages["results.md"] = main_page(loaded, compiled, counted)
    return pages


def template(name):
    return Path(__file__).with_name(name).read_text("utf-8")


def main_page(loaded, compiled, counted):
    judged = claims.claims_of([loaded[name] for name in (*TEXT, *IMAGES)])
    costs = cost_claims.cost_claims(compiled)
    parameters = cost_claims.parameter_claims(counted)
    questions = claims.is_question(judged)
    on_text = judged["experiment"].isin(TEXT)
    outcome = [
        *claims.count_verdicts("claims", judged[~questions]["verdict"]),
        *claims.count_verdicts("questions", judged[questions]["verdict"]),
        *claims.count_verdicts("costs", costs["verdict"]),
        *claims.count_verdicts("parameters", parameters["verdict"]),
    ]
    return template("page.md").format(
        outcome=markdown(pandas.DataFrame(outcome)),
        decided_claims=claims.decided(judged[~questions]),
        decided_questions=claims.decided(judged[questions]),
        text_size=size_of(*loaded["table_5"]),
        image_size=size_of(*loaded["table_1"]),
        found_on_text=list_found(judged[on_text]),
        found_on_images=list_found(judged[~on_text]),
        text_pages=links(TEXT, loaded),
        image_pages=links(IMAGES, loaded),
        text_claims=claims.claims_table(judged[on_text & ~questions]),
        text_questions=claims.claims_table(judged[on_text & questions]),
        image_claims=claims.claims_table(judged[~on_text & ~questions]),
        image_questions=claims.claims_table(judged[~on_text & questions]),
        text_pictures=show("table_5", loaded),
        image_pictures=show("table_1", loaded),
        half_widths=claims.half_widths(judged) or "none yet",
        pilot=pilot.describe(*loaded["language_pilot"]),
        costs=markdown(costs),
        parameters=markdown(parameters),
    )


def show(name, loaded):
    """The pictures of an experiment, if it was run, with their captions."""
    if loaded[name][1] is None:
        return ""
    return "".join(
        f"![{caption[:-1]}](../results/{picture}.png)\n\n{caption}\n\n"
        for picture, caption in PICTURES[name].items()
    )


def size_of(experiment, results):
    if results is None:
        return f"not run yet: `python -m experiments {experiment.name}`"
    size = f"{results.about['baseline_parameters']:,} parameters"
    settings = results.rows["settings"].iloc[0]
    if "tokens" in settings:
        return f"{size}, {settings['tokens']:,} tokens of {settings['dataset']}"
    return f"{size}, {settings['epochs']} epochs of {settings['dataset']}"


def list_found(judged):
    """The claims that were confirmed, and how many were refuted."""
    confirmed = judged[judged["verdict"] == CONFIRMED]["claim"]
    refuted = judged["verdict"].str.startswith("refuted").sum()
    lines = []
    if len(confirmed):
        lines.append(f"Confirmed: {'; '.join(dict.fromkeys(confirmed))}.")
    if refuted:
        lines.append(f"Refuted: {refuted} claims, each in the table below.")
    return "\n".join(lines) or "No claim is decided yet."


def links(names, loaded):
    found = [f"[{x}](results/{x}.md)" for x in names if loaded[x][1]]
    missing = [
        f"`python -m experiments {x}`" for x in names if not loaded[x][1]
    ]
    text = ", ".join(found) or "none yet"
    return text + (f". Not run yet: {', '.join(missing)}" if missing else "")


def describe(experiment, results):
    """The page of an experiment: its setup and the table of its arms."""
    return (
        f"# {experiment.title}\n\n{describe_setup(results)}\n"
        f"{markdown(summary(results))}\n{NOTE}\n"
    )


def draw(folder=RESULTS):
    """Draw the page's pictures, of what there is."""
    loaded = load_all(folder)
    for name, pictures in PICTURES.items():
        results = loaded[name][1]
        if results:
            path = folder / f"{next(iter(pictures))}.png"
            draw_differences(path, results, LABELS)
    if loaded["table_5"][1]:
        path = folder / "language_curves.png"
        draw_curves(path, loaded["table_5"][1], CURVES, "baseline")


def main():
    make_parser("experiments.report", __doc__).parse_args()
    draw()
    for name, text in render().items():
        write_text(PAGE.parent / name, text)
    print(f"Written to {PAGE} and {PAGE.with_suffix('')}/")


if __name__ == "__main__":
    main()
