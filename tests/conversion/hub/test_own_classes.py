"""Subclasses of KerasHub's backbones and tasks convert, save and load."""

import importlib

import keras
import numpy as np
import pytest

import keras_laurel
from tests.conversion.hub.checks import ALL
from tests.conversion.hub.checks import laurel_weights
from tests.conversion.hub.checks import logits
from tests.conversion.hub.checks import perturb
from tests.conversion.hub.checks import prototype

LLAMA = ALL["Llama"]


@pytest.fixture
def registered():
    """Registers a class for one test: KerasHub would find it in all others."""
    importlib.import_module("keras_hub")
    objects = keras.saving.get_custom_objects()
    before = dict(objects)
    yield keras.saving.register_keras_serializable("own")
    objects.clear()
    objects.update(before)


def own(base, register=lambda cls: cls):
    import keras_hub

    class Own(getattr(keras_hub.models, base)):
        pass

    Own.__name__ = f"Own{base}"
    return register(Own)


def own_backbone(cls):
    keras.utils.set_random_seed(0)
    return cls(**{**LLAMA.backbone().get_config(), "name": "own"})


def own_task(cls, backbone=None):
    keras.utils.set_random_seed(0)
    return cls(backbone=backbone or LLAMA.backbone(), preprocessor=None)


def converted(model):
    expected = logits(model, LLAMA.inputs())
    cls = type(model)
    result = keras_laurel.laurelize(model, prototype("rw+lr+pa"))
    assert result is model and isinstance(model, cls)
    assert len(keras_laurel.laurel_layers(model)) == 4
    np.testing.assert_array_equal(logits(model, LLAMA.inputs()), expected)
    perturb(model)
    return model


def assert_same(loaded, model):
    assert type(loaded) is type(model)
    x = LLAMA.inputs()
    np.testing.assert_array_equal(logits(loaded, x), logits(model, x))


def test_a_backbone_is_saved_and_found_again(registered, tmp_path):
    model = converted(own_backbone(own("LlamaBackbone", registered)))
    model.save(tmp_path / "model.keras")
    assert_same(keras.saving.load_model(tmp_path / "model.keras"), model)
    again = type(model).from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert_same(again, model)


def test_a_task_is_saved_and_found_again(registered, tmp_path):
    cls = own("LlamaCausalLM", registered)
    model = converted(own_task(cls))
    assert type(model.backbone).__name__ == "LaurelLlamaBackbone"
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert_same(loaded, model)
    model.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1))
    decays = model.optimizer._use_weight_decay
    names = {w.name for w in laurel_weights(model) if decays(w)}
    assert names == {"laurel_a", "laurel_b"}


def test_a_task_of_another_kind_over_a_backbone_of_ones_own():
    import keras_hub

    class Embedder(keras_hub.models.Task):
        def __init__(self, backbone):
            super().__init__(backbone.input, backbone.output, compile=False)
            self.backbone = backbone

    model = Embedder(own_backbone(own("LlamaBackbone")))
    assert len(keras_laurel.residual_sites(model)) == 4
    converted(model)


def test_presets_need_the_class_registered(registered, tmp_path):
    model = converted(own_backbone(own("LlamaBackbone", registered)))
    message = r"register_blocks\(OwnLlamaBackbone\)"
    with pytest.raises(ValueError, match=message):
        model.save_to_preset(str(tmp_path))


@pytest.mark.parametrize("kind", ["LlamaBackbone", "LlamaCausalLM"])
def test_presets_of_a_registered_class(kind, registered, tmp_path):
    cls = own(kind, registered)
    keras_laurel.register_blocks(cls)
    make = own_task if kind.endswith("LM") else own_backbone
    model = converted(make(cls))
    assert type(model).__name__ == f"LaurelOwn{kind}"
    model.save_to_preset(str(tmp_path / "preset"))
    assert_same(cls.from_preset(str(tmp_path / "preset")), model)


def test_lora_keeps_laurel_trainable():
    model = converted(own_backbone(own("LlamaBackbone")))
    model.enable_lora(2)
    trainable = {v.path for v in model.trainable_variables}
    assert {v.path for v in laurel_weights(model)} < trainable
