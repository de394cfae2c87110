"""The report: verdicts that are known by construction, and its numbers."""

import json
import math
import re
import shlex
import statistics

import keras
import numpy as np
import pytest

import experiments_full_scale
import experiments_report
import full_scale_costs
import language_command_line
import llm_command_line
import vision_command_line
from experiments_arms import describe_ranks
from experiments_chance import describe_sizes
from experiments_choices import CHOICES
from experiments_claims import COMPARISONS
from experiments_claims import Comparison
from experiments_full_scale import SEEDS
from experiments_full_scale import language_part
from experiments_pictures import draw_differences
from experiments_pictures import draw_ranks
from experiments_results import FOLDER
from experiments_results import load
from experiments_results import measure_of
from experiments_verdicts import ACCURACY
from experiments_verdicts import LOSS
from experiments_verdicts import T_QUANTILES
from experiments_verdicts import Difference
from experiments_verdicts import judge
from experiments_verdicts import student_interval
from language_command_line import PARTS
from vision_experiments import ARMS
from vision_experiments import SCALES

if keras.backend.backend() != "jax":
    pytest.skip("is the same on each backend", allow_module_level=True)

# Accuracy in percent by seed. RW gains, RW+LR is at the baseline, RW+LR+PA
# loses, and the extra layer has one seed only.
ACCURACIES = {
    "baseline": (80.0, 81.0, 79.5),
    "extra-layer": (82.0,),
    "rw": (81.0, 81.9, 80.6),
    "rw+lr": (80.4, 80.5, 79.7),
    "rw+lr+pa": (78.0, 79.1, 77.4),
}
PARAMETERS = {
    "baseline": 1000,
    "extra-layer": 1080,
    "rw": 1001,
    "rw+lr": 1230,
    "rw+lr+pa": 1580,
}
LOSSES = {
    "baseline": (3.0, 3.1, 3.05),
    "deeper": (2.9, 3.01, 2.96),
    "rw": (3.1, 3.22, 3.14),
}


def vision_file():
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "accuracy_last": value / 100,
            "accuracy_best": 0.9,
            "loss": 0.5,
            "parameters": PARAMETERS[arm],
            "made_with": {"processor": "EPYC"} if seed else {},
            "seconds": 1800.0,
            "parameters_added_percent": 0.5,
        }
        for arm, values in ACCURACIES.items()
        for seed, value in enumerate(values)
    ]
    about = {
        "command": "python vision",
        "scale": "reduced",
        "settings": {**SCALES["reduced"], "epochs": 7},
        "training_images": 60_000,
        "evaluation_images": 10_000,
        "classes": 10,
        "baseline_parameters": 123_456,
        "backend": "jax",
        "device": "cpu",
        "workers": 2,
        "cores": 2,
        "versions": {"keras": "3.15.1"},
    }
    return {"about": about, "rows": rows}


def language_file():
    part = language_part("table_5", "reduced")
    rows = [
        {
            "part": "table_5",
            "arm": arm,
            "seed": seed,
            "settings": part.experiment.settings,
            "held_out_loss": value,
            "bits_per_byte": 1.5,
            "tokens": 368_640,
            "parameters": 598_320,
            "tokens_per_second": 1000.0 if arm == "baseline" else 800.0,
            "step_memory_mb": 85.9,
            "seconds": 60.0,
        }
        for arm, values in LOSSES.items()
        for seed, value in enumerate(values)
    ]
    settings = language_part("upcycling", "reduced").experiment.settings
    rows += [
        {**row, "part": "upcycling", "arm": arm, "settings": settings}
        for row, arm in zip(rows[:2], ("plain", "laurel"))
    ]
    sizes = {"training_tokens": 4_360_048, "evaluation_tokens": 32_768}
    about = {
        "command": "python language",
        "scale": "reduced",
        "workers": 2,
        "cores": 2,
        "backend": "jax",
        "device": "cpu",
        "texts": {"table_5": {"python_stdlib": sizes}},
        "versions": {"keras": "3.15.1"},
    }
    return {"about": about, "rows": rows}


def compiled_file():
    def row(variant, cycles, memory, fits=True):
        added = {"flops": 1.0, "bytes_accessed": 2.0}
        added |= {"cycles": cycles, "peak_memory": memory}
        return {
            "program": "train",
            "variant": variant,
            "percent_added": added,
            "cost": {
                "fits": fits,
                "memory": 100,
                "peak_memory": 95 if variant == "rw+lr" else 80,
            },
        }

    return {
        "rows": [
            row("rw", 0.9, 2.6),
            row("lr", 4.3, 5.0),
            row("pa", None, 30.0, fits=False),
            row("rw+lr", 0.0, -1.0),
        ]
    }


@pytest.fixture
def results(tmp_path):
    files = {
        "vision": vision_file(),
        "language": language_file(),
        "tpu_table_5": compiled_file(),
    }
    for name, file in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(file))
    return load(tmp_path)


@pytest.fixture
def page(results):
    return experiments_report.render(results)


def row_of(page, text):
    """The cells of the one row that begins with a text."""
    (line,) = re.findall(rf"^\| {re.escape(text)} \|.*$", page, re.M)
    return [cell.strip() for cell in line.strip("|").split("|")]


def section(page, title):
    return page.split(title)[1].split("\n#")[0]


RANK_16 = "r = 16, the paper's"


@pytest.mark.parametrize(
    "claim, verdict",
    [
        ("RW gains accuracy", "confirmed here"),
        (f"RW+LR gains accuracy: {RANK_16}", "not seen here: undecided"),
        ("RW+LR gains accuracy: r = 1, about the paper's share", "not run"),
        (
            f"RW+LR+PA gains accuracy: {RANK_16}",
            "not seen here: the opposite was",
        ),
        (
            "One more layer gains accuracy",
            "not seen here: one seed has no interval",
        ),
        ("r = 16 beats r = 8", "not run"),
        ("Four more blocks lower the loss", "confirmed here"),
        ("RW lowers the loss", "not seen here: the opposite was"),
        ("RW beats four more blocks", "not seen here: the opposite was"),
        ("LR lowers the loss", "not run"),
        ("RW, 157M model: step time", "confirmed here"),
        ("RW, 157M model: peak memory", "not seen here: it costs more"),
        ("LR, 157M model: step time", "not seen here: it costs more"),
        ("LR, 157M model: peak memory", "confirmed here"),
        (
            "PA, 157M model: step time",
            "not seen here: it does not fit the chip",
        ),
        (
            "RW+LR, 157M model: peak memory",
            "cannot be told: the program fills the chip",
        ),
        ("RW+LR+PA, 157M model: step time", "not run"),
        ("One more layer, resnet50", "not run"),
    ],
)
def test_verdicts_of_made_up_results(page, claim, verdict):
    assert row_of(page, claim)[-1] == verdict


def test_the_first_answer_counts_the_verdicts(page):
    answer = section(page, "## In short\n")
    assert "| quality | 2 | confirmed here |" in answer
    assert "| quality | 3 | not seen here: the opposite was |" in answer
    counts = re.findall(r"^\| quality \| (\d+) \|", answer, re.M)
    assert sum(map(int, counts)) == len(COMPARISONS)
    (confirmed,) = re.findall("^Confirmed, on quality: (.*)$", answer, re.M)
    assert confirmed == "RW gains accuracy; Four more blocks lower the loss."


def signed(value, digits):
    return f"{value:+.{digits}f}".replace("-", "−")


@pytest.mark.parametrize(
    "claim, values, reference, digits",
    [
        ("RW gains accuracy", *(ACCURACIES[x] for x in ("rw", "baseline")), 2),
        ("RW lowers the loss", *(LOSSES[x] for x in ("rw", "baseline")), 4),
    ],
)
def test_numbers_of_a_claim(page, claim, values, reference, digits):
    differences = [a - b for a, b in zip(values, reference)]
    mean = statistics.fmean(differences)
    # Three seeds, two degrees of freedom.
    half = 4.303 * statistics.stdev(differences) / math.sqrt(3)
    ends = ", ".join(signed(mean + sign * half, digits) for sign in (-1, 1))
    cells = row_of(page, claim)
    assert cells[4] == f"{signed(mean, digits)} [{ends}]"
    assert cells[6] == "3"


@pytest.mark.parametrize(
    "claim, paper, ours",
    [
        ("RW gains accuracy", "0.003", "0.10"),
        (f"RW+LR gains accuracy: {RANK_16}", "1.68", "23.00"),
        (
            f"RW+LR+PA beats one more layer: {RANK_16}",
            "2.40 against 4.37",
            "58.00 against 8.00",
        ),
        (
            "RW+LR reaches one more layer: r = 1, about the paper's share",
            "1.68 against 4.37",
            "",
        ),
        ("r = 16 beats r = 8", "", ""),
        ("Four more blocks lower the loss", "14.01", "0.00"),
    ],
)
def test_parameters_of_a_claim(page, claim, paper, ours):
    cells = row_of(page, claim)
    assert (cells[3], cells[5]) == (paper, ours)


def test_tables_of_what_was_run(page):
    table_1 = section(page, "### Table 1\n")
    rw = row_of(table_1, "rw")
    assert rw[1:4] == ["3", "baseline", "+1.00"]
    assert rw[5] == "+0.90 to +1.10"
    assert rw[6:] == ["81.17 ± 0.67", "90.00 ± 0.00", "0.500"]
    assert row_of(page, "extra-layer")[1:6] == [
        "1",
        "baseline",
        "+2.00",
        "",
        "",
    ]
    deeper = row_of(section(page, "### Table 5\n"), "deeper")
    assert deeper[3] == "−0.0933"
    assert deeper[-2:] == ["1.250 (1.250 to 1.250)", "86"]
    assert "60,000 training images and 10,000 of `test`" in page
    assert "123,456 parameters" in page
    assert "7 epochs, batches of 128" in page
    assert "13, seeds 0, 1, 2; 6.5 hours of training" in page
    assert "6 claims on quality have an interval" in page
    assert "about 0.1 of the 6" in page
    assert "jax on cpu, 2 cores, EPYC in 8 of 13 runs; keras" in page


def test_ranks_and_rates_that_differ_are_told(page):
    ranks = section(page, "### Figure 3").replace("\n", " ")
    assert "additions have 64 to 128 features here" in ranks
    assert "r = 4 at 64 is" in ranks
    upcycling = section(page, "### Trained models that go on")
    assert "LAuReL has r = 5 and LoRA r = 2" in upcycling
    assert "the peak rate 0.006" in upcycling
    assert describe_ranks(SCALES["full"]) == ""


def test_what_the_runs_could_have_shown():
    def claim(part, rule):
        return Comparison("", part, "a", "b", rule=rule)

    def interval(low, high):
        return Difference(0.0, (low, high), None, 5)

    text = describe_sizes(
        [
            (claim("vision", "better"), interval(-0.1, 0.3)),
            (claim("vision", "no worse"), interval(1.0, 1.24)),
            (claim("vision", "no worse"), interval(-0.05, 0.11)),
            (claim("table_5", "better"), interval(-0.006, -0.002)),
        ]
    )
    assert "0.08 to 0.20 points, with the median 0.12." in text
    assert "0.0020 to 0.0020 nats per token" in text
    assert "below\n0.1 points, which holds for 1 of the 2 claims" in text


@pytest.mark.parametrize("freedom", range(1, 11))
def test_quantiles_of_student(freedom):
    """The area from 0 to each quantile, by Simpson's rule, is 0.475."""
    t = np.linspace(0, T_QUANTILES[freedom - 1], 2001)
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2)
    density = (1 + t**2 / freedom) ** (-(freedom + 1) / 2)
    density *= scale / math.sqrt(freedom * math.pi)
    weights = np.ones(t.size)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    area = (weights * density).sum() * (t[1] - t[0]) / 3
    assert area == pytest.approx(0.475, abs=3e-5)


def test_more_seeds_than_the_table_has():
    differences = np.array([0.0, 2.0] * 10)
    low, high = student_interval(differences)
    error = statistics.stdev(differences) / math.sqrt(20)
    assert (low, high) == pytest.approx((1 - 2.228 * error, 1 + 2.228 * error))


@pytest.mark.parametrize(
    "rule, measure, interval, verdict",
    [
        ("no worse", ACCURACY, (-0.09, 0.5), "confirmed here"),
        ("no worse", ACCURACY, (-0.11, 0.5), "not seen here: undecided"),
        ("no worse", ACCURACY, (-1, -0.11), "not seen here: the opposite was"),
        ("better", LOSS, (-0.1, -0.01), "confirmed here"),
        ("better", LOSS, (0.01, 0.1), "not seen here: the opposite was"),
        ("differs", ACCURACY, (-2, -1), "confirmed here"),
        ("differs", ACCURACY, (-2, 1), "not seen here: undecided"),
        ("which", LOSS, (-2, -1), "better"),
        ("which", ACCURACY, (-2, -1), "worse"),
        ("which", ACCURACY, (-2, 1), "no difference seen"),
    ],
)
def test_rules(rule, measure, interval, verdict):
    bootstrap = (statistics.fmean(interval),) * 2
    difference = Difference(0.0, interval, bootstrap, 3)
    assert judge(rule, difference, measure) == verdict


def test_parameters_of_the_paper(tmp_path):
    text = (FOLDER / "full_scale.json").read_text()
    (tmp_path / "full_scale.json").write_text(text)
    page = experiments_report.render(load(tmp_path))
    more = row_of(page, "One more layer, resnet50")
    assert more[2:] == ["4.37 %", "4.37 %", "confirmed here"]
    rw = row_of(page, "RW, resnet50")
    assert rw[2:] == ["0.003 %", "0.00013 %", "not seen here"]
    more = row_of(page, "One more layer, llm-4b")
    assert more[2:] == ["3.63 %", "2.33 %", "not seen here"]
    low_rank = row_of(page, "RW+LR, r = 64, llm-4b")
    assert low_rank[2:] == ["4.404 B", "4.406 B", "not seen here"]


def test_the_models_are_those_that_were_counted():
    rows = json.loads((FOLDER / "full_scale.json").read_text())["rows"]
    assert full_scale_costs.measure("ablation-157m", "pa") in rows


def test_chip_hours():
    """Of Table 1: 9 arms, 5 seeds, 90 epochs, 40 % of 197 TFLOP/s."""
    row = {
        "model": "resnet50",
        "training_flops": 24e9,
        "sequence_length": None,
    }
    tuning, plan, _ = experiments_full_scale.vision_plans()
    cells = experiments_full_scale.plan_row(plan, row)
    hours = 45 * 90 * 1_281_167 * 24e9 / (0.4 * 197e12) / 3600
    assert cells[1:5] == ("45", "115 million images", "1.2e+20", f"{hours:.0f}")
    cells = experiments_full_scale.plan_row(tuning, row)
    assert cells[1:3] == ("5", "104 million images")


def test_tokens_of_the_large_models():
    """Batches and steps are those of the 0.5 T tokens that are priced."""
    lengths = {"llm-1b": 2048, "llm-4b": 4096}
    for plan in experiments_full_scale.large_plans():
        words = shlex.split(plan.command)
        options = llm_command_line.parse_options(words[2:])
        tokens = options.steps * options.batch_size * lengths[plan.model]
        assert tokens == pytest.approx(plan.samples, rel=0.01)


def test_commands_at_full_scale_are_understood():
    for plan in experiments_full_scale.vision_plans():
        words = shlex.split(plan.command)
        options = vision_command_line.parse_options(words[2:])
        assert (options.scale, options.seeds) == ("full", SEEDS["vision"])
    for plan in experiments_full_scale.language_plans():
        words = shlex.split(plan.command)
        options = language_command_line.parse_options(words[2:])
        seeds = 1 if options.tune else SEEDS["language"]
        assert (options.scale, options.seeds) == ("full", seeds)


def test_every_comparison_has_its_arms():
    known = {"vision": set(ARMS)}
    for name in PARTS:
        arms = language_part(name, "reduced").arms
        known[name] = {arm.name for arm in arms}
    for comparison in (*COMPARISONS, *CHOICES):
        pair = {comparison.arm, comparison.reference}
        assert pair <= known[comparison.part], comparison.text


def test_claims_that_ask_for_a_margin_have_one():
    asking = [claim for claim in COMPARISONS if claim.rule == "no worse"]
    assert asking
    assert all(measure_of(claim.part).margin for claim in asking)


def test_pictures_are_drawn_where_there_are_numbers(results, tmp_path):
    nothing = load(tmp_path / "nowhere")
    for part in ("vision", "table_5"):
        assert draw_differences(tmp_path / f"{part}.png", results, part)
        assert not draw_differences(tmp_path / "none.png", nothing, part)
    assert draw_ranks(tmp_path / "ranks.png", results)
    assert not draw_ranks(tmp_path / "none.png", nothing)
    written = {path.name for path in tmp_path.glob("*.png")}
    assert written == {"vision.png", "table_5.png", "ranks.png"}


def test_pictures_that_the_page_shows_are_there():
    page = experiments_report.PAGE.read_text("utf-8")
    for name in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (experiments_report.PAGE.parent / name).exists(), name


def test_the_page_is_made_of_the_results():
    page = experiments_report.PAGE.read_text("utf-8")
    assert page == experiments_report.render(load()), (
        "Run `python examples/experiments_report.py`."
    )
