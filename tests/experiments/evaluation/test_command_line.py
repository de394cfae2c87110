"""lm_eval's command line with KerasHub's models."""

import functools
import json
import sys
from pathlib import Path

import pytest
import yaml
from lm_eval.__main__ import cli_evaluate
from lm_eval.tasks import TaskManager

import experiments.evaluation
from experiments.evaluation import keras_hub_lm
from tests.backends import once
from tests.experiments.evaluation.models import harness_lm
from tests.experiments.evaluation.models import model_of
from tests.experiments.evaluation.requests import scores

pytestmark = once

TASKS = Path(experiments.evaluation.__file__).with_name("tasks")
TASK = """
task: letters
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["A", "B"]
doc_to_target: answer
metric_list:
  - metric: acc
metadata:
  version: 3.0
"""
QUESTIONS = [{"question": f"Is it {x}?", "answer": x % 2} for x in range(4)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a task, and none of the user's settings."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    # Without the harness' own, of which there are thousands to look through.
    local = functools.partial(TaskManager, include_defaults=False)
    monkeypatch.setattr("lm_eval.tasks.TaskManager", local)
    # It asks programs of the system, half a minute.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    data = tmp_path / "letters.jsonl"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "letters.yaml").write_text(TASK.format(data=data))
    return tmp_path


def accuracy(name):
    pairs = [(x["question"], f" {y}") for x in QUESTIONS for y in "AB"]
    found = [score for score, _ in scores(harness_lm(name), *pairs)]
    first, second = found[::2], found[1::2]
    hits = [(b > a) == x["answer"] for a, b, x in zip(first, second, QUESTIONS)]
    return sum(hits) / len(hits)


def evaluate(folder, model, monkeypatch):
    """The file of results of the harness' own command."""
    output = folder / f"results_of_{Path(model).stem}"
    command = (
        f"lm_eval run --model keras_hub --model_args path={model} --tasks "
        f"letters --include_path {folder / 'tasks'} --batch_size 2 --limit 4 "
        f"--output_path {output}"
    )
    monkeypatch.setattr(sys, "argv", command.split())
    cli_evaluate()
    (file,) = output.rglob("results_*.json")
    return file


# The harness asks git for the commit.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_two_models_are_evaluated(folder, monkeypatch):
    plain, laurel = str(folder / "plain"), str(folder / "laurel.keras")
    model_of("llama").save_to_preset(plain)
    model_of("laurel").save(laurel)
    files = [evaluate(folder, x, monkeypatch) for x in (plain, laurel)]
    expected = [accuracy(name) for name in ("llama", "laurel")]
    found = [json.loads(file.read_text()) for file in files]
    results = [x["results"]["letters"] for x in found]
    assert [x["acc,none"] for x in results] == expected
    assert found[1]["config"]["model_class"] == "LaurelLlama3CausalLM"
    assert found[1]["config"]["laurel_layers"] == 2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"path": "tests"}, "Received: path=tests"),
        ({"path": "none.keras"}, "Received: path=none.keras"),
        ({"path": "x", "batch_size": "auto"}, "Received: --batch_size auto"),
    ],
)
def test_what_is_no_model_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_hub_lm.KerasHubLM(**options)


def test_the_tasks_of_the_paper_are_in_the_harness():
    manager = TaskManager(include_path=str(TASKS))
    for file in TASKS.glob("*.yaml"):
        about = yaml.safe_load(file.read_text())
        assert manager.match_tasks([about["group"]]) == [file.stem]
        for task in about["task"]:
            assert manager.match_tasks([task]), task
