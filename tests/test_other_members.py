"""Members of equation (2) besides the paper's own, wherever layers stand.

The oracle is NumPy in float64, from the published equations.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.conversion.blocks import own_models
from tests.conversion.hub import checks
from tests.layers import reference
from tests.layers.cases import set_random_weights
from tests.layers.cases import to_numpy
from tests.small_models import llama

D = 8


def built(name, inputs=2, **options):
    layer = keras_laurel.get(name, **options)
    layer.build([(None, D)] * inputs)
    return layer


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def rezero(layer, x, fx):
    (alpha,) = layer.get_weights()[0]
    return x + alpha * fx


def layerscale(layer, x, fx):
    (scale,) = layer.get_weights()[0]
    return x + fx * scale


def denseformer(layer, x, fx, *previous):
    """The weighted average of what a block gives and of all before it, the
    block's own input among them: weights a of the newest to the oldest."""
    (a, beta), gamma = layer.get_weights()
    weights = [a, *(beta * gamma)]
    weights[1] += beta - a
    return sum(w * y for w, y in zip(weights, [x + fx, x, *previous]))


def x0(layer, x, fx, first):
    """lambda x + mu x_0, and the branch."""
    (weights,) = layer.get_weights()
    lambda_, mu = 1 + weights[0], weights[1]
    return fx + lambda_ * x + mu * first


PUBLISHED = {
    "rezero": (rezero, 2),
    "skipinit": (rezero, 2),
    "layerscale": (layerscale, 2),
    "denseformer": (denseformer, 6),
    "x0": (x0, 3),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_the_published_equation(name):
    equation, inputs = PUBLISHED[name]
    layer = built(name, inputs)
    set_random_weights(layer)
    x = random(inputs, 4, D)
    expected = equation(layer, *np.float64(x))
    np.testing.assert_allclose(to_numpy(layer(list(x))), expected, 1e-5, 1e-5)


STARTS = {
    "rezero": (0.0, 1.0),
    "skipinit": (0.0, 1.0),
    "layerscale": (1e-5, 1.0),
    "denseformer": (1.0, 1.0),
    "x0": (1.0, 1.0),
}


@pytest.mark.parametrize("name", STARTS)
def test_starts_where_it_was_published_to(name):
    alpha, beta = STARTS[name]
    layer = built(name, PUBLISHED[name][1])
    x, fx, *previous = random(PUBLISHED[name][1], 4, D)
    np.testing.assert_array_equal(
        to_numpy(layer([x, fx, *previous])), np.float32(alpha) * fx + beta * x
    )


def test_a_start_of_ones_own():
    for layer in (
        built("rezero", start=0.25),
        built("rw", residual_weights="free", start=(0.25, 0.5)),
        built("layerscale", start=0.25),
    ):
        again = type(layer).from_config(layer.get_config())
        again.build([(None, D)] * 2)
        for each in (layer, again):
            assert (to_numpy(ops.convert_to_tensor(each.alpha)) == 0.25).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"start": 0.0, "rank": 2}, "Received: start=0.0"),
        ({"residual_weights": "softmax", "start": 1.0}, "'free' or"),
        ({"residual_weights": "free", "start": 0.0}, "pair"),
        ({"residual_weights": "free_branch", "start": "0"}, "finite number"),
        ({"residual_weights": "free_branch", "start": np.nan}, "finite"),
        ({"residual_weights": "free", "keep_branch": False}, "division"),
        ({"rank": 2, "first_activation": True}, "`num_activations`"),
        ({"num_activations": "every"}, "integer of at least 0, or 'all'"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        keras_laurel.Laurel(**options)


# Of x_i, what connection i reads, newest first, of five.
READS = {
    "first": (
        {"num_activations": 2, "first_activation": True},
        [[0], [1, 0], [2, 1, 0], [3, 2, 0], [4, 3, 0]],
    ),
    "x0": (
        {"num_activations": 1, "first_activation": True},
        [[0], [1, 0], [2, 0], [3, 0], [4, 0]],
    ),
    "all": (
        {"num_activations": "all"},
        [[0], [1, 0], [2, 1, 0], [3, 2, 1, 0], [4, 3, 2, 1, 0]],
    ),
}
DEPTH = 5


def chain_by_hand(layers, branches, reads, x):
    """The last activation."""
    skips = []
    for layer, branch, read in zip(layers, branches, reads, strict=True):
        skips.append(x)
        previous = [skips[i] for i in read[1:]]
        x = reference.laurel(layer, [x, branch(x), *previous])
    return x


def in_a_graph(layer):
    x = inputs = keras.Input((3, own_models.WIDTH))
    width = own_models.WIDTH
    dense = [keras.layers.Dense(width, "gelu") for _ in range(DEPTH)]
    for branch in dense:
        x = x + branch(x)
    model = keras.Model(inputs, x)
    branches = [lambda x, f=f: numpy(f(np.float32(x))) for f in dense]
    model = keras_laurel.laurelize(model, layer)
    return model, branches, np.float64, np.float64


def around_blocks(layer):
    model = own_models.called(own_models.GPT(depth=DEPTH))
    keras_laurel.laurelize(model, layer, blocks=model.blocks)
    return of_blocks(model)


def inside_layers(layer):
    model = own_models.called(own_models.GPT(depth=DEPTH))
    x = own_models.inputs()
    return of_blocks(keras_laurel.laurelize(model, layer, inputs=x))


def of_blocks(model):
    def branch(block):
        return lambda x: numpy(block.dense(block.norm(np.float32(x))))

    branches = [branch(block) for block in model.blocks]
    return (
        model,
        branches,
        lambda tokens: np.float64(numpy(model.embedding(tokens))),
        lambda x: numpy(model.head(np.float32(x))),
    )


def numpy(x):
    return ops.convert_to_numpy(x)


PLACES = {
    "graph": (in_a_graph, lambda: random(2, 3, own_models.WIDTH)),
    "blocks": (around_blocks, own_models.inputs),
    "inside": (inside_layers, own_models.inputs),
}


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("place", PLACES)
def test_reads_what_it_should(place, name, rank):
    options, reads = READS[name]
    make, inputs = PLACES[place]
    keras.utils.set_random_seed(0)
    layer = keras_laurel.Laurel("free", rank=rank, **options)
    model, branches, start, end = make(layer)
    layers = keras_laurel.laurel_layers(model)
    assert [x.num_inputs - 1 for x in layers] == [len(r) for r in reads]
    checks.perturb(model)
    x = inputs()
    found = numpy(model(x, training=False))
    expected = end(chain_by_hand(layers, branches, reads, start(x)))
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-5 * size)


@pytest.mark.parametrize("name, rank", [("all", None), ("first", 2)])
def test_generation_with_a_cache(name, rank, tmp_path):
    """Saved and loaded between."""
    import keras_hub

    task = keras_hub.models.Llama3CausalLM(
        llama(num_layers=DEPTH), preprocessor=None
    )
    options, _ = READS[name]
    keras_laurel.laurelize(
        task, keras_laurel.Laurel("free", rank=rank, **options)
    )
    checks.perturb(task)
    task.compile(sampler="greedy")
    rng = np.random.default_rng(0)
    prompt = {
        "token_ids": rng.integers(1, 64, (2, 8)).astype("int32"),
        "padding_mask": np.arange(8)[None].repeat(2, 0) < 3,
    }
    expected = checks.greedy_by_recomputation(task, prompt)
    np.testing.assert_array_equal(checks.generated(task, prompt), expected)
    task.save(tmp_path / "task.keras")
    loaded = keras.saving.load_model(tmp_path / "task.keras", compile=False)
    np.testing.assert_array_equal(
        checks.logits(loaded, prompt), checks.logits(task, prompt)
    )
