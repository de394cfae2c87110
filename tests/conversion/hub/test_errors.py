"""Errors in the conversion of transformers, which leave models unchanged."""

import inspect

import keras
import numpy as np
import pytest

import keras_laurel
from keras_laurel.conversion.hub import families
from tests.backends import once
from tests.conversion import graphs
from tests.conversion.hub import rows
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import plain_task
from tests.conversion.hub.checks import prototype
from tests.conversion.hub.rows import DECODERS
from tests.conversion.hub.rows import GEMMA3N

pytestmark = once

ALL = {family.name: family for family in [*DECODERS, GEMMA3N]}
LLAMA = ALL["Llama"]


def refuses(message, model, layer=None, **kwargs):
    """`laurelize` raises, and the model is what it was."""
    before = state(model)
    with pytest.raises(ValueError, match=message):
        keras_laurel.laurelize(
            model, layer or keras_laurel.LaurelRW(), **kwargs
        )
    assert state(model) == before


def state(model):
    """Whose parts are which, of which class, with which attributes."""
    layers = model._flatten_layers()
    return [
        [(id(x), type(x), sorted(vars(x))) for x in layers],
        [(id(v), v.path) for v in model.variables],
        id(getattr(model, "optimizer", None)),
    ]


def test_outputs_stay_too():
    backbone = LLAMA.backbone()
    x = LLAMA.inputs()
    expected = logits(backbone, x)
    refuses("rank=17", backbone, keras_laurel.LaurelLR(rank=17))
    np.testing.assert_array_equal(logits(backbone, x), expected)
    keras_laurel.laurelize(backbone, keras_laurel.LaurelLR(rank=2))
    np.testing.assert_array_equal(logits(backbone, x), expected)


class TestLayer:
    def test_a_rank_above_the_width(self):
        message = "(?s)does not fit the block 'transformer_layer_0'.*rank=17"
        refuses(message, plain_task(LLAMA), keras_laurel.LaurelLR(rank=17))

    @pytest.mark.parametrize(
        ("granularity", "connections"), [("block", 4), ("sublayer", 8)]
    )
    def test_more_activations_than_connections(self, granularity, connections):
        backbone = LLAMA.backbone()
        layer = prototype("pa", num_activations=connections + 1)
        refuses(
            f"num_activations={connections + 1}; LlamaBackbone .* has "
            f"{connections} connections",
            backbone,
            layer,
            granularity=granularity,
        )
        layer = prototype("pa", num_activations=connections)
        keras_laurel.laurelize(backbone, layer, granularity=granularity)

    def test_more_activations_than_chosen_blocks(self):
        backbone = LLAMA.backbone()
        sites = keras_laurel.residual_sites(backbone)[:2]
        message = "num_activations=3; .* has 2 connections"
        refuses(message, backbone, prototype("pa"), sites=sites)

    def test_an_axis_that_is_not_the_features(self):
        layer = keras_laurel.LaurelLR(rank=2, axis=1)
        refuses("does not fit the block", LLAMA.backbone(), layer)

    def test_a_function_that_fits_no_block(self):
        def layer(site):
            return keras_laurel.LaurelLR(rank=2, axis=1)

        refuses("does not fit the block", LLAMA.backbone(), layer)

    @pytest.mark.parametrize("layer", ["rw", keras_laurel.LaurelRW])
    def test_not_a_laurel_layer(self, layer):
        refuses("must be a LAuReL layer", LLAMA.backbone(), layer)


class TestGranularity:
    @pytest.mark.filterwarnings("ignore:The 'rwkv_ops' package")
    def test_blocks_that_also_run_in_another_way(self):
        """Their additions would stay plain in cached generation."""
        message = r"RWKV7_Block also runs through \['generate_call'\]"
        refuses(message, ALL["RWKV7"].backbone(), granularity="sublayer")

    def test_unknown(self):
        message = "`granularity` must be one of .*Received: granularity='layer'"
        refuses(message, LLAMA.backbone(), granularity="layer")

    def test_a_functional_model(self):
        message = "none of whose layers computes y = x"
        refuses(message, graphs.operators(), granularity="block")


class TestSites:
    def test_none(self):
        refuses("`sites` must not be empty", LLAMA.backbone(), sites=[])

    @pytest.mark.parametrize(
        "sites",
        [
            lambda: keras_laurel.residual_sites(LLAMA.backbone()),
            lambda: keras_laurel.residual_sites(graphs.operators()),
            lambda: [0, 1],
        ],
        ids=["of_a_twin", "of_a_graph", "indices"],
    )
    def test_of_something_else(self, sites):
        message = "must hold residual sites of .*which is not one"
        refuses(message, LLAMA.backbone(), sites=sites())

    def test_they_say_what_they_are(self):
        task = plain_task(LLAMA)
        sites = keras_laurel.residual_sites(task)
        assert [site.kind for site in sites] == ["block"] * 4
        assert [site.name for site in sites] == [
            f"transformer_layer_{i}" for i in range(4)
        ]
        assert {site.output_shape for site in sites} == {(None, None, 16)}


class TestModel:
    @pytest.mark.parametrize("again", ["task", "backbone"])
    def test_converted_twice(self, again):
        task = plain_task(LLAMA)
        keras_laurel.laurelize(task.backbone, keras_laurel.LaurelRW())
        model = task if again == "task" else task.backbone
        refuses("has 4 LAuReL layers already", model)

    def test_a_task_made_of_a_converted_backbone(self):
        """It runs, but is no task that a preset would know again."""
        backbone = LLAMA.backbone()
        keras_laurel.laurelize(backbone, keras_laurel.LaurelRW())
        task = LLAMA.task(backbone)
        assert len(keras_laurel.laurel_layers(task)) == 4
        assert type(task.backbone).__name__ == "LaurelLlamaBackbone"

    def test_laurel_inside_already(self):
        message = "a Gemma3nBackbone, which `laurelize` does not support: .*Alt"
        refuses(message, GEMMA3N.backbone())

    def test_a_task_that_needs_another(self):
        import keras_hub

        assistant = keras_hub.models.Gemma4AssistantCausalLM(
            backbone=ALL["Gemma4"].backbone(),
            backbone_hidden_size=16,
            num_centroids=4,
            centroid_intermediate_top_k=2,
            use_ordered_embeddings=False,
            preprocessor=None,
        )
        message = "a Gemma4AssistantCausalLM, .* does not support: it drafts"
        refuses(message, assistant)


@pytest.mark.parametrize("part", ["task", "backbone", "named blocks"])
def test_a_hugging_face_export(part, tmp_path):
    """It would leave LAuReL out without a word."""
    gpt2 = ALL["GPT2"]
    if part == "task":
        model = plain_task(gpt2)
    else:
        model = gpt2.backbone()
    blocks = model.transformer_layers if part == "named blocks" else None
    layer = keras_laurel.LaurelRW()
    model = keras_laurel.laurelize(model, layer, blocks=blocks)
    with pytest.raises(ValueError, match='format="onnx".*remove_laurel'):
        model.export_to_transformers(tmp_path / "exported")
    assert not list(tmp_path.iterdir())


class TestOrder:
    """Previous activations come from the blocks before, in the same pass."""

    def test_a_block_by_itself(self):
        backbone = LLAMA.backbone()
        keras_laurel.laurelize(backbone, prototype("pa"))
        x = np.ones((1, 4, 16), "float32")
        with pytest.raises(ValueError, match="2 ran where 0 was expected"):
            backbone.transformer_layers[2](x)

    def test_a_block_by_itself_without_them(self):
        backbone = LLAMA.backbone()
        keras_laurel.laurelize(backbone, prototype("rw+lr"))
        x = np.ones((1, 4, 16), "float32")
        assert backbone.transformer_layers[2](x).shape == x.shape

    @pytest.mark.parametrize("granularity", ["block", "sublayer"])
    def test_an_error_in_a_pass_does_not_poison_the_next(
        self, granularity, monkeypatch
    ):
        backbone = LLAMA.backbone()
        layer = prototype("rw+lr+pa")
        keras_laurel.laurelize(backbone, layer, granularity=granularity)
        x = LLAMA.inputs()
        expected = logits(backbone, x)

        def fail(*args, **kwargs):
            raise KeyError("attention")

        attention = backbone.transformer_layers[2]._self_attention_layer
        with monkeypatch.context() as patch:
            patch.setattr(type(attention), "call", fail)
            with pytest.raises(KeyError):
                logits(backbone, x)
        np.testing.assert_array_equal(logits(backbone, x), expected)


class TestAnotherKerasHub:
    """A version that LAuReL does not know is refused, not half converted."""

    def test_the_list_of_blocks_has_another_name(self):
        backbone = LLAMA.backbone()
        backbone.decoder_layers = backbone.transformer_layers
        del backbone.transformer_layers
        message = (
            "`LlamaBackbone.transformer_layers` must hold .*Received: "
            "`LlamaBackbone` has no attribute `transformer_layers`. This "
            "version of KerasHub is not supported"
        )
        refuses(message, backbone)

    def test_the_blocks_are_of_another_class(self):
        backbone = LLAMA.backbone()
        for block in backbone.transformer_layers:
            block.__class__ = type("LlamaBlock", (keras.layers.Layer,), {})
        refuses(r"must hold blocks of .*: \['LlamaBlock'\]", backbone)

    @pytest.mark.parametrize("granularity", ["block", "sublayer"])
    @pytest.mark.parametrize("name", ["call_with_state", "decode_step"])
    def test_the_block_can_be_run_in_another_way(
        self, name, granularity, monkeypatch
    ):
        backbone = LLAMA.backbone()
        block_class = type(backbone.transformer_layers[0])
        monkeypatch.setattr(block_class, name, block_class.call, raising=False)
        message = rf"the methods \('call',\) and .* also has \['{name}'\]"
        refuses(message, backbone, granularity=granularity)


class TestTheTable:
    """`families` against what this version of KerasHub exports."""

    def tasks(self):
        """The task classes by the name of their backbone's class."""
        import keras_hub

        tasks = {}
        for name, task in inspect.getmembers(keras_hub.models, inspect.isclass):
            is_task = issubclass(task, keras_hub.models.Task)
            # Some have a second name.
            if is_task and task.backbone_cls and task.__name__ == name:
                tasks.setdefault(task.backbone_cls.__name__, set()).add(name)
        return tasks

    def test_every_causal_lm_has_a_row(self):
        known = {*families.FAMILIES, *families.UNSUPPORTED}
        with_causal_lm = {
            backbone
            for backbone, tasks in self.tasks().items()
            if any(name.endswith("CausalLM") for name in tasks)
        }
        assert len(with_causal_lm) > 20
        assert with_causal_lm <= known

    def test_every_row_has_a_class(self):
        import keras_hub

        names = [*families.FAMILIES, *families.UNSUPPORTED]
        assert len(names) == len(set(names))
        for name in names:
            assert isinstance(getattr(keras_hub.models, name), type)

    @pytest.mark.parametrize("backbone", families.FAMILIES)
    def test_the_tasks_of_a_row(self, backbone):
        family = families.FAMILIES[backbone]
        prefix = backbone.removesuffix("Backbone")
        exported = self.tasks().get(backbone, set())
        exported -= {*families.UNSUPPORTED}
        assert {prefix + suffix for suffix in family.tasks} == exported

    def test_every_row_is_in_the_tests(self):
        assert {row.backbone_class for row in rows.FAMILIES} == {
            *families.FAMILIES,
            "Gemma3nBackbone",
        }
