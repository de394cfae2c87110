"""Blocks that run several times, and blocks that add to two streams."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.conversion.hub import oracle
from tests.conversion.hub import rows
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import perturb
from tests.conversion.hub.checks import prototype

pytestmark = pytest.mark.usefixtures("quick_compilation")

ALL = {family.name: family for family in rows.FAMILIES}
ALBERT, XLNET, PARSEQ = (ALL[x] for x in ("Albert", "XLNet", "PARSeq"))


def backbone_of(family):
    keras.utils.set_random_seed(0)
    return family.backbone()


class TestAlbert:
    """Two blocks, each of which runs twice in a row."""

    @pytest.mark.parametrize("variant", ["rw", "pa", "lr+pa", "rw+lr+pa"])
    def test_one_connection_for_all_times(self, variant):
        backbone, x = backbone_of(ALBERT), ALBERT.inputs()
        plain = logits(backbone, x)
        options = {} if variant == "rw" else {"num_activations": 4}
        keras_laurel.laurelize(backbone, prototype(variant, **options))
        np.testing.assert_array_equal(logits(backbone, x), plain)
        layers = keras_laurel.laurel_layers(backbone)
        if options:
            # Each is built for the last time that it runs.
            assert [layer.num_inputs - 1 for layer in layers] == [2, 4]
        perturb(backbone)
        actual = logits(backbone, x)
        with oracle.by_hand(backbone, ALBERT, "block") as by_hand:
            expected = logits(backbone, x)
        assert by_hand.calls == 4
        assert oracle.difference(actual, expected) < 1e-5

    @pytest.mark.parametrize("variant", ["rw", "rw+lr+pa"])
    def test_one_connection_for_each_time(self, variant, tmp_path):
        backbone, x = backbone_of(ALBERT), ALBERT.inputs()
        plain = logits(backbone, x)
        keras_laurel.laurelize(
            backbone, prototype(variant), granularity="application"
        )
        np.testing.assert_array_equal(logits(backbone, x), plain)
        layers = keras_laurel.laurel_layers(backbone)
        assert len(layers) == 4
        block = ALBERT.block_list(backbone)[0]
        assert {block.laurel_residual_0, block.laurel_residual_1} < {*layers}
        moved = []
        for layer in layers:  # Each of them does something of its own.
            before = layer.get_weights()
            shift(layer)
            moved.append(logits(backbone, x))
            layer.set_weights(before)
        for i, y in enumerate(moved):
            for other in [plain, *moved[:i]]:
                assert abs(y - other).max() > 1e-6
        perturb(backbone)
        backbone.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(logits(loaded, x), logits(backbone, x))

    def test_equal_layers_are_one_layer(self, capsys):
        shared, own = backbone_of(ALBERT), backbone_of(ALBERT)
        x = ALBERT.inputs()
        keras_laurel.laurelize(shared, prototype("rw"))
        keras_laurel.laurelize(own, prototype("rw"), granularity="application")
        assert capsys.readouterr().out.splitlines() == [
            "Converted 2 blocks to LaurelRW.",
            "Converted 2 blocks to LaurelRW, 4 connections.",
        ]
        perturb(shared)
        for one, two in zip(ALBERT.block_list(shared), ALBERT.block_list(own)):
            for i in range(2):
                layer = getattr(two, f"laurel_residual_{i}")
                layer.set_weights(one.laurel_residual.get_weights())
        np.testing.assert_array_equal(logits(own, x), logits(shared, x))

    def test_a_pass_that_breaks_off(self):
        """Between two times that one block runs, or inside of one."""
        backbone, x = backbone_of(ALBERT), ALBERT.inputs()
        keras_laurel.laurelize(backbone, prototype("rw+lr+pa"))
        perturb(backbone)
        expected = logits(backbone, x)
        first = ALBERT.block_list(backbone)[0]
        part = keras.Model(backbone.input, first._inbound_nodes[0].outputs[0])
        part(x)
        np.testing.assert_array_equal(logits(backbone, x), expected)
        dense = first._feedforward_output_dense
        dense.call, calls = failing(dense.call, time=2)
        with pytest.raises(KeyError):
            backbone(x)
        del dense.__dict__["call"]
        np.testing.assert_array_equal(logits(backbone, x), expected)


def shift(layer):
    for weight in layer.weights:
        ramp = np.linspace(-0.5, 0.5, int(np.prod(weight.shape)))
        weight.assign(weight + ramp.reshape(weight.shape))


def failing(call, time):
    calls = []

    def fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == time:
            raise KeyError("dense")
        return call(*args, **kwargs)

    return fails, calls


class TestTwoStreams:
    """The blocks add to content and query with the same weights."""

    def test_xlnet(self):
        backbone = backbone_of(XLNET)
        plain = two_streams_of_xlnet(backbone)
        keras_laurel.laurelize(backbone, prototype("rw+lr+pa"))
        for y, expected in zip(two_streams_of_xlnet(backbone), plain):
            np.testing.assert_array_equal(y, expected)
        perturb(backbone)
        moved = two_streams_of_xlnet(backbone)
        for y, expected in zip(moved, plain):
            assert abs(y - expected).max() > 1e-3
        # The same stream twice is the same: neither reads the other's past.
        content, query = two_streams_of_xlnet(backbone, alike=True)
        np.testing.assert_allclose(content, query, atol=1e-5)

    def test_parseq(self):
        backbone, x = backbone_of(PARSEQ), PARSEQ.inputs()
        plain = logits(backbone, x)
        keras_laurel.laurelize(backbone, prototype("rw+lr+pa"))
        np.testing.assert_array_equal(logits(backbone, x), plain)
        perturb(backbone)
        actual = logits(backbone, x)
        expected = oracle.parseq_by_hand(backbone, PARSEQ, x)
        assert abs(actual - plain).max() > 1e-3
        assert oracle.difference(actual, expected) < 1e-5


def two_streams_of_xlnet(backbone, alike=False):
    rng = np.random.default_rng(0)
    content, query, position = (
        ops.convert_to_tensor(rng.normal(size=(2, n, 16)).astype("float32"))
        for n in (5, 5, 10)
    )
    if alike:
        query = content
    mask = ops.zeros((2, 5, 5))
    for block in backbone.transformer_layers:
        content, query = block(
            output_content=content,
            attn_mask_content=mask,
            attn_mask_query=mask,
            pos_emb=position,
            seg_mat=ops.zeros((2, 5, 5), "bool"),
            output_query=query,
        )
    return [ops.convert_to_numpy(y) for y in (content, query)]
