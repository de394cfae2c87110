"""The classes of converted KerasHub backbones and tasks."""

import contextlib
import dataclasses
import functools

import keras

from keras_laurel import optimizers
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks import owner
from keras_laurel.conversion.blocks import registry
from keras_laurel.conversion.blocks import sites
from keras_laurel.conversion.blocks.attach import Recipe
from keras_laurel.conversion.blocks.attach import all_blocks
from keras_laurel.conversion.blocks.owner import LaurelOwner
from keras_laurel.conversion.hub import families
from keras_laurel.conversion.inside import saving
from keras_laurel.layers import Laurel


def backbone_of(model):
    """Return the backbone of a task, or `model` itself."""
    return getattr(model, "backbone", None) or model


def is_known(model):
    """Return whether the blocks of `model`, or of its backbone, have a row."""
    part = part_with_row(model)
    if part is None or isinstance(part, LaurelOwner):
        return False
    return _refused_part(model) is None


def has_own_classes(model):
    """Return whether `model` gets a class that KerasHub can save.

    KerasHub saves presets and LoRA weights in its own way.
    """
    return is_known(model) and is_of_hub(type(part_with_row(model)))


def part_with_row(model):
    """Return the model, or its backbone, whichever has a row, or `None`."""
    for part in (model, backbone_of(model)):
        if registry.row_of(part) is not None:
            return part
    return None


def check_supported(model):
    """Raise for a KerasHub model that is known not to be convertible."""
    part = _refused_part(model)
    if part is not None:
        raise ValueError(
            "Argument `model` must be of a supported KerasHub class. "
            f"Received: {model.name!r}, a {type(part).__name__}, which "
            "`laurelize` does not support: "
            f"{families.why_unsupported(part)}. Use another model."
        )


def _refused_part(model):
    backbone = backbone_of(model)
    if isinstance(backbone, LaurelOwner):
        return None
    parts = [p for p in (model, backbone) if families.why_unsupported(p)]
    return parts[0] if parts else None


def stacks_of(model):
    """Return the stacks of a known model, or of its backbone."""
    return registry.stacks_of(part_with_row(model))


def convert(model, prototypes, granularity):
    """Convert the part of `model` that has a row, and the task over it.

    Args:
        model: The model.
        prototypes: Dict with a `Laurel` layer for each block to convert.
        granularity: `"block"` or `"application"`.
    """
    part = part_with_row(model)
    stacks = registry.stacks_of(part)
    blocks = all_blocks(stacks)
    indices = [i for i, block in enumerate(blocks) if block in prototypes]
    chosen = tuple(prototypes[blocks[i]] for i in indices)
    recipe = Recipe(chosen, granularity, tuple(indices))
    if sites.shapes_vary(stacks):
        shapes = owner.checked_shapes(stacks)
        shapes = [shapes[i] for i in indices]
        recipe = dataclasses.replace(recipe, shapes=shapes)
    with _training_beside_lora(part, chosen):
        return owner.convert(part, recipe, _classes(model, part))


def convert_inside(model, planned, survey):
    """Convert additions inside the part of `model` that has a row.

    Args:
        model: A KerasHub backbone or task.
        planned: As `saving.attach_all` takes it.
        survey: The `Survey` of the part.
    """
    part = part_with_row(model)

    def put_in():
        saving.attach_all(part, planned, survey)
        saving.own(part, survey)

    classes = _classes(model, part)
    recipe = saving.InsideRecipe(part)
    layers = [x.layer for xs in planned.values() for x in xs.values()]
    with _training_beside_lora(part, layers):
        return owner.change(part, recipe, classes, put_in, saving.detach)


@contextlib.contextmanager
def _training_beside_lora(backbone, layers):
    """Let the LAuReL layers that this scope adds train beside LoRA.

    KerasHub's LoRA freezes all other layers. A block without any, such as one
    of linear attention in Qwen 3.5, looks like one that its owner has frozen.

    Args:
        backbone: The backbone.
        layers: List of the layers, or their prototypes. None is freed if one
            of them is frozen itself.
    """
    every = keras_internals.flatten_layers(backbone)
    has_lora = any(getattr(layer, "lora_enabled", False) for layer in every)
    frees = has_lora and all(layer.trainable for layer in layers)
    yield
    for layer in _laurel_layers(backbone) if frees else ():
        layer.trainable = True


def _classes(model, part):
    classes = [(part, _backbone_class(type(part)))]
    if part is not model:
        classes.append((model, _task_class(type(model))))
    return classes


def _converted(backbone, config):
    """Convert a plain backbone in place by a saved recipe, and return it."""
    cls = _backbone_class(type(backbone))
    if "inside" not in config:
        recipe = Recipe.from_config(config)
        return owner.convert(backbone, recipe, [(backbone, cls)])
    saving.convert_by_plan(backbone, config["inside"])
    backbone.__class__ = cls
    backbone._laurel_recipe = saving.InsideRecipe(backbone)
    return backbone


def restore(model):
    """Undo `convert`, also in the backbone of a task."""
    parts = {id(x): x for x in (backbone_of(model), model)}.values()
    owner.restore([x for x in parts if isinstance(x, LaurelOwner)])


class HubBackbone(LaurelOwner):
    """Mixin for converted backbones of the user's own class.

    KerasHub finds the class of a preset by its registered name. The user's
    class gets one only by `register_blocks`.
    """

    _laurel_registered_name = "LaurelHubBackbone"

    def save_to_preset(self, *args, **kwargs):
        _check_found_again(self)
        super().save_to_preset(*args, **kwargs)

    @classmethod
    def from_config(cls, config):
        source = keras.saving.deserialize_keras_object(config["source"])
        return _converted(source, config["laurel"])

    def enable_lora(self, *args, **kwargs):
        """Enable LoRA, which freezes the backbone but no LAuReL layers."""
        laurels = _laurel_layers(self)
        trainable = [layer.trainable for layer in laurels]
        with self._without_laurel_layers():
            super().enable_lora(*args, **kwargs)
        # They are hidden, but a block that is frozen freezes them with it.
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
        """Hide the LAuReL layers from `_flatten_layers` in this scope.

        KerasHub's LoRA files use the indices of these layers, which are then
        the same before and after conversion.
        """
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


class LaurelBackbone(HubBackbone):
    """Mixin for converted backbones whose class has its own name."""

    def get_config(self):
        with self._without_laurel():
            # In this scope `self` has its plain class, whose method this is.
            config = self.get_config()
        return {**config, "laurel": self._laurel_recipe.get_config()}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        recipe = config.pop("laurel")
        return _converted(cls._laurel_base.from_config(config), recipe)


class HubTask(LaurelOwner):
    """Mixin for tasks of the user's own class over a converted backbone."""

    _laurel_registered_name = "LaurelHubTask"

    def save_to_preset(self, *args, **kwargs):
        _check_found_again(self)
        super().save_to_preset(*args, **kwargs)

    def get_config(self):
        with self._without_laurel():
            return {"source": owner.serialized(self)}

    @classmethod
    def from_config(cls, config):
        task = keras.saving.deserialize_keras_object(config["source"])
        task.__class__ = _task_class(type(task))
        return task

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        optimizer = getattr(self, "optimizer", None)
        # One that is built has settled already which variables decay.
        if optimizer is not None and not optimizer.built:
            optimizers.prepare_optimizer(optimizer)


class LaurelTask(HubTask):
    """Mixin for tasks over a converted backbone whose class has a name."""

    def get_config(self):
        # The backbone in the task's config has the recipe, so the `get_config`
        # of `LaurelOwner` is passed over.
        return super(LaurelOwner, self).get_config()

    @classmethod
    def from_config(cls, config):
        return super(LaurelOwner, cls).from_config(config)


owner.register(HubBackbone)
owner.register(HubTask)


def _check_found_again(model):
    """Raise if a preset could not be loaded, for lack of a named class."""
    if isinstance(model, (LaurelBackbone, LaurelTask)):
        return
    name = type(model).__name__
    raise ValueError(
        f"The class of {model.name!r} must be registered to be saved as a "
        f"preset. Received: a {name}, your own class, for which a preset of "
        "the converted model could not be loaded. Call "
        f"`keras_laurel.register_blocks({name})` where you define {name}, "
        "before you convert; or save to `.keras`."
    )


def _laurel_layers(model):
    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, Laurel)]


def laurel_name(base_name):
    """Return the name of the converted class, also its registered name."""
    return f"Laurel{base_name}"


_named: set[type] = set()


def name_class(cls):
    """Give the converted class of a backbone or task its own name.

    Returns:
        The converted class.
    """
    _named.add(cls)
    if getattr(cls, "backbone_cls", None) is not None:
        return laurel_task_class(cls)
    return laurel_backbone_class(cls)


def _has_name(cls):
    return cls in _named or families.is_of_table(cls)


def is_of_hub(cls):
    """Return whether a class is a KerasHub backbone or task, or a subclass."""
    return _is_kind(cls, "Backbone") or _is_kind(cls, "Task")


def is_class_known(cls):
    """Return whether the blocks of a class, or of a base, are known."""
    backbone = getattr(cls, "backbone_cls", None) or cls
    return registry.row_of_class(backbone) is not None


def _is_kind(cls, name):
    return any(
        families.is_hub(base) and base.__name__ == name for base in cls.__mro__
    )


def _backbone_class(cls):
    if _has_name(cls):
        return laurel_backbone_class(cls)
    mixin = HubBackbone if _is_kind(cls, "Backbone") else LaurelOwner
    return owner.laurel_class(cls, mixin)


def _task_class(cls):
    if _has_name(cls):
        return laurel_task_class(cls)
    return owner.laurel_class(cls, HubTask)


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
