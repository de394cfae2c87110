"""The page: made-up results with known verdicts, and what is published."""

import json
import math
import re
import shutil
import statistics
import subprocess
import sys

import pytest

from experiments.configs import find_experiment
from experiments.costs import full_scale
from experiments.files import RESULTS
from experiments.report import __main__ as report
from experiments.report import pictures
from experiments.report.cost_claims import COMPILED_WITH as OPTION
from experiments.report.results import Results
from experiments.report.results import load
from experiments.report.summary import summary
from keras_laurel.costs.tpu.chips import CHIPS
from tests.backends import once

pytestmark = once

# Accuracy in percent by seed. RW gains, RW+LR is at the baseline, RW+LR+PA
# loses, and the deeper network has one seed only.
ACCURACIES = {
    "baseline": (80.0, 81.0, 79.5),
    "deeper": (82.0,),
    "rw": (81.0, 81.9, 80.6),
    "rw+lr": (80.4, 80.5, 79.7),
    "rw+lr+pa": (78.0, 79.1, 77.4),
}
PARAMETERS = dict(zip(ACCURACIES, (1000, 1080, 1001, 1230, 1580)))
LOSSES = {
    "baseline": (3.0, 3.1, 3.05),
    "deeper": (2.9, 3.01, 2.96),
    "rw": (3.1, 3.22, 3.14),
}


def about(data):
    return {
        "command": "python -m experiments x",
        "backend": "jax",
        "workers": 2,
        "device": "cpu",
        "data": data,
        "baseline_parameters": 1000,
        "made_with": {"keras": "3.15.1"},
    }


def settings_of(name):
    return vars(find_experiment(name).settings)


def vision_file():
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "settings": settings_of("table_1"),
            "accuracy_last": value / 100,
            "accuracy_best": 0.9,
            "held_out_loss": 0.5,
            "parameters": PARAMETERS[arm],
            "seconds": 1800.0,
            "history": [
                {"epoch": 0, "val_accuracy": 0.7},
                {"epoch": 1, "val_accuracy": value / 100},
            ],
        }
        for arm, values in ACCURACIES.items()
        for seed, value in enumerate(values)
    ]
    sizes = {"training_images": 60_000, "evaluation_images": 10_000}
    data = {"fashion_mnist": {**sizes, "classes": 10}}
    return {"about": about(data), "rows": rows}


def language_file():
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "settings": settings_of("table_5"),
            "held_out_loss": value,
            "bits_per_byte": 1.5,
            "parameters": 1000,
            "tokens_per_second": 1000.0 if arm == "baseline" else 800.0,
            "step_memory_mb": 85.9,
            "seconds": 60.0,
            "made_with": {"processor": "one"},
        }
        for arm, values in LOSSES.items()
        for seed, value in enumerate(values)
    ]
    # Such a speed is not compared with that of another processor.
    elsewhere = {"tokens_per_second": 9.0, "made_with": {"processor": "two"}}
    rows[-1] |= elsewhere
    rows[[row["arm"] for row in rows].index("deeper")] |= elsewhere
    sizes = {"training_tokens": 4_360_048, "evaluation_tokens": 32_768}
    return {"about": about({"python_stdlib": sizes}), "rows": rows}


def compiled_file():
    def row(variant, cycles, memory, fits=True):
        added = {"flops": 1.0, "bytes_accessed": 2.0}
        added |= {"cycles": cycles, "peak_memory": memory}
        peak = 95 if variant == "rw+lr" else 80
        cost = {"fits": fits, "memory": 100, "peak_memory": peak}
        return {
            "program": "train",
            "variant": variant,
            "percent_added": added,
            "cost": cost,
        }

    return {
        "rows": [
            row("rw", 0.9, 2.6),
            row("lr", 4.3, 5.0),
            row("pa", None, 30.0, fits=False),
            row("rw+lr", 0.0, -1.0),
        ]
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    files = {
        "table_1": vision_file(),
        "table_5": language_file(),
        "tpu_table_5": compiled_file(),
    }
    for name, file in files.items():
        (folder / f"{name}.json").write_text(json.dumps(file))
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return report.render(folder)["results.md"]


def rows_of(page, text):
    """The cells of the rows that begin with a text."""
    lines = re.findall(rf"^\|( {re.escape(text)} +\|.*)$", page, re.M)
    return [[cell.strip() for cell in x.strip("|").split("|")] for x in lines]


@pytest.mark.parametrize(
    "claim, verdicts",
    [
        # By accuracy, then by loss, of which all runs have the same.
        ("RW gains accuracy", ["confirmed", "refuted: negligible"]),
        ("RW+LR gains accuracy", ["undecided", "refuted: negligible"]),
        (
            "RW+LR+PA gains accuracy",
            ["refuted: the opposite", "refuted: negligible"],
        ),
        ("One more layer gains accuracy", ["undecided: one seed"] * 2),
        ("PA alone", []),  # not run
        ("More blocks lower the loss", ["confirmed"]),
        ("RW lowers the loss", ["refuted: the opposite"]),
        ("LR lowers the loss", []),
        (f"RW{OPTION}, 157M model: step time", ["confirmed"]),
        (f"RW{OPTION}, 157M model: peak memory", ["refuted: it costs more"]),
        ("PA, 157M model: step time", ["refuted: it does not fit the chip"]),
        (
            f"RW+LR{OPTION}, 157M model: peak memory",
            ["undecided: the program fills the chip"],
        ),
        (f"RW+LR+PA{OPTION}, 157M model: step time", ["not run"]),
        ("One more layer, resnet50", ["not run"]),
    ],
)
def test_verdicts_of_made_up_results(page, claim, verdicts):
    assert [row[-1] for row in rows_of(page, claim)] == verdicts


def signed(value, digits):
    return f"{value:+.{digits}f}".replace("-", "−")


@pytest.mark.parametrize(
    "claim, values, digits",
    [("RW gains accuracy", ACCURACIES, 2), ("RW lowers the loss", LOSSES, 4)],
)
def test_numbers_of_a_claim(page, claim, values, digits):
    pairs = [a - b for a, b in zip(values["rw"], values["baseline"])]
    mean = statistics.fmean(pairs)
    half = 4.302653 * statistics.stdev(pairs) / math.sqrt(3)
    ends = ", ".join(signed(mean + sign * half, digits) for sign in (-1, 1))
    cells = rows_of(page, claim)[0]
    unit = "points" if digits == 2 else "nats"
    assert f"{signed(mean, digits)} [{ends}] {unit}" in cells
    assert "3 of 6" in cells


def test_parameters_of_a_claim(page):
    """1,580 against 1,080."""
    cells = rows_of(page, "RW+LR+PA beats one more layer")[0]
    assert "+46.296 %" in cells


def test_what_was_run_and_what_was_not(folder, page):
    pages = report.render(folder)
    assert "`python -m experiments figure_3`" in page
    assert "results/figure_3.md" not in pages
    table_1 = pages["results/table_1.md"]
    assert "60,000 training images and 10,000 of `test`" in table_1
    assert "13, seeds 0, 1, 2; 6.5 hours of training" in table_1
    assert "Confirmed: RW gains accuracy" in page


def test_the_table_of_an_experiment(folder):
    rows = summary(load(find_experiment("table_1"), folder)).set_index("arm")
    rw = rows.loc["rw"]
    assert rw["against"] == "baseline" and rw["seeds"] == "3"
    assert rw["difference"] == "+1.00 [+0.75, +1.25]"
    assert rw["deviation"] == "0.10"
    assert rw["accuracy %"] == "81.17 ± 0.67"
    assert rw["parameters added %"] == "0.100"
    assert rw["paper"] == "75.10 ± 0.10"
    rows = summary(load(find_experiment("table_5"), folder)).set_index("arm")
    deeper = rows.loc["deeper"]
    assert deeper["step time"] == "1.250 (1.250 to 1.250)"
    assert deeper["step MB"] == "86 ± 0"


def test_pictures_show_the_numbers(folder, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "save", lambda path, x: figures.append(x))
    results = Results(find_experiment("table_1"), vision_file())
    pictures.draw_curves(tmp_path / "curves.png", results)
    pictures.draw_differences(tmp_path / "x.png", results, report.LABELS)
    curves, differences = (figure.axes[0] for figure in figures)
    ends = [
        line.get_ydata()[-1] for line in curves.lines if len(line.get_ydata())
    ]
    for values in ACCURACIES.values():
        for value in (*values, statistics.fmean(values)):
            assert any(end == pytest.approx(value) for end in ends)
    dots = [x for x in differences.lines if x.get_marker() == "o"]
    shown = [float(x.get_xdata()[0]) for x in dots if len(x.get_xdata()) == 1]
    assert shown[1] == pytest.approx(1.0)


def test_parameters_of_the_paper(tmp_path):
    shutil.copy(RESULTS / "full_scale.json", tmp_path)
    page = report.render(tmp_path)["results.md"]
    for claim, cells in {
        "One more layer, resnet50": ["4.37 %", "4.37 %", "confirmed"],
        "RW, resnet50": ["0.003 %", "0.00013 %", "not seen here"],
        "One more layer, llm-4b": ["3.63 %", "2.33 %", "not seen here"],
    }.items():
        assert rows_of(page, claim)[0][2:] == cells


def test_the_models_are_those_that_were_counted():
    rows = json.loads((RESULTS / "full_scale.json").read_text())["rows"]
    assert full_scale.measure("ablation-157m", "pa") in rows


def test_chip_hours():
    """Of Table 1: 7 arms, 6 seeds, 90 epochs, 40 % of 197 TFLOP/s."""
    from experiments.report.cost_claims import PEAK_FLOPS
    from experiments.report.cost_claims import plan

    assert PEAK_FLOPS == CHIPS["v5e"].flops
    row = {"training_flops": 24e9, "sequence_length": None}
    cells = plan(find_experiment("table_1_full"), {"resnet50": row})
    hours = 42 * 90 * 1_281_167 * 24e9 / (0.4 * 197e12) / 3600
    assert cells["runs"] == "42" and cells["flops"] == "1.2e+20"
    assert cells["v5e chip-hours"] == f"{hours:,.0f}"


def test_the_pages_are_made_of_the_results():
    for name, text in report.render().items():
        page = report.PAGE.parent / name
        assert page.read_text("utf-8") == text, "`python -m experiments.report`"
        for link in re.findall(r"!\[.*?\]\((.*?)\)", text):
            assert (page.parent / link).exists(), link


def test_writing_the_page_imports_no_trainer():
    code = (
        "import sys, experiments.report.__main__ as report\n"
        "report.render()\n"
        "print({'keras', 'jax', 'experiments.training'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr
