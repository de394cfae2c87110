"""Every KerasHub family that converts, and all that it does then.

`make test-families` runs this. It writes what it finds to
`results/families.json`, of which `docs/families.md` is made. Where a row of
`rows` says that the plain model lacks something, that is shown
too: when KerasHub mends it, the test says so.
"""

import contextlib
import os
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_laurel
from keras_laurel.conversion.hub import families
from tests.backends import IS_FASTEST
from tests.conversion.hub import oracle
from tests.conversion.hub import rows
from tests.conversion.hub.checks import VARIANTS
from tests.conversion.hub.checks import generated
from tests.conversion.hub.checks import laurel_weights
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import perturb
from tests.conversion.hub.checks import prototype
from tests.conversion.hub.checks import quantize_int8
from tests.conversion.hub.checks import values
from tests.conversion.hub.family_results import absent
from tests.conversion.hub.family_results import proves
from tests.conversion.hub.family_results import refused
from tests.conversion.hub.family_results import upstream
from tests.conversion.hub.fresh_loader import FreshProcess

pytestmark = [
    pytest.mark.families,
    # RWKV7 says that it is slow without it.
    pytest.mark.filterwarnings("ignore:The 'rwkv_ops' package"),
    # T5's layers say that they do not support the masks they are given.
    pytest.mark.filterwarnings(
        "ignore:(?s).*(unbuilt state|support masking):UserWarning"
    ),
    # RoformerV2's positions are indexed with a list, which PyTorch warns of.
    pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning"),
    # XLNet and DINOv2 have a weight for a mask that they are not given.
    pytest.mark.filterwarnings(
        r"ignore:Gradients do not .*\['\w+/mask_(emb|token)':UserWarning"
    ),
]

REPRESENTATIVE = ("GPT2", "Llama", "Gemma3", "Mixtral")
# JAX compiles each operation for each new shape: all tests use these.
BATCH, LENGTH, PROMPT = 2, 8, 4


def of_table(known):
    """The families of a table of `families`, on this backend."""
    everywhere = IS_FASTEST or "ALL_FAMILIES" in os.environ
    return [
        pytest.param(
            family, id=family.name, marks=pytest.mark.xdist_group(family.name)
        )
        for family in rows.FAMILIES
        if family.backbone_class in known
        and (everywhere or family.name in REPRESENTATIVE)
    ]


@pytest.fixture(params=of_table(families.FAMILIES), scope="module")
def family(request):
    with quick(request.param):
        yield request.param


def quick(family):
    slow = family.slow and rows.short_chunks()
    return slow or contextlib.nullcontext()


def inputs_of(family):
    return family.inputs(BATCH, LENGTH)


def plain_model(family, dtype=None):
    """The task of a family, or the backbone where it has none."""
    keras.utils.set_random_seed(0)
    backbone = family.backbone(dtype)
    return family.task(backbone) if family.task_class else backbone


def convert(model, variant="rw+lr+pa", granularity="block"):
    keras_laurel.laurelize(model, prototype(variant), granularity=granularity)
    perturb(model)
    return model


def converted_model(family, variant="rw+lr+pa", granularity="block"):
    return convert(plain_model(family), variant, granularity)


NO_SUBLAYER = {
    "RWKV7": "it generates by another method of its blocks than `call`",
    "Gemma4Vision": "without `inputs=`, an example of what it is called on",
    "Albert": "with previous activations, since blocks run several times",
}


def granularities(family):
    return ("block",) if family.name in NO_SUBLAYER else ("block", "sublayer")


def finest(family):
    return granularities(family)[-1]


def backbone_of(model):
    return getattr(model, "backbone", model)


def assert_lacks(attempt, *arguments):
    """That the plain model fails at what a row says that it lacks."""
    try:
        attempt(*arguments)
    except Exception:
        return
    raise AssertionError(
        "KerasHub does this now: take it out of what the row `lacks`."
    )


class TestOutputs:
    @proves("start")
    def test_no_bit_changes(self, family):
        x = inputs_of(family)
        for dtype in ("float32", "bfloat16"):
            expected = logits(plain_model(family, dtype), x)
            assert np.isfinite(expected).all() and np.ptp(expected) > 0
            for granularity in granularities(family):
                model = plain_model(family, dtype)
                layer = prototype("rw+lr+pa")
                result = keras_laurel.laurelize(
                    model, layer, granularity=granularity
                )
                assert result is model
                np.testing.assert_array_equal(logits(model, x), expected)

    @proves("compiled")
    def test_compiled_it_agrees_to_rounding(self, family):
        x = inputs_of(family)
        model = plain_model(family)
        expected = predicted(model, x)
        keras_laurel.laurelize(
            model, prototype("rw+lr+pa"), granularity=finest(family)
        )
        actual = predicted(model, x)
        assert oracle.difference(actual, expected) < 1e-5
        perturb(model)
        moved = predicted(model, x)
        assert oracle.difference(moved, logits(model, x)) < 1e-5

    @proves("equation")
    def test_equals_blocks_written_by_hand(self, family):
        x = inputs_of(family)
        for granularity in granularities(family):
            if granularity == "sublayer" and not oracle.rewrites(family):
                continue
            model = converted_model(family, granularity=granularity)
            actual = logits(model, x)
            if family.name == "PARSeq":
                expected = oracle.parseq_by_hand(model, family, x)
            else:
                with oracle.by_hand(model, family, granularity) as by_hand:
                    expected = logits(model, x)
                assert by_hand.calls == by_hand.expected
            difference = oracle.difference(actual, expected)
            # The plain model of Gemma4Shared moves by as much as 2e-5 when
            # its weights are rounded: it normalises numbers close to zero.
            limit = 1e-5
            if difference >= limit:
                limit = oracle.rounding(plain_model(family), x)
            assert difference < limit

    @proves("sublayer")
    def test_sublayer_is_refused_where_it_is_not_defined(self, family):
        if finest(family) == "sublayer":
            return None
        model = plain_model(family)
        why = "also runs through|times in one pass|Pass an example"
        with pytest.raises(ValueError, match=why):
            keras_laurel.laurelize(
                model, prototype("pa"), granularity="sublayer"
            )
        assert not keras_laurel.laurel_layers(model)
        return refused(NO_SUBLAYER[family.name])

    @proves("dropout")
    def test_no_bit_changes_under_dropout(self, family):
        x = inputs_of(family)
        if with_dropout(family) is None:
            return absent("no dropout")
        expected = in_training(with_dropout(family), x)
        model = plain_model(family)
        assert (in_training(backbone_of(model), x) != expected).any()
        for granularity in granularities(family):
            backbone = with_dropout(family)
            keras_laurel.laurelize(
                backbone, prototype("rw+lr+pa"), granularity=granularity
            )
            np.testing.assert_array_equal(in_training(backbone, x), expected)
        return None


def predicted(model, x):
    return keras.tree.flatten(model.predict(x, verbose=0))[0]


def with_dropout(family):
    """A backbone that drops half, or `None` where that cannot be set."""
    backbone = family.backbone()
    try:
        config = backbone.get_config()
    except NotImplementedError:
        return None
    rates = [key for key in config if key in ("dropout", "dropout_rate")]
    if not rates:
        return None
    keras.utils.set_random_seed(0)
    config.update({key: 0.5 for key in rates}, name=backbone.name)
    return type(backbone).from_config(config)


def in_training(backbone, x):
    y = keras.tree.flatten(backbone(x, training=True))[0]
    return ops.convert_to_numpy(y)


class TestTraining:
    @proves("trains")
    def test_a_gradient_reaches_every_weight(self, family):
        for variant in VARIANTS:
            assert_trains(converted_model(family, variant), family)
        model = converted_model(family, granularity=finest(family))
        assert_trains(model, family)

    @proves("remat")
    def test_rematerialised_it_learns_the_same(self, family):
        # Op by op, as here, TensorFlow trains what the others do not.
        lacks = {
            "jax": {"remat", "remat_on_jax"},
            "tensorflow": set(),
            "torch": {"remat"},
        }
        if lacks[keras.config.backend()] & set(family.lacks):
            assert_lacks(train_rematerialised, family)
            return upstream(
                "a plain model with rematerialised blocks does not train"
            )
        losses, weights = [], []
        for scope in (contextlib.nullcontext, rematerialised):
            with scope(family) if scope is rematerialised else scope():
                model = plain_model(family)
            convert(model, granularity=finest(family))
            losses.append(train(model, family, 2))
            weights.append(values(model.trainable_variables))
        np.testing.assert_allclose(*losses, rtol=1e-6)
        for plain, remat in zip(*weights, strict=True):
            np.testing.assert_allclose(plain, remat, atol=1e-6)
        return None


def rematerialised(family):
    blocks = family.block_list(family.backbone())
    return keras.RematScope(
        mode="list_of_layers", layer_names=[block.name for block in blocks]
    )


def train_rematerialised(family):
    with rematerialised(family):
        model = plain_model(family)
    train(model, family)


def assert_trains(model, family):
    before = values(laurel_weights(model))
    # Adam's step is as long where a gradient is small. EdRec's loss is so
    # steep that the plain model's rises too with steps of 1e-4.
    losses = train(model, family, 2, keras.optimizers.Adam(0.00001))
    assert losses[1] < losses[0]
    after = values(laurel_weights(model))
    for weight, old, new in zip(laurel_weights(model), before, after):
        assert (old != new).any(), weight.path


def train(model, family, steps=1, optimizer=None):
    """The losses of steps towards random tokens or, without, numbers."""
    x = inputs_of(family)
    rng = np.random.default_rng(0)
    shape = logits(model, x).shape
    if family.task_class:
        y = rng.integers(rows.VOCABULARY, size=shape[:-1])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        options = dict(weighted_metrics=[])
    else:
        y = rng.normal(size=shape)
        loss = keras.losses.MeanSquaredError()
        options = {}
        model = keras.Model(model.input, keras.tree.flatten(model.output)[0])
    optimizer = optimizer or keras.optimizers.SGD(0.001)
    model.compile(optimizer, loss, run_eagerly=True, **options)
    return [float(model.train_on_batch(x, y)) for _ in range(steps)]


class TestGeneration:
    @proves("generates")
    def test_the_best_tokens_are_those_of_recomputation(self, family):
        import keras_hub

        if not family.task_class:
            return absent("generates no text")
        best = keras_hub.samplers.TopKSampler(k=1)
        for variant, granularity, sampler in (
            ("rw+lr", "block", "greedy"),
            ("pa", "block", best),
            ("rw+lr+pa", finest(family), "greedy"),
        ):
            task = converted_model(family, variant, granularity)
            tokens = sampled(task, family, sampler)
            assert (tokens[:, :PROMPT] == prompt_tokens(family)).all()
            if "decode" in family.lacks:
                expected = generated_by_hand(task, family, granularity)
            else:
                expected = recomputed(task, family)
            np.testing.assert_array_equal(tokens, expected)
        if "decode" in family.lacks:
            assert_lacks(assert_decodes, family)
            return upstream(
                "with its cache the plain model generates other tokens than "
                "without; converted it does what blocks written by hand do"
            )
        return None

    @proves("samplers")
    def test_samplers_of_several_run(self, family):
        import keras_hub

        if not family.task_class:
            return absent("generates no text")
        task = converted_model(family, granularity=finest(family))
        samplers = {
            "beam": keras_hub.samplers.BeamSampler(num_beams=2),
            "contrastive": keras_hub.samplers.ContrastiveSampler(k=2, alpha=0),
        }
        lacking = [samplers.pop(x) for x in family.lacks if x in samplers]
        if "contrastive" in samplers:  # With this alpha it is greedy.
            tokens = sampled(task, family, samplers["contrastive"])
            if "decode" not in family.lacks:
                expected = recomputed(task, family)
                np.testing.assert_array_equal(tokens, expected)
        if "beam" in samplers:
            tokens = sampled(task, family, samplers["beam"])
            assert (tokens[:, :PROMPT] == prompt_tokens(family)).all()
            again = generated(task, prompt_of(family))
            np.testing.assert_array_equal(tokens, again)
        for sampler in lacking:
            assert_lacks(sampled, plain_model(family), family, sampler)
        if lacking:
            names = sorted(type(sampler).__name__ for sampler in lacking)
            return upstream(f"the plain model fails with {' and '.join(names)}")
        return None

    @proves("score")
    def test_score_is_the_logits(self, family):
        if not family.task_class:
            return absent("generates no text")
        task = converted_model(family, granularity=finest(family))
        if not hasattr(task, "score"):
            return absent("KerasHub has no `score()` for the family")
        x = inputs_of(family)
        scores = task.score(x["token_ids"], padding_mask=x["padding_mask"])
        np.testing.assert_array_equal(
            ops.convert_to_numpy(scores), logits(task, x)
        )
        return None


def sampled(task, family, sampler):
    task.compile(sampler=sampler)
    return generated(task, prompt_of(family))


def prompt_of(family):
    return family.prompt(BATCH, LENGTH, PROMPT)


def prompt_tokens(family):
    return inputs_of(family)[family.tokens][:, :PROMPT]


def recomputed(task, family):
    """The most likely tokens, each from the whole text anew."""
    tokens = inputs_of(family)[family.tokens]
    tokens[:, PROMPT:] = 0
    for i in range(PROMPT, LENGTH):
        following = logits(task, family.inputs_of(tokens, PROMPT))
        last = following.shape[1] - LENGTH + i - 1  # After the images.
        tokens[:, i] = following[:, last].argmax(axis=-1)
    return tokens


def generated_by_hand(task, family, granularity):
    on_tensors = oracle.on_tensors
    task.generate_function = None
    with oracle.by_hand(task, family, granularity, on_tensors):
        tokens = generated(task, prompt_of(family))
    task.generate_function = None
    return tokens


def assert_decodes(family):
    """That a plain model with large weights generates what it computes."""
    task = plain_model(family)
    task.compile(sampler="greedy")
    rng = np.random.default_rng(0)
    for _ in range(3):
        for v in task.trainable_variables:
            noise = rng.normal(scale=0.15, size=v.shape)
            v.assign(ops.convert_to_numpy(v) + noise)
        tokens = generated(task, prompt_of(family))
        assert (tokens == recomputed(task, family)).all()


@pytest.fixture(scope="module")
def keras_laurel_first(tmp_path_factory):
    yield from fresh_process(["keras_laurel"], tmp_path_factory)


@pytest.fixture(scope="module")
def keras_hub_first(tmp_path_factory):
    yield from fresh_process(["keras_hub", "keras_laurel"], tmp_path_factory)


def fresh_process(imports, tmp_path_factory):
    log = tmp_path_factory.mktemp(imports[0]) / "log.txt"
    process = FreshProcess(imports, log)
    yield process
    process.close()


def save(model, family, folder):
    """Everything that can be written, and what it computes."""
    x = inputs_of(family)
    folder.mkdir()
    np.savez(
        folder / "inputs.npz", **(x if isinstance(x, dict) else {"inputs": x})
    )
    np.save(folder / "backbone.npy", logits(backbone_of(model), x))
    if family.task_class:
        np.save(folder / "model.npy", logits(model, x))
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    model.save_to_preset(str(folder / "preset"))


class TestSaving:
    @proves("saves")
    def test_exact_in_a_fresh_process(
        self, family, keras_laurel_first, keras_hub_first, tmp_path
    ):
        model = converted_model(family, granularity=finest(family))
        save(model, family, tmp_path / "saved")
        count = len(keras_laurel.laurel_layers(model))
        whole = [type(model).__name__, count, 0.0]
        backbone = [type(backbone_of(model)).__name__, count, 0.0]
        expected = {"keras": whole, "weights": whole}
        if family.task_class:
            expected["preset"] = whole
        expected["backbone_preset"] = backbone
        for process in (keras_laurel_first, keras_hub_first):
            assert process.load(tmp_path / "saved", family) == expected
        assert whole[0] == f"Laurel{family.task_class or family.backbone_class}"
        if "task_preset" in family.lacks:
            return upstream(
                f"`{family.task_kind}.from_preset` finds another class for the "
                f"plain model; use `{family.task_class}.from_preset`"
            )
        if "preset_dtype" in family.lacks:
            return upstream(NO_PRESET_DTYPE)
        return None

    @proves("plain_preset")
    def test_a_plain_preset_loads_and_converts(self, family, tmp_path):
        import keras_hub

        x = inputs_of(family)
        model = plain_model(family)
        preset = str(tmp_path / "plain")
        model.save_to_preset(preset)
        cls = getattr(keras_hub.models, family.task_class or "Backbone")
        loaded = cls.from_preset(preset, **family.preset_options)
        assert type(loaded) is type(model)
        keras_laurel.laurelize(loaded, prototype("rw+lr+pa"))
        np.testing.assert_array_equal(logits(loaded, x), logits(model, x))
        if "preset_dtype" in family.lacks:
            assert_lacks(cls.from_preset, preset)
            return upstream(NO_PRESET_DTYPE)
        return None


NO_PRESET_DTYPE = "`from_preset` of the plain task fails; pass it `dtype=`"
NO_INT8 = {
    "quantize": "a plain model cannot be quantized to int8",
    "quantized_reload": "a plain int8 model does not reload from `.keras`",
}


class TestOtherFeatures:
    @proves("lora")
    def test_lora_before_and_after(self, family, tmp_path):
        targets = list(family.lora) or None
        x = inputs_of(family)
        before, after, plain = (plain_model(family) for _ in range(3))
        enable_lora(before, targets)
        move_lora(before)
        expected = logits(before, x)
        keras_laurel.laurelize(before, prototype("rw+lr+pa"))
        np.testing.assert_array_equal(logits(before, x), expected)
        enable_lora(plain, targets)
        paths = trainable_paths(plain)
        assert_trains_laurel_and(before, paths)
        keras_laurel.laurelize(after, prototype("rw+lr+pa"))
        enable_lora(after, targets)
        assert_trains_laurel_and(after, paths)
        exchange(before, after, family, tmp_path)
        exchange(after, plain, family, tmp_path)
        move_lora(plain, 1)
        exchange(plain, after, family, tmp_path)
        if targets:
            names = ", ".join(f"`{name}`" for name in targets)
            return upstream(
                "the default targets of LoRA match no layer; pass "
                f"target_layer_names: {names}"
            )
        return None

    # Keras warns of layers that have nothing to quantize.
    @pytest.mark.filterwarnings("ignore:Layer .* `quantize`:UserWarning")
    # And torch of how Keras multiplies by an int8 embedding.
    @pytest.mark.filterwarnings("ignore:The use of `x.T`:UserWarning")
    @proves("int8")
    def test_int8_reloads_exactly(self, family, keras_laurel_first, tmp_path):
        for lack, note in NO_INT8.items():
            if lack in family.lacks:
                plain = plain_model(family)
                assert_lacks(assert_int8_reloads, plain, family, tmp_path)
                return upstream(note)
        x = inputs_of(family)
        plain, model = (plain_model(family) for _ in range(2))
        # Bloom has a layer that is built by the first call, and Keras
        # quantizes none that is not built.
        np.testing.assert_array_equal(logits(model, x), logits(plain, x))
        quantize_int8(plain)
        layer = prototype("rw+lr+pa")
        keras_laurel.laurelize(model, layer, granularity=finest(family))
        quantize_int8(model)
        np.testing.assert_array_equal(logits(model, x), logits(plain, x))
        perturb(model)
        assert {w.dtype for w in laurel_weights(model)} == {"float32"}
        folder = tmp_path / "int8"
        save_int8(model, family, folder)
        found = keras_laurel_first.load(folder, family)
        count = len(keras_laurel.laurel_layers(model))
        assert found == {"keras": [type(model).__name__, count, 0.0]}
        return None

    @proves("layout_map")
    def test_the_layout_map_matches_what_it_did(self, family):
        model = plain_model(family)
        paths = [v.path for v in model.variables]
        has_map = hasattr(type(backbone_of(model)), "get_layout_map")
        before = layout(backbone_of(model)) if has_map else None
        blocks = family.block_list(backbone_of(model))
        inside = [{v.path for v in b.variables} for b in blocks]
        keras_laurel.laurelize(model, prototype("rw+lr+pa"))
        after = [v.path for v in model.variables]
        assert [p for p in after if "/laurel_" not in p] == paths
        for block, before_it in zip(blocks, inside, strict=True):
            added = {v.path for v in block.variables} - before_it
            assert added == {
                f"{block.path}/laurel_residual/laurel_{name}"
                for name in ("residual_weights", "a", "b", "gamma")
            }
        if not has_map:
            return absent("KerasHub has no layout map for the family")
        assert before and layout(backbone_of(model)) == before
        return None


def enable_lora(model, targets):
    backbone_of(model).enable_lora(2, target_layer_names=targets)


def lora_weights(model):
    return [v for v in model.trainable_variables if "lora_kernel" in v.path]


def move_lora(model, seed=0):
    rng = np.random.default_rng(seed)
    assert lora_weights(model)
    for variable in lora_weights(model):
        variable.assign(rng.normal(size=variable.shape))


def assert_trains_laurel_and(model, paths):
    laurels = {v.path for v in laurel_weights(model)}
    assert trainable_paths(model) == laurels | paths


def trainable_paths(model):
    """Without the numbers of names that Keras makes up, as in Moonshine."""
    paths = [v.path for v in model.trainable_variables]
    return {re.sub(r"(_attention)_[0-9]+/", r"\1/", path) for path in paths}


def exchange(writer, reader, family, folder):
    """That a file of LoRA weights brings `reader` to what `writer` does."""
    path = str(folder / "adapter.lora.h5")
    backbone_of(writer).save_lora_weights(path)
    backbone_of(reader).load_lora_weights(path)
    x = inputs_of(family)
    np.testing.assert_array_equal(logits(reader, x), logits(writer, x))


def save_int8(model, family, folder):
    x = inputs_of(family)
    folder.mkdir()
    np.savez(
        folder / "inputs.npz", **(x if isinstance(x, dict) else {"inputs": x})
    )
    kind = "model" if family.task_class else "backbone"
    np.save(folder / f"{kind}.npy", logits(model, x))
    model.save(folder / "model.keras")


def assert_int8_reloads(model, family, folder):
    quantize_int8(model)
    model.save(folder / "plain.keras")
    loaded = keras.saving.load_model(folder / "plain.keras")
    x = inputs_of(family)
    np.testing.assert_array_equal(logits(loaded, x), logits(model, x))


def layout(backbone):
    """The axes that the family's layout map has for variables, by path."""
    mesh = keras.distribution.DeviceMesh(
        (1, 1), ("batch", "model"), np.array(["cpu:0"])
    )
    layout_map = type(backbone).get_layout_map(mesh)
    found = {v.path: layout_map[v.path] for v in backbone.variables}
    return {path: x.axes for path, x in found.items() if x is not None}


@pytest.fixture(params=of_table(families.UNSUPPORTED))
def unsupported_family(request):
    return request.param


def test_what_is_not_supported_is_refused(unsupported_family):
    refuse(family=unsupported_family)


@proves("start")
def refuse(family):
    backbone = family.backbone()
    paths = [v.path for v in backbone.variables]
    reason = families.UNSUPPORTED[family.backbone_class]
    with pytest.raises(ValueError, match=reason):
        keras_laurel.laurelize(backbone, prototype("rw"))
    assert type(backbone).__name__ == family.backbone_class
    assert [v.path for v in backbone.variables] == paths
    return refused(reason)
