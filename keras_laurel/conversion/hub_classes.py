"""What conversion adds to the classes of KerasHub's backbones and tasks."""

import contextlib
import dataclasses
import functools

import keras

from keras_laurel import optimizers
from keras_laurel.layers import Laurel


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a backbone was converted with, saved in its config.

    Attributes:
        layer: The prototype, a `Laurel` layer.
        granularity: `"block"` or `"sublayer"`.
        blocks: Indices of the converted blocks.
    """

    layer: Laurel
    granularity: str
    blocks: tuple

    def get_config(self):
        return {
            "layer": keras.layers.serialize(self.layer),
            "granularity": self.granularity,
            "blocks": list(self.blocks),
        }

    @classmethod
    def from_config(cls, config):
        layer = keras.layers.deserialize(config["layer"])
        return cls(layer, config["granularity"], tuple(config["blocks"]))


class _LaurelModel:
    """What a converted backbone and its task have in common."""

    def load_weights(self, filepath, **kwargs):
        try:
            super().load_weights(filepath, **kwargs)
        except ValueError as error:
            raise ValueError(
                f"{error}\nIf {str(filepath)!r} was saved before `laurelize`, "
                "load it into the plain model and convert then."
            ) from error

    def _check_quantize_args(self, mode, compute_dtype):
        # Not `quantize`: Keras keeps that of the first class on the instance.
        recipe = getattr(self, "backbone", self)._laurel_recipe
        if mode in ("gptq", "awq") and recipe.layer.num_activations > 1:
            raise ValueError(
                f"`quantize` got {mode!r} on a model with previous "
                "activations. It calibrates one block at a time, which then "
                "lacks those of the blocks before it. Quantize before "
                "`laurelize`, or use 'int8'."
            )
        super()._check_quantize_args(mode, compute_dtype)


class LaurelBackbone(_LaurelModel):
    """What a converted backbone adds to its class."""

    def get_config(self):
        return {
            **super().get_config(),
            "laurel": self._laurel_recipe.get_config(),
        }

    @classmethod
    def from_config(cls, config):
        from keras_laurel.conversion import decoder

        config = dict(config)
        recipe = Recipe.from_config(config.pop("laurel"))
        backbone = cls._laurel_base.from_config(config)
        return decoder.convert_backbone(backbone, recipe)

    def enable_lora(self, *args, **kwargs):
        """LoRA freezes the backbone; the LAuReL layers stay as they were."""
        laurels = _laurel_layers(self)
        trainable = [layer.trainable for layer in laurels]
        with self._without_laurel_layers():
            super().enable_lora(*args, **kwargs)
        for layer, value in zip(laurels, trainable):
            layer.trainable = value

    def save_lora_weights(self, filepath):
        with self._without_laurel_layers():
            super().save_lora_weights(filepath)

    def load_lora_weights(self, filepath):
        with self._without_laurel_layers():
            super().load_lora_weights(filepath)

    @contextlib.contextmanager
    def _without_laurel_layers(self):
        """KerasHub's LoRA files number the layers of `_flatten_layers`: they
        fit before and after conversion where LAuReL layers do not count."""
        self.__dict__["_laurel_layers_hidden"] = True
        try:
            yield
        finally:
            self.__dict__["_laurel_layers_hidden"] = False

    def _flatten_layers(self, *args, **kwargs):
        layers = super()._flatten_layers(*args, **kwargs)
        if not self.__dict__.get("_laurel_layers_hidden"):
            return layers
        return (x for x in layers if not isinstance(x, Laurel))


class LaurelTask(_LaurelModel):
    """What the task over a converted backbone adds to its class."""

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizers.prepare_optimizer(optimizer)


def _laurel_layers(model):
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, Laurel)]


def laurel_name(base_name):
    """The name of the converted class, and of its registration."""
    return f"Laurel{base_name}"


@functools.cache
def laurel_backbone_class(base):
    attributes = {"_laurel_base": base, "__module__": __name__}
    cls = type(laurel_name(base.__name__), (LaurelBackbone, base), attributes)
    return _registered(cls)


@functools.cache
def laurel_task_class(base):
    attributes = {
        "backbone_cls": laurel_backbone_class(base.backbone_cls),
        "__module__": __name__,
    }
    cls = type(laurel_name(base.__name__), (LaurelTask, base), attributes)
    return _registered(cls)


def _registered(cls):
    register = keras.saving.register_keras_serializable("keras_laurel")
    return register(cls)
