"""Each script in examples/ runs, and is as short as it promises."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_laurel
from tests.backends import once
from tests.backends import rows
from tests.conversion.hub import checks

FOLDER = Path(__file__).parents[1] / "examples"
# What compiles for long, or trains twice.
SLOW = ("evaluation", "lora", "resnet50", "what_was_learned")
# What sets the platform and its devices before JAX starts.
ALONE = ("eight_devices", "tpu_costs")
CONNECTIONS = {"resnet50": 16, "own_transformer": 6, "llama": 3}
SCRIPTS = sorted(FOLDER.glob("*.py"))
QUICK = [path for path in SCRIPTS if path.stem not in SLOW]
SIZES = {"vocabulary_size": 64, "num_layers": 4, "hidden_dim": 32}


@pytest.mark.parametrize(
    "script", rows(SCRIPTS, QUICK), ids=lambda path: path.stem
)
def test_it_runs_and_is_short(script, tmp_path, monkeypatch, capsys):
    text = script.read_text("utf-8")
    assert len(text.splitlines()) <= 120 and "argparse" not in text
    assert script.name in (FOLDER / "README.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    if script.stem in ALONE:
        run_alone(script)
        return
    runpy.run_path(str(script), run_name="__main__")
    if script.stem in CONNECTIONS:
        count = CONNECTIONS[script.stem]
        printed = capsys.readouterr().out
        assert f"{count} connections in the loaded" in printed


def run_alone(script):
    if keras.config.backend() != "jax":
        pytest.skip("it is for JAX")
    if script.stem == "tpu_costs":
        pytest.importorskip("libtpu")
    paths = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop("XLA_FLAGS", None)
    subprocess.run([sys.executable, script], env=environment, check=True)


def test_a_tutobook_has_a_header_and_cells(monkeypatch):
    """As pages and notebooks, which `make docs` makes of them."""
    monkeypatch.syspath_prepend(FOLDER.parent / "docs" / "tools")
    import tutobooks

    outputs = FOLDER.parent / "docs" / "outputs"
    for script in SCRIPTS:
        source = script.read_text("utf-8")
        recorded = json.loads((outputs / f"{script.stem}.json").read_text())
        # Otherwise `make guides` has to run the script again.
        assert recorded["fingerprint"] == tutobooks.fingerprint(source)
        printed = list(filter(None, recorded["outputs"]))
        (_, text), *cells = tutobooks.read_cells(source)
        header, _ = tutobooks.read_header(text)
        assert {"Title", "Author", "Date created", "Description"} <= {*header}
        notebook = json.loads(tutobooks.render_notebook(source, recorded))
        code = [x for x in notebook["cells"] if x["cell_type"] == "code"]
        assert len(code) == sum(kind == "code" for kind, _ in cells)
        assert len(code) == len(recorded["outputs"])
        assert sum(bool(x["outputs"]) for x in code) == len(printed) > 0
        for cell in code:
            compile("".join(cell["source"]), script.name, "exec")
        page = tutobooks.render_page(source, script.stem, recorded)
        assert page.startswith(f"# {header['Title']}\n")
        assert page.count("```python") == len(code)
        assert all(text in page for text in printed)


@once
def test_altup(tmp_path):
    """LAuReL and AltUp go together: the recipe of the example."""
    make_task = runpy.run_path(str(FOLDER / "altup.py"))["make_task"]
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 64, (2, 8)).astype("int32")
    x = {"token_ids": tokens, "padding_mask": np.ones((2, 8), "int32")}
    tasks = []
    for layer in (None, keras_laurel.get("rw+lr+pa", rank=4)):
        keras.utils.set_random_seed(0)
        tasks.append(make_task(layer, **SIZES, num_heads=4))
    plain, task = tasks
    # Where the streams meet and part is no longer where they started.
    for model in tasks:
        for i, block in enumerate(model.backbone.transformer_layers):
            block.prediction.assign([[1, 0.1 * i], [0.2, 0.9]])
            block.correction.assign([0.8, 1.1])
    expected = checks.logits(plain, x)
    np.testing.assert_array_equal(checks.logits(task, x), expected)

    before = checks.values(checks.laurel_weights(task))
    first, *_, last = checks.train(
        task, x, steps=5, optimizer=keras.optimizers.Adam(0.01)
    )
    assert last < first
    for old, new in zip(before, checks.values(checks.laurel_weights(task))):
        assert (old != new).any()

    task.compile(sampler="greedy")
    known = np.arange(8)[None].repeat(2, 0) < 3
    prompt = {"token_ids": tokens, "padding_mask": known}
    np.testing.assert_array_equal(
        checks.generated(task, prompt),
        checks.greedy_by_recomputation(task, prompt),
    )

    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras", compile=False)
    assert len(keras_laurel.laurel_layers(loaded)) == 4
    expected = checks.logits(task, x)
    np.testing.assert_array_equal(checks.logits(loaded, x), expected)
