"""Every config holds together, and stands in the README's table."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import experiments.__main__ as program
from experiments.configs import all_experiments
from experiments.configs import find_experiment
from experiments.language.conversion import build_model
from experiments.language.models import architecture_of
from experiments.language.optimizer import sizes_of
from experiments.options import Machine
from experiments.options import parse
from experiments.plan import count
from experiments.plan import without_memory
from experiments.report.verdicts import RULES
from tests.backends import once

pytestmark = once

EXPERIMENTS = all_experiments()
README = Path(program.__file__).with_name("README.md").read_text("utf-8")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_arms_references_and_claims_fit(name):
    experiment = EXPERIMENTS[name]
    names = set(experiment.arms)
    for arm in names:
        settings = experiment.settings_of(arm)
        assert experiment.reference_of(arm) in {None, *names}
        if not experiment.is_vision:
            sizes_of(settings, architecture_of(settings))
    for claim in experiment.claims:
        assert {claim.arm, claim.reference} <= names
        assert claim.rule in RULES
    assert experiment.title.endswith(".")


def test_arms_of_a_family_are_the_same_runs():
    known = {}
    for experiment in EXPERIMENTS.values():
        for arm in experiment.arms:
            settings = experiment.settings_of(arm)
            before = known.setdefault((experiment.folder, arm), settings)
            assert before == settings, (experiment.name, arm)


def test_every_config_and_command_of_the_readme_is_there():
    commands = re.findall(r"`python -m experiments (.*?)`", README)
    assert len(commands) >= 10
    for command in commands:
        name, *options = shlex.split(command)
        parse(find_experiment(name), options)
    for name, experiment in EXPERIMENTS.items():
        assert name in README or name.removesuffix("_full") in README
    folder = Path(program.__file__).parent
    for link in re.findall(r"\]\(([^)#]*)", README):
        assert (folder / link).exists(), link


def test_the_readmes_own_experiment_is_one():
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.S)
    namespace = {}
    exec(compile(snippet, "README.md", "exec"), namespace)
    (experiment,) = namespace["EXPERIMENTS"]
    assert experiment.settings_of("rank-8").rank == 8


def test_the_tuned_rate_is_inside_its_grid():
    for kind, name in (("vision", "table_1"), ("language", "table_5")):
        tuning = find_experiment(f"{kind}_tuning")
        rates = [x["learning_rate"] for x in tuning.arms.values()]
        rate = find_experiment(name).settings.learning_rate
        assert rate in rates and min(rates) < rate < max(rates)


def test_tokens_of_the_large_models():
    """0.5 T, as in the paper."""
    for name in ("llm_1b", "llm_4b"):
        tokens = find_experiment(name).settings.tokens
        assert tokens == pytest.approx(500e9, rel=0.01)


@pytest.mark.parametrize("name", ["upcycling", "upcycling_full"])
def test_lora_trains_as_many_weights_as_laurel_alone(name):
    experiment = find_experiment(name)
    counts = []
    for arm in ("lora-new-text", "laurel-alone-new-text"):
        settings = experiment.settings_of(arm)
        sizes = architecture_of(settings)
        model = without_memory(lambda: build_model(settings, sizes, seed=0))
        counts.append(count(model.trainable_weights))
    assert counts[0] == pytest.approx(counts[1], rel=0.01)


def test_options_change_what_arms_share_and_how_it_runs():
    words = "--epochs 7 --augment crop flip --laurel-rates 0.5 1 --mesh 8 "
    words += "--arms rw+lr --seeds 2 --keep-model --output x"
    experiment, machine = parse(find_experiment("table_1"), words.split())
    settings = experiment.settings_of("rw+lr")
    assert (settings.epochs, settings.variant) == (7, "rw+lr")
    assert settings.augment == ("crop", "flip")
    assert settings.laurel_rates == (0.5, 1.0) and settings.keep_model
    assert (list(experiment.arms), experiment.seeds) == (["rw+lr"], 2)
    assert machine == Machine(output=Path("x"), mesh=(8,))
    _, machine = parse(find_experiment("figure_3"), [])
    assert machine.output == Path("runs/vision")


@pytest.mark.parametrize(
    "name, words, message",
    [
        ("table_1", "--epochs 0", "`epochs` must be a number of 1 or more"),
        ("table_1", "--image-size 8", "28 pixels or more. Received: image_si"),
        ("table_1", "--epochs 2 --warmup-epochs 2", "must be less than `epo"),
        ("table_1", "--augment flop", "must be some of crop, flip, rand"),
        ("table_1", "--laurel-rates 0 1", "two factors above 0. Received"),
        ("table_1", "--arms rv", "must be some of baseline, deeper"),
        ("table_1", "--seeds 0", "`--seeds` must be 1 or more"),
        ("demo_llm", "--clip-norm 0", "must be a number above 0"),
        ("demo_llm", "--variant rw+rw", "joined by +. Received: variant='rw"),
        ("demo_llm", "--sequence-length 1", "must be 2 tokens or more"),
        ("demo_llm", "--no-keep-model", "needs a model that was kept"),
    ],
)
def test_values_out_of_range_are_refused(name, words, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(find_experiment(name), words.split())


def test_a_wrong_command_is_told_before_keras_is_imported():
    code = (
        "import sys, experiments.__main__ as program\n"
        "try: program.main(sys.argv[1:])\n"
        "finally: print('keras' in sys.modules)"
    )
    for words, said in (
        (["table_1", "--epochs", "0"], "error: Setting `epochs` must be"),
        (["table_9"], "must be one of bfloat16"),
        (["table_1", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["table_1", "--output"], "--output: expected one argument"),
        (["--epochs"], "the name of a config comes first"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True
        )
        assert done.stdout == "False\n" and said in done.stderr, done


def test_help_has_every_setting(capsys):
    with pytest.raises(SystemExit):
        program.main(["table_5", "--help"])
    shown = capsys.readouterr().out
    for name in vars(find_experiment("table_5").settings):
        assert "--" + name.replace("_", "-") in shown
    program.main([])
    shown = capsys.readouterr().out
    assert all(f"  {name}  " in shown for name in EXPERIMENTS)
