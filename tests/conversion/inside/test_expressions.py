"""An addition is known by its expression, whatever else its line computes."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_laurel
from tests.conversion.inside.running import as_array

X = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(8, activation="tanh")
        self.gate = layers.Dense(8)
        self.noise = layers.GaussianNoise(0.1, seed=1)

    def build(self, *shapes):
        self.dense.build((None, 6, 8))
        self.gate.build((None, 6, 8))
        self.built = True


class Noisy(Block):
    def call(self, x, training=False):
        return x + (self.noise(self.dense(x)) if training else self.dense(x))


class Gated(Block):
    def call(self, x, gate=None):
        return x + (
            self.dense(x) * (1 if gate is None else ops.sigmoid(gate) * 2)
        )


class Masked(Block):
    def call(self, x, kept=None):
        return x + self.dense(x if kept is None else x * kept[..., None])


class InAMethod(Block):
    """Training has lines of its own, which call the method that adds."""

    def step(self, x, training=False):
        return x + self.dense(self.noise(x) if training else x)

    def call(self, x, training=False):
        if training:
            y = self.step(x, training)
            self.add_loss(ops.mean(ops.square(y + self.gate(y))))
            return y
        return self.step(x)


class WithALoss(Block):
    """As `Noisy`, with another addition in training only."""

    def call(self, x, training=False):
        y = x + (self.noise(self.dense(x)) if training else self.dense(x))
        if training:
            self.add_loss(ops.mean(ops.square(y + self.gate(y))))
        return y


class Either(Block):
    def call(self, x, gate=None):
        return x + self.dense(x) if gate is None else x + self.gate(gate * x)


class InTurn(Block):
    """The same method adds for `gate`, before it adds for `dense`."""

    def add(self, x, layer):
        return x + layer(x)

    def call(self, x, gate=None):
        if gate is not None:
            x = self.add(x, self.gate)
        return self.add(x, self.dense)


class Net(keras.Model):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def call(self, x, training=False, **kwargs):
        # Keras adds `training` where the block has it.
        return self.block(x, **kwargs)


def converted(block):
    model = Net(block)
    plain = model(X)
    keras_laurel.laurelize(
        model, keras_laurel.LaurelRW(), inputs=X, verbose=False
    )
    return model, plain


# The arguments of other calls, and how many connections there are.
SAME_ADDITIONS = {
    Noisy: ({"training": True}, 1),
    Gated: ({"gate": ops.convert_to_tensor(X)}, 1),
    Masked: ({"kept": ops.ones((4, 6))}, 1),
    WithALoss: ({"training": True}, 2),
}


@pytest.mark.parametrize("cls", SAME_ADDITIONS)
def test_other_arguments_lead_to_the_same_additions(cls):
    kwargs, count = SAME_ADDITIONS[cls]
    keras.utils.set_random_seed(0)
    model, plain = converted(cls())
    np.testing.assert_array_equal(*map(as_array, (model(X), plain)))
    assert len(keras_laurel.laurel_layers(model)) == count
    outputs = []
    for restore in (False, True):
        if restore:
            keras_laurel.remove_laurel(model)
        model.block.noise.seed_generator.state.assign([0, 1])
        outputs.append(as_array(model(X, **kwargs)))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("cls", [Noisy, WithALoss, InAMethod])
def test_what_training_learns_counts_in_inference(cls):
    model, plain = converted(cls())
    first, *_ = keras_laurel.laurel_layers(model)
    for layer in (model.block.dense, model.block.gate):
        layer.trainable = False
    before = first.get_weights()[0]
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.fit(X, 0 * X, epochs=2, verbose=0)
    assert not np.array_equal(first.get_weights()[0], before)
    assert not np.array_equal(*map(as_array, (model(X), plain)))


@pytest.mark.parametrize("cls", [Either, InTurn])
def test_another_expression_is_another_addition(cls):
    model, _ = converted(cls())
    with pytest.raises(ValueError, match="other additions than those"):
        model(X, gate=ops.convert_to_tensor(X))
