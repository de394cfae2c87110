"""The closed formulas, against the paper, built layers and JAX."""

from unittest import mock

import keras
import pytest
import sympy

from keras_laurel import Laurel
from keras_laurel import equation
from keras_laurel.layers.cost import ConnectionCost

BACKEND = keras.backend.backend()
D, R, K = 16, 2, 3
r, d, k = sympy.symbols("r D k", positive=True, integer=True)


def symbolic(**options):
    return ConnectionCost(width=d, **options)


# The paper's Table 4: connection, parameters, memory.
TABLE_4 = {
    "rw": (symbolic(residual_weights="softmax"), 2, 1),
    "rw complement": (symbolic(residual_weights="complement"), 1, 1),
    "lr": (symbolic(rank=r), 2 * r * d, 2 * r * d),
    "pa": (symbolic(activations=k, has_gamma=True), k, k * d),
    "lr+pa": (
        symbolic(activations=k, rank=r, has_gamma=True),
        2 * r * k * d + k,
        2 * r * k * d + k,
    ),
}


@pytest.mark.parametrize("variant", TABLE_4)
def test_parameters_are_those_of_table_4(variant):
    connection, parameters, _ = TABLE_4[variant]
    assert sympy.expand(connection.parameters - parameters) == 0


@pytest.mark.parametrize("variant", TABLE_4)
def test_memory_is_of_the_order_of_table_4(variant):
    """Theta(...): the quotient tends to a number that is neither 0 nor oo."""
    connection, _, memory = TABLE_4[variant]
    quotient = (connection.parameters + connection.history) / memory
    for symbol in (d, k, r):
        quotient = sympy.limit(quotient, symbol, sympy.oo)
    assert quotient.is_number and 0 < quotient < sympy.oo


def test_low_rank_costs_two_thin_products_not_the_papers_bound():
    assert symbolic(rank=r).product_flops == 4 * r * d


def test_combinations_add_up():
    connection = symbolic(
        activations=k, rank=r, has_gamma=True, residual_weights="softmax"
    )
    assert sympy.expand(connection.parameters - (2 * r * k * d + k + 2)) == 0


OPTIONS = {
    "rw": {"residual_weights": "softmax"},
    "rw complement": {"residual_weights": "complement"},
    "rw per channel": {"residual_weights": "sigmoid", "per_channel": True},
    "rw free": {"residual_weights": "free"},
    "rw free branch": {"residual_weights": "free_branch"},
    "lr": {"rank": R},
    "pa": {"num_activations": K},
    "rw+lr": {"residual_weights": "softmax", "rank": R},
    "rw+pa": {"residual_weights": "softmax", "num_activations": K},
    "lr+pa": {"rank": R, "num_activations": K},
    "lr+pa shared": {
        "rank": R,
        "num_activations": K,
        "share_low_rank": True,
    },
    "rw+lr+pa": {
        "residual_weights": "softmax",
        "rank": R,
        "num_activations": K,
    },
    "rw+lr, f(x) not kept": {
        "residual_weights": "softmax",
        "rank": R,
        "keep_branch": False,
    },
    "normalized": {"rank": R, "normalize": "rms", "scale": 2**-0.5},
    "rw+pa normalized": {
        "residual_weights": "softmax",
        "num_activations": K,
        "normalize": "rms",
    },
}
CASES = [
    (variant, activations)
    for variant, options in OPTIONS.items()
    for activations in ((1, K) if "num_activations" in options else (1,))
]


def built(variant, activations):
    layer = Laurel(**OPTIONS[variant])
    layer.build([(None, D)] * (1 + activations))
    return layer


@pytest.mark.parametrize("variant, activations", CASES)
def test_parameters_are_those_of_a_built_layer(variant, activations):
    layer = built(variant, activations)
    assert layer.cost().parameters == layer.count_params()


FORMS = {
    "layer": {},
    "around a block": {"is_around_block": True},
    "second in a block": {"is_around_block": True, "has_other_skip": True},
}

needs_jax = pytest.mark.skipif(BACKEND != "jax", reason="JAX is the judge")


@needs_jax
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant, activations", CASES)
def test_kept_is_what_the_derivative_of_jax_keeps(variant, activations, form):
    import jax

    def kept(layer):
        def residuals(*args):
            return jax.vjp(block(layer, **FORMS[form]), *args)[1]

        return growth(
            lambda *args: sum(
                x.size
                for x in jax.tree.leaves(jax.eval_shape(residuals, *args))
            ),
            layer,
            activations,
        )

    layer = built(variant, activations)
    connection = layer.cost(**FORMS[form])
    with without_checks_of_infinity():
        assert connection.kept == kept(layer) - kept(None)


@needs_jax
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant, activations", CASES)
def test_flops_are_those_that_xla_counts(variant, activations, form):
    import jax

    def flops(layer):
        def output(*args):
            return block(layer, **FORMS[form])(*args)[0]

        return growth(
            lambda *args: jax.jit(output).lower(*args).cost_analysis()["flops"],
            layer,
            activations,
        )

    layer = built(variant, activations)
    connection = layer.cost(**FORMS[form])
    with without_checks_of_infinity():
        assert connection.forward_flops == flops(layer) - flops(None)


def without_checks_of_infinity():
    """Turn these checks off: they keep one bit per number."""
    return mock.patch.object(equation, "_finite", lambda x: x)


def block(layer, is_around_block=False, has_other_skip=False):
    """A function of weights, a kernel and activations, with a plain addition
    or `layer`; readers of all of them and of the output keep these."""
    variables = layer.variables if layer else []

    def run(weights, kernel, activations):
        read = [x @ kernel for x in activations]
        x, fx = activations[0], read[0]
        with keras.StatelessScope(list(zip(variables, weights))):
            if layer is None:
                out = x + fx
            elif is_around_block:
                carried = carried_by(layer, activations)
                # At the second addition of a block: what it added f to is
                # known to nobody else.
                s = fx if has_other_skip else x
                out = layer.combine_sum(s + fx, s, x, carried)
            else:
                out = layer([x, fx, *activations[1:]])
        return out, [out @ kernel, *read[1:]]

    return run


def carried_by(layer, activations):
    if layer.rank:
        return [x @ layer.down_projection(j) for j, x in enumerate(activations)]
    return activations if layer.num_activations else None


def growth(measure, layer, activations):
    """Return the growth of `measure` per position, which excludes weights."""
    import jax

    def shape(*sizes):
        return jax.ShapeDtypeStruct(sizes, "float32")

    weights = [shape(*v.shape) for v in (layer.variables if layer else [])]
    few, many = (
        measure(weights, shape(D, D), [shape(n, D)] * activations)
        for n in (3, 4)
    )
    return many - few
