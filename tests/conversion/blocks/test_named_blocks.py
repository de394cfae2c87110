"""A connection around any block that its owner names."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from keras_laurel.conversion.blocks import owner as conversion
from tests.conversion.blocks import own_models
from tests.conversion.blocks.own_models import Block
from tests.conversion.hub.checks import fresh_process
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import perturb
from tests.conversion.hub.checks import prototype
from tests.layers import reference

pytestmark = [
    pytest.mark.usefixtures("quick_compilation"),
    # The embedding of `functional` masks; the plain model says so too.
    pytest.mark.filterwarnings("ignore:(?s)Layer 'block.*mask:UserWarning"),
]

OWNERS = {
    "subclassed": own_models.gpt,
    "functional": own_models.functional,
    "keywords_and_dict": own_models.with_pairs,
    "sequential": own_models.sequential,
    "nested": own_models.nested,
    "two_stacks": lambda: own_models.called(own_models.TwoStacks()),
}


@pytest.fixture(params=OWNERS)
def owner(request):
    keras.utils.set_random_seed(0)
    return OWNERS[request.param]()


def named(model, variant="rw+lr+pa", blocks=None, **options):
    blocks = own_models.blocks_of(model) if blocks is None else blocks
    return keras_laurel.laurelize(
        model, prototype(variant), blocks=blocks, **options
    )


class TestConversion:
    def test_it_is_the_same_model(self, owner):
        x = own_models.inputs()
        expected = logits(owner, x)
        blocks, cls = own_models.blocks_of(owner), type(owner)
        paths = [v.path for v in owner.variables]
        result = named(owner)
        assert result is owner and isinstance(result, cls)
        assert type(result).__name__ == cls.__name__
        np.testing.assert_array_equal(logits(owner, x), expected)
        after = [v.path for v in owner.variables]
        assert [p for p in after if "/laurel_" not in p] == paths
        assert len(keras_laurel.laurel_layers(owner)) == len(blocks)
        assert {p for p in after if "/laurel_" in p} == {
            f"{block.path}/laurel_residual/laurel_{name}"
            for block in blocks
            for name in ("residual_weights", "a", "b", "gamma")
        }

    def test_it_computes_the_equation(self, owner):
        x = own_models.inputs()
        plain = logits(owner, x)
        perturb(named(owner))
        actual = logits(owner, x)
        with by_hand(own_models.blocks_of(owner)):
            expected = logits(owner, x)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
        assert abs(actual - plain).max() > 1e-3

    def test_it_trains(self, owner):
        y = logits(perturb(named(owner)) or owner, own_models.inputs())
        owner.compile("adam", "mse", run_eagerly=True)
        before = weights(owner)
        owner.fit(own_models.inputs(), y + 1, epochs=2, verbose=0)
        for old, new in zip(before, weights(owner)):
            assert (old != new).any()

    def test_two_streams(self):
        model = own_models.called(own_models.TwoStacks())
        blocks = own_models.blocks_of(model)
        named(model, blocks=[blocks[:2], blocks[2:]])
        layers = keras_laurel.laurel_layers(model)
        assert [x.num_inputs - 1 for x in layers] == [1, 2, 1, 2, 3]
        perturb(model)
        # A decoder that runs by itself, as in generation.
        y = ops.ones((1, 3, own_models.WIDTH))
        for block in model.decoder["blocks"]:
            y = block(y)

    @pytest.mark.parametrize("holder", ["subclassed", "functional"])
    def test_blocks_that_are_functional_models(self, holder, tmp_path):
        model = own_models.of_models(holder)
        blocks = [x for x in model.layers if isinstance(x, keras.Model)]
        x = np.random.default_rng(0).normal(size=(2, 3, own_models.WIDTH))
        expected = logits(model, x)
        named(model, "rw+lr+pa", blocks)
        np.testing.assert_array_equal(logits(model, x), expected)
        perturb(model)
        assert len(weights(model)) == 4 * len(blocks) == 12
        with by_hand(blocks):
            expected = logits(model, x)
        actual = logits(model, x)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(logits(loaded, x), actual)

    def test_a_layer_that_holds_blocks(self):
        class Encoder(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.blocks = [Block() for _ in range(2)]

            def call(self, x):
                return self.blocks[1](self.blocks[0](x))

        layer = Encoder()
        x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype("float32")
        expected = logits(layer, x)
        named(layer, "rw+lr", layer.blocks)
        np.testing.assert_array_equal(logits(layer, x), expected)
        assert len(keras_laurel.laurel_layers(layer)) == 2

    def test_features_that_are_not_last(self):
        class Pointwise(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(6)

            def call(self, x):
                y = self.dense(ops.moveaxis(x, 1, -1))
                return x + ops.moveaxis(y, -1, 1)

        image = keras.Input((6, 4, 4))
        model = keras.Model(image, Pointwise()(Pointwise()(image)))
        x = np.random.default_rng(0).normal(size=(2, 6, 4, 4))
        expected = logits(model, x)
        layer = prototype("rw+lr+pa", num_activations=2, axis=1)
        keras_laurel.laurelize(model, layer, blocks=model.layers[1:])
        np.testing.assert_array_equal(logits(model, x), expected)
        (first, _) = keras_laurel.laurel_layers(model)
        assert first.laurel_a.shape == (1, 6, 2)

    def test_a_mask_goes_on_where_it_went_on(self):
        tokens = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(16, 8, mask_zero=True)(tokens)
        block = Block()
        block.supports_masking = True
        model = keras.Model(tokens, keras.layers.LSTM(3)(block(x)))
        x = np.array([[1, 2, 0, 0]])
        expected = logits(model, x)
        named(model, "rw", [block])
        np.testing.assert_array_equal(logits(model, x), expected)

    def test_mixed_precision(self):
        keras.utils.set_random_seed(0)
        block = Block(dtype="mixed_bfloat16")
        x = keras.Input((None, 8))
        model = keras.Model(x, block(x))
        x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype("float32")
        expected = logits(model, x)
        named(model, "rw+lr", [block])
        np.testing.assert_array_equal(logits(model, x), expected)


def weights(model):
    layers = keras_laurel.laurel_layers(model)
    return [ops.convert_to_numpy(w) for x in layers for w in x.weights]


class by_hand:  # noqa: N801
    """The blocks compute the equation in float64, one after the other."""

    def __init__(self, blocks):
        self.blocks = blocks
        self.skips = []

    def __enter__(self):
        for block in self.blocks:
            object.__setattr__(block, "call", self.method(block))

    def __exit__(self, *error):
        for block in self.blocks:
            del block.__dict__["call"]

    def method(self, block):
        plain = type(block)._laurel_base.call

        def call(*args, **kwargs):
            output = plain(block, *args, **kwargs)
            x = args[0] if args else kwargs["hidden"]
            y = output["hidden"] if isinstance(output, dict) else output
            out = ops.cast(self.connected(block, x, y), x.dtype)
            return {**output, "hidden": out} if y is not output else out

        return call

    def connected(self, block, x, y):
        x, y = (ops.convert_to_numpy(t).astype("float64") for t in (x, y))
        layer = block.laurel_residual
        history = self.skips[: layer.num_activations - 1]
        self.skips.insert(0, x)
        if len(self.skips) == len(self.blocks):
            self.skips = []
        return reference.laurel(layer, [x, y - x, *history])


class TestSaving:
    def test_exact_in_a_fresh_process(self, tmp_path):
        x = own_models.inputs()
        np.save(tmp_path / "x.npy", x)
        for name, make in OWNERS.items():
            model = named(make())
            perturb(model)
            model.save(tmp_path / f"{name}.keras")
            np.save(tmp_path / f"{name}.npy", logits(model, x))
        printed = fresh_process(
            """
            import pathlib, sys
            import keras, keras_laurel
            import numpy as np
            from tests.conversion.blocks import own_models

            folder = pathlib.Path(sys.argv[1])
            for path in folder.glob("*.keras"):
                model = keras.saving.load_model(path)
                y = model(np.load(folder / "x.npy"), training=False)
                y = keras.ops.convert_to_numpy(y)
                expected = np.load(path.with_suffix(".npy"))
                # Another process may split products otherwise.
                np.testing.assert_allclose(y, expected, 1e-6, 1e-6)
                assert len(keras_laurel.laurel_layers(model)) > 2, path
                print("LOADED", path.name)
            """,
            tmp_path,
        )
        assert printed.count("LOADED") == len(OWNERS)

    def test_a_model_that_keras_does_not_save(self, tmp_path):
        def make():
            blocks = [Block() for _ in range(3)]
            return named(own_models.called(own_models.Unsaved(blocks)))

        model, again = make(), make()
        perturb(model)
        with pytest.raises(
            NotImplementedError, match="(?s)Unsaved .*get_config"
        ):
            model.save(tmp_path / "model.keras")
        model.save_weights(tmp_path / "model.weights.h5")
        again.load_weights(tmp_path / "model.weights.h5")
        x = own_models.inputs()
        np.testing.assert_array_equal(logits(again, x), logits(model, x))

    def test_a_model_whose_code_has_changed(self):
        model = named(own_models.gpt())
        config = model.get_config()
        config["source"]["config"]["depth"] = 2
        with pytest.raises(ValueError, match="code of the model has changed"):
            type(model).from_config(config)

    def test_clones(self):
        model = named(own_models.gpt())
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        x = own_models.inputs()
        np.testing.assert_array_equal(logits(clone, x), logits(model, x))

    @pytest.mark.parametrize("granularity", ["block", "application"])
    def test_a_head_on_blocks_that_run_several_times(
        self, granularity, tmp_path
    ):
        x = y = keras.Input((4, 8))
        block, last = Block(), Block()
        blocks = [block, block, last]
        for one in blocks:
            y = one(y)
        model = keras.Model(x, y)
        named(model, blocks=blocks, granularity=granularity)
        perturb(model)
        headed = keras.Model(model.input, keras.layers.Dense(2)(model.output))
        headed.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
        np.testing.assert_array_equal(logits(loaded, x), logits(headed, x))
        assert len(keras_laurel.laurel_layers(loaded)) == len(
            keras_laurel.laurel_layers(model)
        )

    @pytest.mark.filterwarnings("ignore:`compile\\(\\)` was not called")
    def test_copies(self, owner):
        x = own_models.inputs()
        perturb(named(owner))
        expected = logits(owner, x)
        for other in (pickle.loads(pickle.dumps(owner)), copy.deepcopy(owner)):
            np.testing.assert_array_equal(logits(other, x), expected)


class TestAllOrNothing:
    @pytest.mark.parametrize("name", ["fresh_optimizers", "set_optimizers"])
    def test_interrupted(self, name, owner, monkeypatch):
        def interrupted(*args):
            raise KeyboardInterrupt

        owner.compile("adam", "mse")
        before, optimizer = state(owner), owner.optimizer
        with monkeypatch.context() as patch:
            patch.setattr(conversion, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                named(owner)
        assert state(owner) == before
        assert owner.optimizer is optimizer

    def test_taken_out_again(self, owner):
        owner.compile("adam", "mse")
        before = state(owner)
        expected = logits(owner, own_models.inputs())
        perturb(named(owner))
        assert keras_laurel.remove_laurel(owner) is owner
        assert state(owner) == before
        actual = logits(owner, own_models.inputs())
        np.testing.assert_array_equal(actual, expected)


class TestErrors:
    def refuses(self, message, model, blocks, layer=None, **options):
        before = state(model)
        with pytest.raises(ValueError, match=message):
            keras_laurel.laurelize(
                model, layer or prototype("rw"), blocks=blocks, **options
            )
        assert state(model) == before

    def test_a_sequential_model_as_a_block(self):
        """It would run, but keep the LAuReL layer in no list of layers."""
        model = own_models.called(own_models.TwoStacks())
        self.refuses("must not be a `keras.Seq", model, [model.encoder])

    def test_what_is_no_list_of_layers(self):
        model = own_models.gpt()
        self.refuses("must be a list of layers", model, [])
        self.refuses("must be a list of layers", model, model.blocks[0])
        self.refuses("must hold layers inside", model, ["blocks"])
        self.refuses("must hold layers inside", model, own_models.gpt().blocks)
        self.refuses(
            "in two of its lists", model, [model.blocks, model.blocks[:1]]
        )

    def test_an_attribute_that_is_not_there(self):
        class Misspelt(own_models.GPT):
            pass

        keras_laurel.register_blocks(Misspelt, "block")
        message = "`Misspelt` has no attribute `block`. Correct the path"
        self.refuses(message, Misspelt(), blocks=None)

    def test_sites_and_blocks(self):
        model = own_models.gpt()
        self.refuses("Pass one of them", model, model.blocks, sites=[])

    def test_not_built(self):
        model = own_models.GPT()
        self.refuses("'block.*' .*is not built", model, model.blocks)

    def test_another_shape(self):
        model = own_models.gpt()
        self.refuses(r"got .* and returned \(.*16\)", model, [model.head])

    def test_not_floats(self):
        model = own_models.gpt()
        self.refuses("has|needs|returned", model, [model.embedding])

    def test_a_layer_that_does_not_fit(self):
        model = own_models.gpt()
        layer = keras_laurel.LaurelLR(rank=9)
        self.refuses("(?s)does not fit the block", model, model.blocks, layer)
        layer = keras_laurel.LaurelPA(num_activations=4)
        self.refuses("has 3 connections", model, model.blocks, layer)

    def test_converted_twice(self):
        model = named(own_models.gpt())
        with pytest.raises(ValueError, match="has 3 LAuReL layers already"):
            named(model)

    def test_a_shape_that_shows_only_when_it_runs(self):
        class Odd(Block):
            def call(self, x, wide=False):
                return ops.concatenate([x, x], -1) if wide else super().call(x)

        block = Odd()
        x = keras.Input((3, 8))
        model = keras.Model(x, block(x))
        named(model, "rw", [block])
        with pytest.raises(ValueError, match="of the shape of x"):
            block(np.ones((1, 3, 8), "float32"), wide=True)


def state(model):
    """All that conversion in place may change."""
    return [(id(x), type(x), set(vars(x))) for x in model._flatten_layers()]
