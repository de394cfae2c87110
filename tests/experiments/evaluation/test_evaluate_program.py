"""`examples/evaluate.py`: two models side by side, and what is refused."""

import json
import runpy
import sys

import keras
import pytest

import evaluate
from evaluate_command_line import parse_options
from evaluate_tasks import TABLES
from evaluate_tasks import expand
from tests.experiments.evaluation.models import harness_lm
from tests.experiments.evaluation.models import model_of
from tests.experiments.evaluation.requests import scores
from tests.experiments.evaluation.tasks import LocalTasks
from tests.processes import run

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


PROGRAM = """
import runpy, sys
sys.argv = ["evaluate.py", "--tasks", "boolq"]
try:
    runpy.run_path({path!r}, run_name="__main__")
except SystemExit as error:
    print(error)
import evaluate
print(evaluate.load.__module__)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a task, and none of the user's settings."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "letters.jsonl"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)))
    (tmp_path / "tasks").mkdir()
    task = TASK.format(data=data)
    (tmp_path / "tasks" / "letters.yaml").write_text(task)
    policy = keras.config.dtype_policy()
    yield tmp_path
    keras.config.set_dtype_policy(policy)


def accuracy(name):
    pairs = [(x["question"], f" {y}") for x in QUESTIONS for y in "AB"]
    found = [score for score, _ in scores(harness_lm(name), *pairs)]
    first, second = found[::2], found[1::2]
    hits = [(b > a) == x["answer"] for a, b, x in zip(first, second, QUESTIONS)]
    return sum(hits) / len(hits)


@pytest.fixture
def local_tasks(monkeypatch):
    monkeypatch.setattr(evaluate, "TaskManager", LocalTasks)


def test_two_models_are_evaluated_and_compared(folder, local_tasks, capsys):
    expected = [accuracy(name) for name in ("llama", "laurel")]
    plain, laurel = str(folder / "plain"), str(folder / "laurel.keras")
    model_of("llama").save_to_preset(plain)
    model_of("laurel").save(laurel)
    output = folder / "run" / "results.json"
    arguments = f"--model {plain} {laurel} --tasks lett* --limit 4 --include-"
    arguments += f"path {folder / 'tasks'} --output {output} --batch-size 2"
    evaluate.main(parse_options(arguments.split()))

    results = json.loads(output.read_text())
    assert results["options"]["tasks"] == ["lett*"]
    assert list(results["models"]) == [plain, laurel]
    found = [x["results"]["letters"] for x in results["models"].values()]
    assert [x["acc,none"] for x in found] == expected
    about = results["models"][laurel]
    assert about["config"]["model_class"] == "LaurelLlama3CausalLM"
    assert about["versions"] == {"letters": 3.0}
    assert about["lm_eval_version"]
    printed = capsys.readouterr().out
    error = sum(x["acc_stderr,none"] ** 2 for x in found) ** 0.5
    difference = expected[1] - expected[0]
    assert f"(difference {difference:.4f} ± {error:.4f})" in printed


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--tasks nothing", "Received no `--model`"),
        ("--model hf://x --tasks nothing", "Replace nothing, or name"),
        ("--model hf://x tests", "Replace tests; a preset on a hub"),
        ("--model hf://x none.keras", "Replace none.keras; a preset"),
    ],
)
def test_what_cannot_be_run_is_refused_before_a_model_is_read(
    arguments, message, local_tasks
):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        evaluate.main(parse_options(arguments.split()))


def test_what_is_done_is_kept_when_a_model_fails(tmp_path, monkeypatch):
    def fail_on_the_second(path, options, tasks):
        if path == "hf://b":
            raise ValueError("Pass a larger `max_length`.")
        return {"results": {}}

    monkeypatch.setattr(evaluate, "evaluate", fail_on_the_second)
    monkeypatch.setattr(evaluate, "find_tasks", lambda options: None)
    output = tmp_path / "new" / "results.json"
    options = parse_options(
        f"--model hf://a hf://b hf://c --output {output}".split()
    )
    with pytest.raises(SystemExit, match="hf://b: Pass .*`--max-length`"):
        evaluate.main(options)
    kept = json.loads(output.read_text())
    assert kept["models"] == {"hf://a": {"results": {}}}
    assert kept["options"]["include_path"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--model x x", "expected each model once"),
        ("--limit 0", "`--limit 0`, expected a number of 1 or more"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        parse_options(arguments.split())


def test_without_the_harness_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--model", "x"])
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "experiments.evaluation")
    with pytest.raises(
        SystemExit, match=r"evaluate.py: error: .* `lm_eval`; .*laurel\[eval\]"
    ):
        runpy.run_path(evaluate.__file__, run_name="__main__")


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="is the same on each backend"
)
def test_tasks_find_the_package_that_has_the_programs_name():
    code = PROGRAM.format(path=evaluate.__file__)
    status, output = run("-c", code)
    assert status == 0 and "Received no `--model`" in output, output
    assert output.split()[-1] == "evaluate.loading"


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="is the same on each backend"
)
def test_the_tasks_of_the_paper_are_in_the_harness(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--list"])
    listed = capsys.readouterr().out
    for task in (*TABLES["table_2"], *TABLES["table_3"]):
        assert task.paper in listed
    options = parse_options("--tasks table_3 --allow-code".split())
    assert len(options.tasks) == len(options.left_out) == 5
    evaluate.find_tasks(options)
    options = parse_options(["--allow-code"])
    assert len(options.tasks) == 8
    evaluate.find_tasks(options)
    safe, left_out = expand(["table_2", "boolq"])
    assert [x for x in options.tasks if x not in safe] == ["humaneval", "mbpp"]
    assert [x.paper for x in left_out] == ["GSM8K-PAL", "HumanEval", "MBPP"]
