"""Convert KerasHub's backbones and tasks in place: classes and recipes."""

import contextlib
import functools

import keras

from keras_laurel import optimizers
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.attach import Recipe
from keras_laurel.conversion.blocks.attach import attach
from keras_laurel.conversion.blocks.attach import width_of
from keras_laurel.conversion.blocks.connection import detach
from keras_laurel.conversion.hub import families
from keras_laurel.conversion.pickling import PickledAsSaved
from keras_laurel.conversion.sites import ResidualSite
from keras_laurel.layers import Laurel


def backbone_of(model):
    """The backbone of a task, or `model` itself."""
    return getattr(model, "backbone", None) or model


def is_known(model):
    """Whether `model` is one whose blocks are known here, or its task."""
    backbone = backbone_of(model)
    if isinstance(backbone, LaurelBackbone) or _refused_part(model):
        return False
    return families.family_of(backbone) is not None


def check_supported(model):
    """Raise for a model of KerasHub that is known not to be convertible."""
    part = _refused_part(model)
    if part is not None:
        raise ValueError(
            f"`model` got {model.name!r}, a {type(part).__name__}, which "
            "`laurelize` does not support: "
            f"{families.why_unsupported(part)}."
        )


def _refused_part(model):
    backbone = backbone_of(model)
    if isinstance(backbone, LaurelBackbone):
        return None
    parts = [p for p in (model, backbone) if families.why_unsupported(p)]
    return parts[0] if parts else None


def block_sites(model):
    """A `ResidualSite` for each block."""
    backbone = backbone_of(model)
    family = families.family_of(backbone)
    return [
        ResidualSite(
            name=block.name,
            kind="block",
            skip=0,
            input_shape=(None, None, width_of(block)),
            output_shape=(None, None, width_of(block)),
            model=backbone.name,
            node=block,
            branch_nodes=(),
        )
        for block in families.blocks_of(backbone, family)
    ]


def convert(model, layer, sites, granularity):
    """Convert the backbone of `model`, and `model` if it is a task."""
    backbone = backbone_of(model)
    chosen = {site.node for site in sites}
    family = families.family_of(backbone)
    blocks = families.blocks_of(backbone, family)
    indices = [i for i, block in enumerate(blocks) if block in chosen]
    task_class = None if backbone is model else _task_class(model)
    recipe = Recipe(layer, granularity, tuple(indices))
    with _all_or_nothing(model, blocks) as optimizers_to_set:
        convert_backbone(backbone, recipe)
        if task_class is not None:
            model.__class__ = task_class
        set_optimizers(optimizers_to_set)
    return model


def convert_backbone(backbone, recipe):
    """Convert in place what `recipe` says; all that can fail fails first."""
    family = families.family_of(backbone)
    blocks = families.blocks_of(backbone, family)
    blocks = [blocks[i] for i in recipe.blocks]
    backbone_class = laurel_backbone_class(type(backbone))
    attach(backbone, family, blocks, recipe)
    backbone.__class__ = backbone_class
    backbone._laurel_recipe = recipe
    return backbone


def restore(model):
    """Undo `convert`; what the LAuReL layers learned is gone."""
    backbone = backbone_of(model)
    parts = [x for x in _parts(model) if isinstance(x, _LaurelModel)]
    optimizers_to_set = fresh_optimizers(parts)
    for layer in keras_internals.flatten_layers(backbone):
        detach(layer)
    for part in parts:
        part.__class__ = part._laurel_base
    del backbone._laurel_recipe
    set_optimizers(optimizers_to_set)
    return model


@contextlib.contextmanager
def _all_or_nothing(model, blocks):
    """Fresh optimizers to set inside; where that raises, nothing changed."""
    parts = _parts(model)
    before = [(p, type(p), getattr(p, "optimizer", None)) for p in parts]
    optimizers_to_set = fresh_optimizers(parts)
    try:
        yield optimizers_to_set
    except BaseException:
        for block in blocks:
            detach(block)
        for part, cls, optimizer in before:
            part.__class__ = cls
            part.__dict__.pop("_laurel_recipe", None)
            if optimizer is not None:
                part.optimizer = optimizer
        raise


def _parts(model):
    return list({id(x): x for x in (backbone_of(model), model)}.values())


def _task_class(task):
    family = families.family_of(task.backbone)
    prefix = type(task.backbone).__name__.removesuffix("Backbone")
    known = [prefix + suffix for suffix in family.tasks]
    base = families.hub_class(task, known)
    if base is not type(task):
        name = type(task).__name__
        raise ValueError(
            f"`model` got {task.name!r}, a {name}; `laurelize` knows the tasks "
            f"{known} of this family. Convert its backbone, "
            f"`laurelize(backbone, ...)`, before you make the {name} of it, "
            "and compile with `keras_laurel.prepare_optimizer(optimizer)`."
            + (_how_to_derive(name, base.__name__) if base else "")
        )
    return laurel_task_class(base)


def _how_to_derive(name, base_name):
    registered = f"keras_laurel>{laurel_name(base_name)}"
    return (
        f" With `keras.saving.get_registered_object({registered!r})` as the "
        f"base of {name} in place of {base_name} its `compile` does so, and, "
        f"once it is registered, `{name}.from_preset` loads what it saves."
    )


def fresh_optimizers(models):
    """`(model, optimizer)` for each, without what an optimizer has for each
    variable; `None` where a model has none."""
    made = []
    for model in models:
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            optimizer = optimizers.fresh_optimizer(optimizer)
            optimizer = optimizers.prepare_optimizer(optimizer)
        made.append((model, optimizer))
    return made


def set_optimizers(pairs):
    """Set them, and forget what was traced with other variables."""
    for model, optimizer in pairs:
        keras_internals.forget_compiled(model)
        if optimizer is not None:
            model.optimizer = optimizer


class _LaurelModel(PickledAsSaved):
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
        config = dict(config)
        recipe = Recipe.from_config(config.pop("laurel"))
        backbone = cls._laurel_base.from_config(config)
        return convert_backbone(backbone, recipe)

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
        "_laurel_base": base,
        "backbone_cls": laurel_backbone_class(base.backbone_cls),
        "__module__": __name__,
    }
    cls = type(laurel_name(base.__name__), (LaurelTask, base), attributes)
    return _registered(cls)


def _registered(cls):
    register = keras.saving.register_keras_serializable("keras_laurel")
    return register(cls)
