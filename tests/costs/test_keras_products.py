"""The private parts of Keras that `keras_products.py` uses.

If one of these tests fails after an update of Keras, adapt that file.
"""

import inspect
import threading

import keras
import pytest
from keras import ops
from keras.src import backend

from keras_laurel.costs import keras_products
from keras_laurel.costs import products
from keras_laurel.costs.keras_products import product_flops

ADAPT = "Keras changed; adapt keras_laurel/costs/keras_products.py"
X = keras.KerasTensor((3, 4))
NAMES = [
    (module, name)
    for module, names in keras_products.PRODUCTS.items()
    for name in names
]


@pytest.mark.parametrize("module, name", NAMES)
def test_products_take_the_arguments_that_are_counted(module, name):
    function = getattr(getattr(backend, module), name)
    taken = list(inspect.signature(function).parameters)
    _, *counted = inspect.signature(getattr(products, name)).parameters
    assert taken == counted, ADAPT


def test_a_product_that_is_gone_is_an_error(monkeypatch):
    monkeypatch.delattr(backend.numpy, "einsum")
    with pytest.raises(AttributeError, match="einsum"):
        product_flops(ops.tanh, X)


def test_keras_is_as_it_was_afterwards():
    before = vars(backend.numpy).copy(), vars(backend.nn).copy()
    product_flops(lambda x: x @ ops.transpose(x), X)
    with pytest.raises(ZeroDivisionError):
        product_flops(lambda x: 1 / 0, X)
    assert before == (vars(backend.numpy), vars(backend.nn))
    tensor = ops.ones((2, 2))
    assert "counted" not in repr(type(tensor).__matmul__)


def test_other_threads_are_not_counted():
    def run(x):
        thread = threading.Thread(
            target=lambda: done.append(ops.matmul(*[ops.ones((2, 2))] * 2))
        )
        thread.start()
        thread.join()
        return ops.tanh(x)

    done = []
    assert product_flops(run, X) == 0 and len(done) == 1


def test_shapes_are_asked_for_once():
    """PyTorch would run again, and compute, where shapes do not do."""
    runs = []

    def run(x):
        runs.append(x)
        return ops.repeat(ops.matmul(x, ops.ones((4, 2))), 3, axis=0)

    assert product_flops(run, X) == 2 * 3 * 4 * 2
    assert len(runs) == 1, ADAPT


def test_variables_get_no_values():
    with keras.StatelessScope(initialize_variables=False):
        layer = keras.layers.Dense(2)
        layer.build((None, 4))
    assert product_flops(layer, X) == 2 * 3 * 4 * 2
    assert all(v._value is None for v in layer.variables), ADAPT
    keras.utils.clear_session()


def test_asking_for_shapes_meanwhile_is_not_counted():
    dense = keras.layers.Dense(2)
    dense.build((None, 4))

    def run(x):
        backend.compute_output_spec(dense.call, X)
        return dense(x)

    assert product_flops(run, X) == 2 * 3 * 4 * 2, ADAPT


def scanned(x):
    step = keras.layers.Dense(4)
    step.build((None, 4))
    return ops.scan(lambda c, _: (step(c), c), x, length=3)[0]


def branched(x):
    return ops.cond(
        ops.any(x > 0), lambda: ops.matmul(x, ops.ones((4, 4))), lambda: x
    )


def looped(x):
    square = ops.matmul(ops.transpose(x), x)
    return ops.fori_loop(0, 3, lambda i, y: ops.matmul(square, y), square)


def in_time(layer):
    layer.build((1, 3, 4))
    return lambda x: layer(x[None])


@pytest.mark.parametrize(
    "function, name",
    [
        (scanned, "scan"),
        (branched, "cond"),
        (looped, "fori_loop"),
        (in_time(keras.layers.SimpleRNN(2)), "rnn"),
        (in_time(keras.layers.LSTM(2)), "(lstm|rnn)"),
        (in_time(keras.layers.GRU(2)), "(gru|rnn)"),
    ],
)
def test_products_in_loops_are_refused(function, name):
    with pytest.raises(ValueError, match=f"products inside `{name}`"):
        product_flops(function, X)


def test_loops_without_products_are_not():
    def run(x):
        x = ops.fori_loop(0, 3, lambda i, y: ops.tanh(y), x)
        return ops.matmul(x, ops.ones((4, 2)))

    assert product_flops(run, X) == 2 * 3 * 4 * 2
