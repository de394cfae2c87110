"""Subclassed models and layers are converted: the table, by property."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from keras_laurel.conversion import keras_internals
from tests.conversion.inside import own_models
from tests.conversion.inside.running import State
from tests.conversion.inside.running import assert_close
from tests.conversion.inside.running import assert_equal
from tests.conversion.inside.running import built
from tests.conversion.inside.running import copy_seeds
from tests.conversion.inside.running import laurels_in_run_order
from tests.conversion.inside.running import perturb
from tests.conversion.inside.running import run
from tests.conversion.inside.running import variables
from tests.conversion.inside.twin_runs import TwinRun

# Of users' own `build` methods, as of the plain models.
pytestmark = pytest.mark.filterwarnings("ignore:.*`build\\(\\)` was called on")
TABLE, CONVERTED = own_models.TABLE, own_models.CONVERTED
SAVED = [name for name, row in CONVERTED.items() if row.saves]
FITTED = [name for name, row in CONVERTED.items() if row.fits]
# `fit` compiles; these few stand for the rest, which is slow.
FEW = ("gpt", "three deep", "resnet", "router", "variational", "conformer")
every = pytest.mark.parametrize("name", CONVERTED)


def few_first(names):
    return [
        n if n in FEW else pytest.param(n, marks=pytest.mark.slow)
        for n in names
    ]


def widest(row, **options):
    variant = "rw+lr+pa" if row.history else "rw+lr"
    return keras_laurel.get(variant, rank=2, **options)


def convert(model, row, layer=None):
    return keras_laurel.laurelize(
        model, layer or widest(row), inputs=row.example(), verbose=False
    )


def shake(layers, seed=0):
    """Moves the LAuReL weights; the same numbers for the same connection."""
    rng = np.random.default_rng(seed)
    for layer in layers:
        for weight in layer.weights:
            noise = rng.normal(scale=0.3, size=weight.shape)
            weight.assign(ops.convert_to_numpy(weight) + noise)


@every
def test_sites(name):
    """By hand count, with names that lead to the layer, in run order."""
    row = TABLE[name]
    sites = keras_laurel.residual_sites(row.build(), inputs=row.example())
    assert len(sites) == row.sites, [site.name for site in sites]
    for site, where in zip(sites, row.where):
        place = site.name
        for part in filter(None, where.split(".")):
            assert part in place, (site.name, where)
            place = place.partition(part)[2]


@every
@pytest.mark.parametrize("training", [False, True])
def test_identity(name, training):
    """Bit for bit, at two batch sizes and two lengths, in training too."""
    row = TABLE[name]
    model = built(row)
    perturb(model)
    kept = model.variables
    shapes = [(2, 6), (3, 6)] + ([(2, 5)] if row.any_length else [])
    examples = [row.example(*shape) for shape in shapes]
    state = State(kept)
    expected = [run(model, x, training=training) for x in examples]
    after = State(kept)
    state.restore()
    converted = convert(model, row)
    for x, y in zip(examples, expected):
        assert_equal(run(converted, x, training=training), y)
    assert_equal(State(kept).values, after.values)


@every
def test_what_is_kept(name):
    """Variables, their paths, sublayers and names of classes."""
    row = TABLE[name]
    model = built(row)
    before = [(id(v), v.path) for v in variables(model)]
    parts = sublayers(model)
    converted = convert(model, row)
    assert [(id(v), v.path) for v in variables(converted)] == before
    assert type(converted).__name__ == type(model).__name__
    assert parts.items() <= sublayers(converted).items()
    assert len(keras_laurel.laurel_layers(converted)) == row.sites


def sublayers(model):
    """Class names of all layers inside, by identity; graphs are rebuilt."""
    return {
        id(layer): type(layer).__name__
        for layer in model._flatten_layers(include_self=False)
        if not keras_internals.is_functional(layer)
        and not isinstance(layer, keras.layers.Add)
    }


@every
@pytest.mark.parametrize("variant", ["rw", "lr", "rw+lr", "rw+lr+pa"])
def test_equals_its_twin(name, variant):
    row = TABLE[name]
    if "pa" in variant and not row.history:
        pytest.skip("what its previous activations are is not written down")
    rank = {"rank": 2} if "lr" in variant else {}
    layer = keras_laurel.get(variant, **rank)
    model, x = built(row), row.example()
    perturb(model)
    state = State(variables(model))
    plain = run(model, x)
    state.restore()
    twin = TwinRun(name, row, layer, state)
    converted = convert(model, row, layer)
    found = laurels_in_run_order(converted, x)
    state.restore()
    assert len(found) == len(twin.layers) == row.sites
    shake(found)
    shake(twin.layers)
    expected = twin.outputs(x)
    assert not all(map(np.array_equal, expected, plain))
    assert_close(run(converted, x), expected)


@pytest.mark.parametrize("name", ["llama", "swin", "conformer", "denoiser"])
def test_mixed_precision(name):
    row = TABLE[name]
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, x = built(row), row.example()
        state = State(variables(model))
        expected = run(model, x)
        state.restore()
        converted = convert(model, row)
        assert_equal(run(converted, x), expected)
        assert len(keras_laurel.laurel_layers(converted)) == row.sites
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", few_first(FITTED))
def test_fit_moves_the_weights(name, quick_compilation):
    """Those that plain `fit` moves, and every one of the LAuReL layers."""
    row = TABLE[name]
    model, x = built(row), row.example()
    state = State(model.variables)
    y = targets(model, x)
    state.restore()
    plain = moved(model, x, y)
    state.restore()
    converted = convert(model, row)
    layers = keras_laurel.laurel_layers(converted)
    shake(layers)
    found = moved(converted, x, y)
    assert plain <= found
    assert {id(w) for layer in layers for w in layer.weights} <= found


def targets(model, x):
    outputs = model(keras.tree.map_structure(ops.convert_to_tensor, x))
    return keras.tree.map_structure(lambda y: np.ones(y.shape), outputs)


def moved(model, x, y):
    before = State(model.weights)
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile="auto")
    model.fit(x, y, batch_size=len(keras.tree.flatten(y)[0]), verbose=0)
    return {
        id(v)
        for v, old in zip(before.variables, before.values)
        if not np.array_equal(ops.convert_to_numpy(v), old)
    }


@pytest.mark.parametrize("name", CONVERTED)
def test_saving(name, tmp_path):
    """To `.keras` where the plain model can be, and weights in any case."""
    row = TABLE[name]
    converted, x = convert(built(row), row), row.example()
    shake(keras_laurel.laurel_layers(converted))
    state = State(converted.variables)
    expected = run(converted, x)
    state.restore()
    converted.save_weights(tmp_path / "model.weights.h5")
    if row.saves:
        converted.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        copy_seeds(converted, loaded)
        assert_equal(run(loaded, x), expected)
    else:
        with pytest.raises((NotImplementedError, TypeError, ValueError)):
            converted.save(tmp_path / "model.keras")
    perturb(converted)
    shake(keras_laurel.laurel_layers(converted), seed=1)
    converted.load_weights(tmp_path / "model.weights.h5")
    state.restore()
    assert_equal(run(converted, x), expected)


LOAD = """
    import sys
    import keras_laurel
    import keras
    import numpy as np
    from tests.conversion.inside import own_models
    from tests.conversion.inside.running import run

    for name, path in zip(sys.argv[1::2], sys.argv[2::2]):
        model = keras.saving.load_model(path)
        y = run(model, own_models.TABLE[name].example())
        np.savez(path + ".npz", *y)
"""


def test_a_fresh_process_loads(tmp_path):
    expected, arguments = {}, []
    for name in ("gpt", "translation"):
        row = TABLE[name]
        converted = convert(built(row), row)
        shake(keras_laurel.laurel_layers(converted))
        path = str(tmp_path / f"{name}.keras")
        converted.save(path)
        expected[path] = run(converted, row.example())
        arguments += [name, path]
    command = [sys.executable, "-c", textwrap.dedent(LOAD), *arguments]
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": keras.config.backend()},
    )
    assert process.returncode == 0, process.stderr
    for path, y in expected.items():
        assert_equal(list(np.load(path + ".npz").values()), y)


@pytest.mark.parametrize("name", set(TABLE) - set(CONVERTED))
def test_what_cannot_be_traced_is_named(name):
    row = TABLE[name]
    model = built(row)
    before = run(model, row.example())
    with pytest.raises(ValueError, match=row.refused) as error:
        convert(model, row)
    assert "blocks=" in str(error.value)
    assert "own_ways.py" in str(error.value)
    assert_equal(run(model, row.example()), before)
