"""The copies of a layer that both ways of conversion make."""

import functools

import keras
import numpy as np
import pytest

import keras_laurel
from tests.conversion import graphs
from tests.conversion.hub.checks import ALL

both_ways = pytest.mark.parametrize(
    "build",
    [
        graphs.sequential_of_functionals,
        graphs.dense_blocks,
        ALL["GPT2"].backbone,
    ],
    ids=["models", "graph", "transformer"],
)


@both_ways
@pytest.mark.parametrize("normalize", [None, "rms"])
def test_a_seed_gives_each_connection_its_own_draws(build, normalize):
    prototype = keras_laurel.LaurelPA(
        num_activations=2,
        rank=2,
        normalize=normalize,
        a_initializer=keras.initializers.RandomNormal(seed=1),
    )
    first, again = [drawn(build(), prototype) for _ in range(2)]
    assert len(first) > len(keras_laurel.laurel_layers(build()))
    np.testing.assert_array_equal(first, again)
    assert len({matrix.tobytes() for matrix in first}) == len(first)
    assert prototype.a_initializer.seed == 1


def drawn(model, prototype):
    """Every matrix that was drawn, of A and of B under a norm."""
    converted = keras_laurel.laurelize(model, prototype)
    matrices = []
    for layer in keras_laurel.laurel_layers(converted):
        matrices += list(np.array(layer.laurel_a))
        if layer.normalize:
            b = np.array(layer.laurel_b)
            pairs = len(b) // layer.rank
            matrices += [np.ascontiguousarray(x.T) for x in np.split(b, pairs)]
    return matrices


class WithoutConfig(keras_laurel.LaurelLR):
    def __init__(self, note, **kwargs):
        super().__init__(**kwargs)
        self.note = note


@pytest.mark.filterwarnings("ignore:.*includes a `lambda`")
@both_ways
@pytest.mark.parametrize(
    "prototype",
    [
        keras_laurel.LaurelLR(2, a_initializer=lambda shape, dtype: None),
        keras_laurel.LaurelLR(2, a_initializer=functools.partial(max, 1)),
        WithoutConfig("mine", rank=2),
    ],
    ids=["lambda", "partial", "class"],
)
def test_a_layer_that_its_config_does_not_make_again(build, prototype):
    message = "`layer` must be a layer that can be made again from its config"
    with pytest.raises(ValueError, match=message) as raised:
        keras_laurel.laurelize(build(), prototype)
    assert len(str(raised.value)) < 400
