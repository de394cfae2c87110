"""The numbers of connections, against NumPy in float64."""

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel.layers import laurel
from keras_laurel.learned import ConnectionSummary
from keras_laurel.learned import laurel_summary
from tests import small_models
from tests.conversion.hub import checks
from tests.conversion.hub import oracle
from tests.layers import cases
from tests.layers import reference


def weights_of(layer):
    return {
        weight.name: np.asarray(value, "float64")
        for weight, value in zip(layer.weights, layer.get_weights())
    }


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


def added(layer, activations):
    """Return the part of the equation that is added to the skip."""
    x, *previous = [np.asarray(x, "float64") for x in activations]
    out = reference.laurel(layer, [x, np.zeros_like(x), *previous])
    beta = np.asarray(keras.ops.convert_to_numpy(layer.beta), "float64")
    skip = np.moveaxis(beta * np.moveaxis(x, layer.axis, -1), -1, layer.axis)
    return out - skip


@pytest.fixture(scope="module", params=cases.CASES)
def summary_of_case(request):
    """`(layer, inputs, summary)` of a model that is one layer."""
    case = cases.CASES[request.param]
    inputs = cases.random_inputs(case)
    layer = case.make()
    tensors = [keras.Input(cases.SHAPE[1:]) for _ in inputs]
    model = keras.Model(tensors, layer(tensors))
    cases.set_random_weights(layer)
    return layer, inputs, laurel_summary(model, inputs)


def test_residual_weights_and_gamma(summary_of_case):
    layer, _, summary = summary_of_case
    (row,) = summary.connections
    w = weights_of(layer)
    np.testing.assert_allclose(row.gamma, w.get("laurel_gamma", ()), rtol=1e-6)
    if not layer.residual_weights:
        assert row.alpha is row.beta is row.alpha_min is None
        return
    alpha, beta = reference._residual_weights(layer, w)
    assert row.alpha == pytest.approx(np.mean(alpha), rel=1e-6)
    assert row.beta == pytest.approx(np.mean(beta), rel=1e-6)
    if layer.per_channel:
        assert (row.alpha_min, row.alpha_max, row.beta_min, row.beta_max) == (
            pytest.approx((*span(alpha), *span(beta)), rel=1e-6)
        )
    else:
        assert row.alpha_min is row.beta_max is None


def span(x):
    return x.min(), x.max()


def test_norms(summary_of_case):
    layer, _, summary = summary_of_case
    (row,) = summary.connections
    expected = norms(layer, weights_of(layer))
    np.testing.assert_allclose(row.norm, expected, rtol=1e-5)


def norms(layer, w):
    if layer.normalize:
        return [rms(w["laurel_norm_scale"])]
    if not layer.rank:
        return []
    a = w["laurel_a"]
    maps = [x @ b for x, b in zip(a, np.split(w["laurel_b"], len(a)))]
    gamma = w.get("laurel_gamma", np.ones(1))
    of_maps = np.array([np.linalg.norm(x) for x in maps])
    return np.abs(gamma) * of_maps / np.sqrt(a.shape[1])


def test_share(summary_of_case):
    layer, (x, _, *previous), summary = summary_of_case
    (row,) = summary.connections
    if layer.rank or layer.num_activations:
        expected = rms(added(layer, [x, *previous])) / rms(x)
        assert row.share == pytest.approx(expected, rel=1e-5)
    else:
        assert row.share is None


@pytest.mark.parametrize(
    "variant, granularity",
    [("rw+lr+pa", "block"), ("pa", "block"), ("rw+lr+pa", "sublayer")],
)
def test_shares_in_a_decoder_are_those_of_blocks_by_hand(variant, granularity):
    pytest.importorskip("keras_hub")
    llama = checks.ALL["Llama"]
    model = checks.converted_task(llama, variant, granularity)
    checks.perturb(model)
    inputs = llama.inputs()
    expected = []

    def noting(layer, fx, activations):
        arrays = [cases.to_numpy(x) for x in activations]
        expected.append(rms(added(layer, arrays)) / rms(arrays[0]))
        return oracle.on_tensors(layer, fx, activations)

    with oracle.by_hand(model, llama, granularity, noting):
        model(inputs)
    found = [row.share for row in laurel_summary(model, inputs).connections]
    assert len(found) == len(keras_laurel.laurel_layers(model)) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_shared_layer_has_one_share_over_all_its_calls():
    x = np.random.default_rng(0).normal(size=(2, 16)).astype("float32")
    model = small_models.Loop()
    model(x)
    cases.set_random_weights(model.residual)
    (row,) = laurel_summary(model, x).connections
    skips = [x]
    for _ in range(2):
        skips.append(model.residual([skips[-1], model.dense(skips[-1])]))
    skips = [cases.to_numpy(s) for s in map(keras.ops.convert_to_tensor, skips)]
    terms = [added(model.residual, [skip]) for skip in skips]
    assert row.share == pytest.approx(rms(terms) / rms(skips), rel=1e-5)


def model_of_three():
    """Connections of width 8, each of another variant."""
    x = inputs = keras.Input((8,))
    for layer in (
        keras_laurel.LaurelRW(name="first"),
        keras_laurel.get("rw+lr", rank=2, name="second"),
        keras_laurel.LaurelPA(rank=2, name="third"),
    ):
        x = layer([x, keras.layers.Dense(8)(x)])
    return keras.Model(inputs, x, name="three")


def test_rematerialised_connections_have_shares():
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    with keras.RematScope(mode="full"):
        model = model_of_three()
    for layer in keras_laurel.laurel_layers(model):
        cases.set_random_weights(layer)
    plain = model_of_three()
    plain.set_weights(model.get_weights())
    found = laurel_summary(model, x)
    assert found.connections[1].share > 0
    assert found == laurel_summary(plain, x)


def test_reading_leaves_the_model_as_it_was():
    x = np.random.default_rng(0).normal(size=(4, 8)).astype("float32")
    model = model_of_three()
    plain = model.predict(x, verbose=0)
    laurel_summary(model, x)
    assert not laurel._observers
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain)


def test_a_stream_of_zeros_has_no_share():
    summary = laurel_summary(model_of_three(), np.zeros((2, 8), "float32"))
    rw, *others = summary.connections
    assert rw.share is None and all(np.isnan(row.share) for row in others)


def test_the_table():
    connections = (
        ConnectionSummary(
            layer="net/block_0/laurel",
            variant="rw+lr+pa",
            alpha=1.25,
            alpha_min=0.5,
            alpha_max=1.75,
            beta=0.75,
            beta_min=0.25,
            beta_max=1.5,
            gamma=(1.0, -0.5),
            norm=(0.0123, 2.0),
            share=0.125,
        ),
        ConnectionSummary(
            layer="net/block_with_a_name_of_more_than_31_letters_1/laurel",
            variant="rw",
            alpha=1.0,
            beta=1.0,
        ),
    )
    summary = keras_laurel.learned.LaurelSummary("net", connections)
    assert (
        str(summary)
        == """\
net: 1 x rw+lr+pa, 1 x rw

#  layer                            alpha          beta    gamma    norm   share
0  block_0                         1.2500        0.7500   1.0000  0.0123  12.5 %
                             0.500..1.750  0.250..1.500  -0.5000    2.00
1  ...ore_than_31_letters_1        1.0000        1.0000"""
    )


def test_only_what_there_is_has_a_column():
    (header,) = str(laurel_summary(single("lr", rank=2))).splitlines()[2:3]
    assert header.split() == ["#", "layer", "norm"]


def single(name, **options):
    x = keras.Input((8,))
    return keras.Model(x, keras_laurel.get(name, **options)([x, x + 1.0]))


def test_the_dict_is_flat():
    x = keras.Input((8,))
    layer = keras_laurel.get("rw+pa", name="residual")
    model = keras.Model(x, layer([x, x + 1.0, x + 2.0]), name="net")
    assert laurel_summary(model).to_dict() == {
        "model": "net",
        "connections": [
            {
                "layer": "residual",
                "variant": "rw+pa",
                "alpha": 1.0,
                "beta": 1.0,
                "gamma_0": 0.0,
                "gamma_1": 0.0,
            }
        ],
    }


class TestRefuses:
    def test_a_model_without_laurel(self):
        x = keras.Input((8,))
        model = keras.Model(x, keras.layers.Dense(8)(x), name="plain")
        with pytest.raises(ValueError, match="'plain', which has no LAuReL"):
            laurel_summary(model)

    def test_a_model_that_is_not_built(self):
        with pytest.raises(ValueError, match="not built: it has no weights"):
            laurel_summary(small_models.Loop())

    def test_what_is_no_model(self):
        with pytest.raises(
            ValueError, match="must be a `keras.Model`.*of type str"
        ):
            laurel_summary("model")
