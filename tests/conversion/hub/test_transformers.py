"""Converted transformers, for four families of KerasHub.

`make test-families` shows it for each.
"""

from concurrent import futures

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from tests.backends import IS_FASTEST
from tests.backends import rows
from tests.conversion.hub import oracle
from tests.conversion.hub.checks import ALL
from tests.conversion.hub.checks import FIRST_KERAS_HUB
from tests.conversion.hub.checks import FIRST_KERAS_LAUREL
from tests.conversion.hub.checks import FOUR
from tests.conversion.hub.checks import GRANULARITIES
from tests.conversion.hub.checks import VARIANTS
from tests.conversion.hub.checks import converted_task
from tests.conversion.hub.checks import generated
from tests.conversion.hub.checks import greedy_by_recomputation
from tests.conversion.hub.checks import laurel_weights
from tests.conversion.hub.checks import loaded_in_fresh_process
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import perturb
from tests.conversion.hub.checks import plain_task
from tests.conversion.hub.checks import prototype
from tests.conversion.hub.checks import quantize_int8
from tests.conversion.hub.checks import save_for_fresh_process
from tests.conversion.hub.checks import train
from tests.conversion.hub.checks import values

pytestmark = pytest.mark.usefixtures("quick_compilation")

WITH_LAYOUT_MAP = ("Llama", "Gemma")

# JAX compiles each operation for each new shape: all tests use these.
SIZE = dict(batch=2, length=8)

# GPT2 in all variants, the others in the fullest and in that without a rank.
CASES = [("GPT2", variant) for variant in VARIANTS] + [
    (name, variant) for name in FOUR[1:] for variant in ("pa", "rw+lr+pa")
]
FULLEST = [(name, "rw+lr+pa") for name in FOUR]
each_case = pytest.mark.parametrize(
    ("name", "variant"), rows(CASES, [*FULLEST, ("GPT2", "lr")])
)
each_granularity = pytest.mark.parametrize("granularity", GRANULARITIES)


@pytest.fixture(params=FOUR, scope="module")
def family(request):
    return ALL[request.param]


class TestTheStart:
    """The converted model computes what the plain one did."""

    @each_granularity
    def test_the_layers_are_counted(self, family, granularity):
        backbone = family.backbone()
        before = backbone.count_params()
        sites = keras_laurel.residual_sites(backbone)
        assert len(sites) == family.num_blocks
        keras_laurel.laurelize(
            backbone, prototype("lr"), granularity=granularity
        )
        layers = keras_laurel.laurel_layers(backbone)
        per_block = 1 + (granularity == "sublayer")
        assert len(layers) == family.num_blocks * per_block
        added = backbone.count_params() - before
        assert added == len(layers) * 2 * 2 * 16

    def test_variables_keep_their_paths(self, family):
        task = plain_task(family)
        plain = [v.path for v in task.variables]
        keras_laurel.laurelize(task, prototype("rw+lr+pa"))
        paths = [v.path for v in task.variables]
        assert [p for p in paths if "/laurel_" not in p] == plain
        blocks = family.block_list(task.backbone)
        assert {p for p in paths if "/laurel_" in p} == {
            f"{block.path}/laurel_residual/laurel_{name}"
            for block in blocks
            for name in ("residual_weights", "a", "b", "gamma")
        }


class TestTheEquation:
    """Moved off their start, the layers compute what the paper says."""

    @each_granularity
    @each_case
    def test_equals_blocks_written_by_hand(self, name, variant, granularity):
        family = ALL[name]
        x = family.inputs(**SIZE)
        keras.utils.set_random_seed(0)
        backbone = family.backbone()
        plain = logits(backbone, x)
        keras_laurel.laurelize(
            backbone, prototype(variant), granularity=granularity
        )
        np.testing.assert_array_equal(logits(backbone, x), plain)
        perturb(backbone)
        actual = logits(backbone, x)
        with oracle.by_hand(backbone, family, granularity) as by_hand:
            expected = logits(backbone, x)
        assert by_hand.calls == len(keras_laurel.laurel_layers(backbone))
        assert oracle.difference(actual, expected) < 1e-5
        assert oracle.difference(actual, plain) > 1e-3

    @each_granularity
    @pytest.mark.parametrize(
        "options",
        [
            dict(share_low_rank=True),
            dict(normalize="rms"),
            dict(num_activations=4),
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_with_other_options(self, options, granularity):
        """In code units: which only NumPy's reference knows."""
        family = ALL["Llama"]
        x = family.inputs(**SIZE)
        task = plain_task(family)
        layer = prototype("rw+lr+pa", **options)
        keras_laurel.laurelize(task, layer, granularity=granularity)
        perturb(task)
        actual = logits(task, x)
        with oracle.by_hand(task, family, granularity, oracle.in_numpy):
            expected = logits(task, x)
        assert oracle.difference(actual, expected) < 1e-5

    def test_some_blocks_only(self):
        family = ALL["Llama"]
        x = family.inputs(**SIZE)
        task = plain_task(family)
        sites = keras_laurel.residual_sites(task)
        keras_laurel.laurelize(
            task, prototype("rw+lr+pa"), sites=[sites[3], *sites[:2]]
        )
        perturb(task)
        actual = logits(task, x)
        with oracle.by_hand(task, family, "block") as by_hand:
            expected = logits(task, x)
        assert by_hand.calls == 3
        assert oracle.difference(actual, expected) < 1e-5


class TestPasses:
    def test_threads_do_not_disturb_each_other(self):
        family = ALL["Llama"]
        task = converted_task(family, "rw+lr+pa", "sublayer")
        xs = [family.inputs(**SIZE, seed=seed) for seed in range(4)]
        expected = [logits(task, x) for x in xs]
        with futures.ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                actual = list(pool.map(lambda x: logits(task, x), xs))
                np.testing.assert_array_equal(actual, expected)


class TestTraining:
    @each_case
    def test_a_gradient_reaches_every_weight(self, name, variant):
        family = ALL[name]
        task = converted_task(family, variant)
        before = values(laurel_weights(task))
        losses = train(task, family.inputs(**SIZE), 2, run_eagerly=True)
        assert losses[1] < losses[0]
        for old, new in zip(before, values(laurel_weights(task))):
            assert (old != new).any()

    @each_granularity
    def test_rematerialised_it_learns_the_same(self, granularity, monkeypatch):
        """By layer names: the plain models fail with mode "full" on JAX."""
        family = ALL["Llama"]
        x = family.inputs(**SIZE)
        blocks = [f"transformer_layer_{i}" for i in range(4)]
        runs = []
        for names in ([], blocks):
            count = count_rematerialised(monkeypatch)
            with keras.RematScope("list_of_layers", layer_names=names):
                task = converted_task(family, "rw+lr+pa", granularity)
            losses = train(task, x, 2)
            runs.append((losses, values(task.trainable_variables)))
            assert bool(count) == bool(names)
        (plain_losses, plain), (losses, weights) = runs
        np.testing.assert_allclose(losses, plain_losses, rtol=1e-6)
        for actual, expected in zip(weights, plain):
            np.testing.assert_allclose(actual, expected, atol=1e-6)


def count_rematerialised(monkeypatch):
    """A list that grows with each function Keras rematerialises."""
    from keras.src.backend.common import remat

    seen, original = [], remat.remat

    def counted(function):
        seen.append(function)
        return original(function)

    monkeypatch.setattr(remat, "remat", counted)
    return seen


class TestGeneration:
    @pytest.mark.parametrize(
        ("name", "variant", "granularity"),
        [(name, "rw+lr+pa", "sublayer") for name in FOUR]
        + [("GPT2", "rw+lr", "block")],
    )
    def test_equals_recomputation(self, name, variant, granularity):
        family = ALL[name]
        task = converted_task(family, variant, granularity)
        task.compile(sampler="greedy")
        prompt = family.prompt(**SIZE)
        np.testing.assert_array_equal(
            generated(task, prompt), greedy_by_recomputation(task, prompt)
        )

    def test_a_layer_for_each_block(self, tmp_path):
        """As the function of the site says; saved, and cached as computed."""
        family = ALL["Llama"]
        variants = iter(["pa", None, "rw+lr+pa"])
        task = plain_task(family)
        for_each = [next(variants, "rw") for _ in range(family.num_blocks)]
        names = [x.name for x in keras_laurel.residual_sites(task)]

        def choose(site):
            variant = for_each[names.index(site.name)]
            return variant and prototype(variant)

        task = keras_laurel.laurelize(task, choose)
        layers = keras_laurel.laurel_layers(task)
        assert len(layers) == family.num_blocks - (None in for_each)
        perturb(task)
        task.compile(sampler="greedy")
        prompt = family.prompt(**SIZE)
        expected = generated(task, prompt)
        np.testing.assert_array_equal(
            expected, greedy_by_recomputation(task, prompt)
        )
        task.backbone.save(tmp_path / "backbone.keras")
        loaded = keras.models.load_model(tmp_path / "backbone.keras")
        x = family.inputs(**SIZE)
        np.testing.assert_array_equal(
            logits(loaded, x), logits(task.backbone, x)
        )

    def test_convert_between_two_generations(self):
        family = ALL["Llama"]
        prompt = family.prompt(**SIZE)
        task = plain_task(family)
        task.compile(sampler="greedy")
        plain = generated(task, prompt)
        keras_laurel.laurelize(task, prototype("rw+lr+pa"))
        np.testing.assert_array_equal(generated(task, prompt), plain)
        perturb(task)
        moved = generated(task, prompt)
        assert (moved != plain).any()
        np.testing.assert_array_equal(
            moved, greedy_by_recomputation(task, prompt)
        )

    @pytest.mark.parametrize("sampler", ["top_k", "beam", "contrastive"])
    def test_samplers_that_choose_the_best_are_greedy(self, sampler):
        import keras_hub

        family = ALL["Llama"]
        samplers = {
            "top_k": lambda: keras_hub.samplers.TopKSampler(k=1),
            "beam": lambda: keras_hub.samplers.BeamSampler(num_beams=1),
            "contrastive": lambda: keras_hub.samplers.ContrastiveSampler(
                k=2, alpha=0.0
            ),
        }
        task = converted_task(family, "rw+lr+pa", "sublayer")
        task.compile(sampler=samplers[sampler]())
        prompt = family.prompt(**SIZE)
        np.testing.assert_array_equal(
            generated(task, prompt), greedy_by_recomputation(task, prompt)
        )

    def test_two_beams_are_repeatable(self):
        family = ALL["GPT2"]
        task = converted_task(family)
        task.compile(sampler="beam")
        first, second = (generated(task, family.prompt()) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize("name", ["GPT2", "Llama", "Mixtral"])
    def test_score_is_the_logits(self, name):
        family = ALL[name]
        x = family.inputs(**SIZE)
        task = converted_task(family, "rw+lr+pa", "sublayer")
        scores = task.score(x["token_ids"], padding_mask=x["padding_mask"])
        np.testing.assert_array_equal(
            ops.convert_to_numpy(scores), logits(task, x)
        )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of two families, Llama first; of four on the fastest backend."""
    root = tmp_path_factory.mktemp("tasks")
    folders = []
    families = [
        ("Llama", "sublayer"),
        ("GPT2", "block"),
        ("Gemma3", "sublayer"),
        ("Mixtral", "sublayer"),
    ]
    for name, granularity in families if IS_FASTEST else families[:2]:
        task = converted_task(ALL[name], "rw+lr+pa", granularity)
        folders.append(root / f"{name}_{granularity}")
        save_for_fresh_process(task, ALL[name].inputs(**SIZE), folders[-1])
    return folders


class TestSaving:
    @pytest.mark.parametrize(
        "imports",
        [FIRST_KERAS_LAUREL, FIRST_KERAS_HUB],
        ids=["keras_laurel_first", "keras_hub_first"],
    )
    def test_exact_in_a_fresh_process(self, saved, imports):
        some = saved if imports == FIRST_KERAS_LAUREL else saved[:1]
        loaded = loaded_in_fresh_process(some, imports)
        assert loaded == {
            str(folder): {
                way: expected_report(*folder.name.split("_"))
                for way in ("keras", "weights", "preset", "backbone_preset")
            }
            for folder in some
        }

    def test_a_plain_preset_loads_and_converts(self, family, tmp_path):
        import keras_hub

        x = family.inputs(**SIZE)
        task = plain_task(family)
        task.save_to_preset(str(tmp_path / "plain"))
        loaded = keras_hub.models.CausalLM.from_preset(str(tmp_path / "plain"))
        assert type(loaded) is type(task)
        keras_laurel.laurelize(loaded, prototype("rw+lr+pa"))
        np.testing.assert_array_equal(logits(loaded, x), logits(task, x))

    def test_a_preset_loads_in_another_precision(self, saved):
        import keras_hub

        folder = saved[0]
        task = keras_hub.models.LlamaCausalLM.from_preset(
            str(folder / "preset"), dtype="bfloat16"
        )
        assert type(task).__name__ == "LaurelLlamaCausalLM"
        assert {w.name: w.dtype for w in laurel_weights(task)} == {
            "laurel_residual_weights": "float32",
            "laurel_gamma": "float32",
            "laurel_a": "bfloat16",
            "laurel_b": "bfloat16",
        }
        x = ALL["Llama"].inputs(**SIZE)
        expected = np.load(folder / "outputs.npy")
        assert oracle.difference(logits(task, x), expected) < 0.05

    def test_a_backbone_is_built_from_its_config(self, family):
        backbone = converted_task(family, "rw+lr+pa", "sublayer").backbone
        built = type(backbone).from_config(backbone.get_config())
        assert [w.path for w in laurel_weights(built)] == [
            w.path for w in laurel_weights(backbone)
        ]

    def test_plain_backbone_weights_load_if_asked(self, tmp_path):
        family = ALL["Llama"]
        x = family.inputs(**SIZE)
        plain = plain_task(family, seed=1)
        path = tmp_path / "plain.weights.h5"
        plain.backbone.save_weights(path)
        task = plain_task(family)
        keras_laurel.laurelize(task, prototype("rw+lr+pa"))
        with pytest.warns(UserWarning, match="laurel_residual"):
            task.backbone.load_weights(path, skip_mismatch=True)
        np.testing.assert_array_equal(logits(task, x), logits(plain, x))

    @pytest.mark.filterwarnings("ignore:Skipping nested container")
    @pytest.mark.parametrize("part", ["task", "backbone"])
    def test_plain_weights_say_what_to_do(self, part, tmp_path):
        task = plain_task(ALL["Llama"])
        model = task if part == "task" else task.backbone
        model.save_weights(tmp_path / "plain.weights.h5")
        keras_laurel.laurelize(task, prototype("rw+lr"))
        with pytest.raises(ValueError, match="saved before `laurelize`, load"):
            model.load_weights(tmp_path / "plain.weights.h5")


def expected_report(name, granularity):
    blocks = ALL[name].num_blocks
    return dict(
        difference=0.0,
        task=f"Laurel{name}CausalLM",
        backbone=f"Laurel{name}Backbone",
        laurels=blocks * (1 + (granularity == "sublayer")),
    )


class TestLora:
    def test_laurel_layers_stay_trainable(self, family):
        task = plain_task(family)
        task.backbone.enable_lora(2)
        plain = [v.path for v in task.trainable_variables]
        task = converted_task(family)
        task.backbone.enable_lora(2)
        assert_trainable(task, plain)

    def test_convert_after_it(self, family):
        x = family.inputs(**SIZE)
        task = plain_task(family)
        task.backbone.enable_lora(2)
        move_lora(task)
        plain = [v.path for v in task.trainable_variables]
        expected = logits(task, x)
        keras_laurel.laurelize(task, prototype("rw+lr+pa"))
        np.testing.assert_array_equal(logits(task, x), expected)
        assert_trainable(task, plain)

    @each_granularity
    def test_also_around_blocks_without_lora(self, granularity):
        """As those of linear attention in Qwen 3.5, which have no query."""
        for trainable in (True, False):
            task = plain_task(ALL["Llama"])
            task.backbone.enable_lora(2)
            block = task.backbone.transformer_layers[0]
            for layer in block._flatten_layers():
                layer.trainable = False
            plain = [v.path for v in task.trainable_variables]
            layer = prototype("rw+lr+pa")
            layer.trainable = trainable
            keras_laurel.laurelize(task, layer, granularity=granularity)
            if trainable:
                assert_trainable(task, plain)
            else:
                assert [v.path for v in task.trainable_variables] == plain

    def test_frozen_laurel_layers_stay_frozen(self):
        task = converted_task(ALL["Llama"])
        for layer in keras_laurel.laurel_layers(task):
            layer.trainable = False
        task.backbone.enable_lora(2)
        assert not any("laurel" in v.path for v in task.trainable_variables)

    @pytest.mark.parametrize("writer", ["plain", "converted"])
    def test_files_fit_across_conversion(self, family, writer, tmp_path):
        tasks = {"plain": plain_task(family), "converted": plain_task(family)}
        keras_laurel.laurelize(tasks["converted"], prototype("rw+lr+pa"))
        for task in tasks.values():
            task.backbone.enable_lora(2)
        (reader,) = set(tasks) - {writer}
        move_lora(tasks[writer])
        path = str(tmp_path / "adapter.lora.h5")
        tasks[writer].backbone.save_lora_weights(path)
        tasks[reader].backbone.load_lora_weights(path)
        x = family.inputs(**SIZE)
        np.testing.assert_array_equal(
            logits(tasks[reader], x), logits(tasks[writer], x)
        )


def move_lora(task):
    rng = np.random.default_rng(0)
    found = [v for v in task.trainable_variables if "lora_kernel" in v.path]
    assert found
    for variable in found:
        variable.assign(rng.normal(size=variable.shape))


def assert_trainable(task, plain):
    """Check that `plain` and all LAuReL weights are what is trainable."""
    laurels = [v.path for v in laurel_weights(task)]
    paths = [v.path for v in task.trainable_variables]
    assert sorted(paths) == sorted([*plain, *laurels])


@pytest.mark.filterwarnings(
    "ignore:Layer .* does not have a `quantize`",
    "ignore:The use of `x.T` on tensors",
)
class TestQuantization:
    def test_int8_reloads_exactly(self, tmp_path):
        family = ALL["Llama"]
        x = family.inputs(**SIZE)
        task = converted_task(family, "rw+lr+pa", "sublayer")
        before = logits(task, x)
        quantize_int8(task)
        expected = logits(task, x)
        assert 0 < oracle.difference(expected, before) < 0.3
        assert {w.dtype for w in laurel_weights(task)} == {"float32"}
        assert "int8" in {v.dtype for v in task.variables}
        task.save(tmp_path / "task.keras")
        loaded = keras.saving.load_model(tmp_path / "task.keras", compile=False)
        np.testing.assert_array_equal(logits(loaded, x), expected)

    @pytest.mark.parametrize("mode", ["GPTQConfig", "AWQConfig"])
    def test_by_calibration_is_refused_with_previous_activations(self, mode):
        task = converted_task(ALL["Llama"])
        config = getattr(keras.quantizers, mode)(["text"], str.split)
        for model in (task, task.backbone):
            with pytest.raises(ValueError, match="one block at a time"):
                model.quantize(config=config)


class TestSharding:
    @pytest.mark.parametrize("name", WITH_LAYOUT_MAP)
    def test_layout_maps_match_what_they_did(self, name):
        task = plain_task(ALL[name])
        before = matched(task.backbone)
        assert before
        keras_laurel.laurelize(task, prototype("rw+lr+pa"))
        assert matched(task.backbone) == before


def matched(backbone):
    """The paths and specs that the family's layout map has for variables."""
    mesh = keras.distribution.DeviceMesh(
        (1, 1), ("batch", "model"), np.array(["cpu:0"])
    )
    layout_map = type(backbone).get_layout_map(mesh)
    specs = {v.path: layout_map[v.path] for v in backbone.variables}
    return {
        path: layout.axes
        for path, layout in specs.items()
        if layout is not None
    }


class TestWhatIsTrained:
    """A converted model is frozen and thawed as any model is."""

    def test_freezing_the_backbone_freezes_all(self):
        task = converted_task(ALL["Llama"])
        task.backbone.trainable = False
        assert task.trainable_variables == []

    def test_laurel_layers_alone(self, family):
        backbone = converted_task(family).backbone
        for layer in backbone.layers:
            layer.trainable = False
        for layer in keras_laurel.laurel_layers(backbone):
            layer.trainable = True
        assert {id(v) for v in backbone.trainable_variables} == {
            id(v) for v in laurel_weights(backbone)
        }


def test_keras_nlp_is_keras_hub():
    import keras_nlp

    family = ALL["GPT2"]
    x = family.inputs(**SIZE)
    backbone = family.backbone()
    task = keras_nlp.models.GPT2CausalLM(backbone, preprocessor=None)
    expected = logits(task, x)
    assert keras_laurel.laurelize(task, prototype("rw+lr")) is task
    np.testing.assert_array_equal(logits(task, x), expected)
    assert type(task).__name__ == "LaurelGPT2CausalLM"
    assert isinstance(task, keras_nlp.models.GPT2CausalLM)
