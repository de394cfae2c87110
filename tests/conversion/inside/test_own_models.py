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
from tests.backends import rows
from tests.conversion.inside import own_models
from tests.conversion.inside.conversions import conversion
from tests.conversion.inside.conversions import convert
from tests.conversion.inside.conversions import shake
from tests.conversion.inside.conversions import sublayers
from tests.conversion.inside.conversions import widest
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
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`build\\(\\)` was called on"),
    pytest.mark.filterwarnings("ignore:(?s).*has unbuilt state"),
    pytest.mark.filterwarnings("ignore:(?s).*cannot be built automat"),
    pytest.mark.filterwarnings("ignore:(?s).*does not support masking"),
    pytest.mark.usefixtures("quick_compilation"),
]
TABLE, CONVERTED = own_models.TABLE, own_models.CONVERTED
# What compiles, or converts again, is done for these; for all if slow tests
# are asked for.
FEW = ("gpt", "keyword context", "router", "variational", "wavenet")


def few(names):
    slow = pytest.mark.slow
    return [n if n in FEW else pytest.param(n, marks=slow) for n in names]


# One of each way in which layers, states and shapes meet the backend.
SOME = FEW + (
    "bert",
    "switch",
    "translation",
    "swin",
    "resnet",
    "u-net",
    "diffusion",
    "conformer",
    "recurrent",
    "graph attention",
    "shared",
    "containers",
    "time distributed",
    "functional inside",
    "training branches",
    "inception resnet",
    "rwkv",
    "poolformer",
)
every = pytest.mark.parametrize("name", rows(CONVERTED, SOME))
every_once = pytest.mark.parametrize("name", rows(CONVERTED, FEW))


def test_there_are_thirty_models():
    assert len(TABLE) >= 30


@every
def test_sites(name):
    """By hand count, in run order, with names that lead to the layer."""
    found = conversion(name)
    names = [site.name for site in found.sites]
    assert len(names) == found.row.sites, names
    for site, where in zip(names, found.row.where):
        rest = site
        for part in filter(None, where.split(".")):
            assert part in rest, (site, where)
            rest = rest.partition(part)[2]


@pytest.mark.parametrize("name", ["gpt", "keyword context"])
def test_residual_sites(name):
    """All sites that are found are converted; looking builds nothing."""
    row = TABLE[name]
    found = keras_laurel.residual_sites(row.build(), inputs=row.example())
    converted = conversion(name).sites
    assert [s.name for s in found] == [s.name for s in converted]


@every
def test_identity(name):
    """Bit for bit: in training, at other batches and lengths, with state."""
    found = conversion(name)
    found.restart()
    for signature in found.signatures():
        outputs, after = found.run(found.model, *signature)
        expected, expected_after = found.before[signature]
        assert_equal(outputs, expected)
        assert_equal(after, expected_after)


@every
def test_what_is_kept(name):
    """Variables, their paths, sublayers, names of classes."""
    found = conversion(name)
    kept = variables(found.model)
    assert [id(v) for v in kept] == [id(v) for v in found.state.variables]
    assert [v.path for v in kept] == found.paths
    assert type(found.model).__name__ == found.plain_class.__name__
    assert isinstance(found.model, found.plain_class)
    assert found.sublayers.items() <= sublayers(found.model).items()
    assert len(found.layers) == found.row.sites


@every_once
def test_equals_its_twin(name):
    found = conversion(name)
    found.restart()
    equals_its_twin(found.model, found.row, name, widest(found.row), found)


@pytest.mark.parametrize("variant", ["rw", "lr", "rw+lr"])
@pytest.mark.parametrize("name", few(CONVERTED))
def test_variant_equals_its_twin(name, variant):
    row = TABLE[name]
    rank = {"rank": 2} if "lr" in variant else {}
    layer = keras_laurel.get(variant, **rank)
    model = convert(built(row), row, layer)
    equals_its_twin(model, row, name, layer)


def equals_its_twin(model, row, name, layer, found=None):
    """All weights moved; the twin is the source with LAuReL layers in it."""
    x, state = row.example(), State(variables(model))
    twin = TwinRun(name, row, layer, state)
    plain = twin.outputs(x)
    layers = laurels_in_run_order(model, x)
    state.restore()
    assert len(layers) == len(twin.layers) == row.sites
    shake(layers)
    for layer, of_twin in zip(layers, twin.layers):
        of_twin.set_weights(layer.get_weights())
    expected = twin.outputs(x)
    assert not all(map(np.array_equal, expected, plain))
    assert_close(run(model, x), expected)


@every_once
def test_saving(name, tmp_path):
    """To `.keras` where the plain model can be, and weights in any case."""
    found = conversion(name)
    row, model, x = found.row, found.model, found.row.example()
    found.restart()
    shake(found.layers)
    expected = run(model, x)
    found.state.restore()
    model.save_weights(tmp_path / "model.weights.h5")
    if row.saves:
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        copy_seeds(model, loaded)
        assert_equal(run(loaded, x), expected)
    else:
        error = error_of_saving(built(row), tmp_path)
        assert error_of_saving(model, tmp_path) is error
    perturb(model)
    shake(found.layers, seed=1)
    model.load_weights(tmp_path / "model.weights.h5")
    found.state.restore()
    assert_equal(run(model, x), expected)


def error_of_saving(model, folder):
    """The class of the error, or `None`: the plain model may not load."""
    try:
        model.save(folder / "model.keras")
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("name", few(CONVERTED))
def test_removal(name, tmp_path):
    """The plain model is back, with its weights, and is saved as such."""
    row = TABLE[name]
    model, x = built(row), row.example()
    kinds, state = class_of_each(model), State(variables(model))
    expected = run(model, x)
    state.restore()
    model = convert(model, row)
    shake(keras_laurel.laurel_layers(model))
    model = keras_laurel.remove_laurel(model)
    assert_equal(run(model, x), expected)
    state.restore()
    assert class_of_each(model) == kinds
    assert keras_laurel.laurel_layers(model) == []
    if row.saves:
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert class_of_each(loaded) == kinds
    assert keras_laurel.laurel_layers(convert(model, row))


def class_of_each(model):
    return [type(x) for x in (model, *model._flatten_layers())]


@pytest.mark.parametrize("name", ["llama", "router"])
def test_mixed_precision(name):
    row = TABLE[name]
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, x = built(row), row.example()
        state = State(variables(model))
        expected = run(model, x)
        state.restore()
        model = convert(model, row)
        assert_equal(run(model, x), expected)
        layers = keras_laurel.laurel_layers(model)
        assert {x.compute_dtype for x in layers} == {"bfloat16"}
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "name", few(n for n, row in CONVERTED.items() if row.fits)
)
def test_fit_moves_the_weights(name):
    """Those that plain `fit` moves, and every one of the LAuReL layers."""
    row = TABLE[name]
    model, x = built(row), row.example()
    state = State(model.variables)
    y = targets(model, x)
    state.restore()
    plain = moved(model, x, y)
    state.restore()
    model = convert(model, row)
    layers = keras_laurel.laurel_layers(model)
    # B = 0 leaves A without a gradient.
    shake(layers)
    converted = moved(model, x, y)
    assert plain <= converted
    assert {id(w) for layer in layers for w in layer.weights} <= converted


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
        found = conversion(name)
        found.restart()
        shake(found.layers)
        path = str(tmp_path / f"{name}.keras")
        found.model.save(path)
        expected[path] = run(found.model, found.row.example())
        arguments += [name, path]
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOAD), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": keras.config.backend()},
    )
    assert process.returncode == 0, process.stderr
    for path, y in expected.items():
        # Here JAX compiles without optimizing, and there with.
        assert_close(list(np.load(path + ".npz").values()), y)


@pytest.mark.parametrize("name", sorted(set(TABLE) - set(CONVERTED)))
def test_what_cannot_be_traced_is_named(name):
    """With the file of the line, and the two ways out.

    The layer is named where Keras, too, can run the model for its shapes.
    """
    row = TABLE[name]
    model = built(row)
    before = run(model, row.example())
    module = own_models.DOMAIN_OF[name].__name__[24:]
    with pytest.raises(
        ValueError, match=f"{row.refused}|which has no graph"
    ) as error:
        convert(model, row)
    assert module in str(error.value)
    assert "blocks=" in str(error.value)
    assert_equal(run(model, row.example()), before)
