"""Convert a model around blocks: those its owner names, or of its row."""

import contextlib
import functools

import keras

from keras_laurel import optimizers
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks import attach
from keras_laurel.conversion.blocks import connection
from keras_laurel.conversion.blocks import registry
from keras_laurel.conversion.blocks.attach import Recipe
from keras_laurel.conversion.blocks.registry import Stack
from keras_laurel.conversion.blocks.registry import unique
from keras_laurel.conversion.pickling import PickledAsSaved
from keras_laurel.layers import Laurel


def attach_blocks(owner, stacks, prototypes, granularity="block"):
    """Put a connection around blocks of a model, in place.

    Args:
        owner: The model or layer that holds the blocks, at any depth.
        stacks: List of `Stack`s, from `named_stacks`.
        prototypes: Dict of a `Laurel` layer for each block to convert.
        granularity: `"block"`, or `"application"`.

    Returns:
        `owner`, of a class by the same name that saves what was put in.

    Raises:
        ValueError: if blocks are not built, converted, no layers of floats,
            do not return the shape of their first input, or do not fit the
            prototype. Nothing has changed then.
    """
    stacks = attach.chosen(stacks, prototypes)
    chosen = tuple(prototypes[block] for block in attach.all_blocks(stacks))
    layers = keras_internals.flatten_layers(owner)
    places = {id(layer): i for i, layer in enumerate(layers)}
    named = [
        [[places[id(block)], type(block).__name__] for block in stack.blocks]
        for stack in stacks
    ]
    shapes = checked_shapes(stacks)
    recipe = Recipe(chosen, granularity, named=named, shapes=shapes)
    return _convert(owner, stacks, recipe)


def checked_shapes(stacks):
    """The shapes of the inputs of all blocks, each once, as lists.

    Raises:
        ValueError: if a block is not built, converted, not of floats, or does
            not return the shape that it is called on.
    """
    pairs = [(stack.row, b) for stack in stacks for b in unique(stack.blocks)]
    return [list(_checked_shape(row, block)) for row, block in pairs]


def convert(owner, recipe, classes=None):
    """Convert a plain model as `recipe` says, in place.

    Args:
        owner: The model.
        recipe: The `Recipe`.
        classes: List of `(model, class)`: the owner, and a task over it, with
            the class that each gets; by default the owner alone, of
            `laurel_class` of its own.

    Returns:
        The last of these models.

    Raises:
        ValueError: if the recipe does not fit. Nothing has changed then.
    """
    if recipe.named:
        stacks = _stacks_of_places(owner, recipe.named)
    else:
        stacks = attach.registered_stacks(owner, recipe)
    return _convert(owner, stacks, recipe, classes)


def _convert(owner, stacks, recipe, classes=None):
    def put_in():
        attach.attach(owner, stacks, recipe)

    classes = classes or [(owner, laurel_class(type(owner)))]
    return change(owner, recipe, classes, put_in, connection.detach)


def change(owner, recipe, classes, put_in, take_out):
    """Change models in place; all of it or, where it fails, nothing.

    Args:
        owner: The model that saves what it is converted with.
        recipe: What it saves: its `get_config` and `has_history` are asked.
        classes: As `convert` takes them.
        put_in: Function without arguments that changes the layers.
        take_out: Function of a layer that undoes it.

    Returns:
        The last of these models.
    """
    models = [model for model, _ in classes]
    with _all_or_nothing(models, take_out) as optimizers_to_set:
        put_in()
        for model, cls in classes:
            model.__class__ = cls
        owner._laurel_recipe = recipe
        set_optimizers(optimizers_to_set)
    return models[-1]


@contextlib.contextmanager
def _all_or_nothing(models, take_out):
    """Fresh optimizers to set inside; where that raises, nothing changed."""
    before = [(x, type(x), getattr(x, "optimizer", None)) for x in models]
    optimizers_to_set = fresh_optimizers(models)
    try:
        yield optimizers_to_set
    except BaseException:
        for layer in keras_internals.flatten_layers(models[-1]):
            take_out(layer)
        for model, cls, optimizer in before:
            model.__class__ = cls
            model.__dict__.pop("_laurel_recipe", None)
            if optimizer is not None:
                model.optimizer = optimizer
        raise


def restore(models):
    """Undo `convert`; what the LAuReL layers learned is gone.

    Args:
        models: List of the owner and of a task over it.
    """
    optimizers_to_set = fresh_optimizers(models)
    for model in models:
        for layer in keras_internals.flatten_layers(model):
            connection.detach(layer)
        model.__class__ = type(model)._laurel_base
        model.__dict__.pop("_laurel_recipe", None)
    set_optimizers(optimizers_to_set)


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


class LaurelOwner(PickledAsSaved):
    """What a model with converted blocks adds to its class.

    Its config is that of the plain model and the recipe. The blocks are plain
    while the first is asked for: their configs know nothing of LAuReL.
    """

    _laurel_registered_name = "LaurelBlocks"

    def get_config(self):
        if "_laurel_recipe" not in vars(self):
            raise ValueError(
                f"{self.name!r} is a clone of a converted model, and does not "
                "know what it was converted with. Copy it with "
                "`copy.deepcopy`, which keeps the weights too."
            )
        with self._without_laurel():
            source = serialized(self)
        return {"source": source, "laurel": self._laurel_recipe.get_config()}

    @classmethod
    def from_config(cls, config):
        source = keras.saving.deserialize_keras_object(config["source"])
        return convert(source, Recipe.from_config(config["laurel"]))

    @contextlib.contextmanager
    def _without_laurel(self):
        blocks = [
            layer
            for layer in keras_internals.flatten_layers(self)
            if connection.is_attached(layer)
        ]
        with connection.without_classes([self, *blocks]):
            yield

    def load_weights(self, filepath, **kwargs):
        try:
            super().load_weights(filepath, **kwargs)
        except ValueError as error:
            raise ValueError(
                f"{error}\nIf {str(filepath)!r} was saved before `laurelize`, "
                "load it into the plain model and convert then."
            ) from error

    def export_to_transformers(self, path):
        """KerasHub's exporter would leave the LAuReL layers out."""
        raise ValueError(
            f"{self.name!r} has LAuReL connections, for which Hugging Face "
            "Transformers has no architecture. Received: "
            f"path={str(path)!r}. Export it for inference by "
            '`model.export(path, format="onnx")` (docs/export.md has the '
            "formats), or save it by `model.save_to_preset` or `model.save` "
            "for Keras. `keras_laurel.remove_laurel` gives a plain model to "
            "export, without what the connections have learned."
        )

    def _check_quantize_args(self, mode, compute_dtype):
        # Not `quantize`: Keras keeps that of the first class on the instance.
        recipe = getattr(self, "backbone", self)._laurel_recipe
        if mode in ("gptq", "awq") and recipe.has_history:
            raise ValueError(
                f"`quantize` got {mode!r} on a model with previous "
                "activations. It calibrates one block at a time, which then "
                "lacks those of the blocks before it. Quantize before "
                "`laurelize`, or use 'int8'."
            )
        super()._check_quantize_args(mode, compute_dtype)


def register(mixin):
    """Register a class of owners, and all converted classes made with it.

    They go by one name, under which `mixin` stays, so that a fresh process
    can load them before it has seen the plain class.
    """
    _register(mixin, mixin)


def _register(cls, mixin):
    name = mixin._laurel_registered_name
    keras.saving.register_keras_serializable("keras_laurel", name)(cls)


register(LaurelOwner)


@functools.cache
def laurel_class(base, mixin=LaurelOwner):
    """The subclass of `base`, by its name, that saves what was put in."""
    attributes = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "_laurel_base": base,
    }
    cls = type(base)(base.__name__, (mixin, base), attributes)
    _register(cls, mixin)
    register(mixin)
    return cls


def serialized(model):
    """A plain model as Keras serializes it, but not how it is compiled."""
    config = dict(keras.saving.serialize_keras_object(model))
    config.pop("compile_config", None)
    return config


def named_stacks(owner, blocks):
    """The stacks of blocks that the owner of a model names.

    Args:
        owner: The model or layer that holds the blocks, at any depth.
        blocks: List of layers in the order they run, one that runs several
            times as often as it does. Or a list of such lists, for stacks
            that hand on no previous activations to each other.

    Raises:
        ValueError: if these are no layers of `owner`.
    """
    if not isinstance(owner, keras.layers.Layer):
        raise ValueError(
            f"`model` got {type(owner).__name__}; it needs a `keras.Model` or "
            "a layer."
        )
    if not isinstance(blocks, (list, tuple)) or not len(blocks):
        raise ValueError(
            f"`blocks` got {blocks!r}; it needs a list of layers of "
            f"{owner.name!r} in the order they run, also for one: "
            "`blocks=[layer]`."
        )
    are_lists = [isinstance(block, (list, tuple)) for block in blocks]
    stacks = list(map(list, blocks)) if all(are_lists) else [list(blocks)]
    inside = {id(x) for x in keras_internals.flatten_layers(owner)}
    for block in (block for stack in stacks for block in stack):
        if not isinstance(block, keras.layers.Layer) or id(block) not in inside:
            raise ValueError(
                f"`blocks` got {block!r}, which is no layer inside "
                f"{owner.name!r}. Take blocks from this very model, such as "
                "`blocks=model.blocks`."
            )
    found = [Stack(registry.NAMED, stack) for stack in stacks if stack]
    once = [id(b) for stack in found for b in unique(stack.blocks)]
    if len(once) > len(set(once)):
        raise ValueError(
            "`blocks` has a layer in two of its lists; each layer belongs to "
            "one, as often as it runs there."
        )
    return found


def _checked_shape(row, block):
    """The shape of a block's input, which its output must have too."""
    kind = f"The block {block.name!r} of class {type(block).__name__}"
    if isinstance(block, (Laurel, connection.LaurelBlock)):
        raise ValueError(f"{kind} is converted already, or a LAuReL layer.")
    if not block.built:
        raise ValueError(
            f"{kind} is not built. Call the model on an example batch first."
        )
    if not keras.backend.is_float_dtype(block.compute_dtype):
        raise ValueError(
            f"{kind} computes in {block.compute_dtype}; a connection needs "
            "floats."
        )
    first = connection.tensors_of(type(block).call, row.streams)
    shapes = []
    for arguments, outputs in keras_internals.call_specs(block, first):
        x, y = arguments[0], outputs[0]
        shapes.append(tuple(x.shape))
        connection.check_same_shape(block, x, y)
        for tensor in (x, y):
            if not keras.backend.is_float_dtype(tensor.dtype):
                raise ValueError(
                    f"{kind} is called on, or returns, {tensor.dtype} first; "
                    "a connection needs floats."
                )
    return shapes[0] if shapes else attach.shape_of(block)


def _stacks_of_places(owner, named):
    """The stacks of a model that was built anew from its config."""
    layers = keras_internals.flatten_layers(owner)
    stacks = []
    for places in named:
        blocks = []
        for place, class_name in places:
            block = layers[place] if place < len(layers) else None
            if type(block).__name__ != class_name:
                raise ValueError(
                    f"{owner.name!r} was saved with a connection around layer "
                    f"{place}, a {class_name}; it is a {type(block).__name__} "
                    "now. The code of the model has changed since: load with "
                    "the code that it was saved with."
                )
            blocks.append(block)
        stacks.append(Stack(registry.NAMED, blocks))
    return stacks
