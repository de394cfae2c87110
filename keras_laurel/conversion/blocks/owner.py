"""Convert a model around its blocks, which are named or have a row."""

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
        prototypes: Dict with a `Laurel` layer for each block to convert.
        granularity: `"block"` or `"application"`.

    Returns:
        `owner`, with a class of the same name that saves the connections.

    Raises:
        ValueError: if a block is not built, is converted already, is not a
            layer of floats, does not return the shape of its first input, or
            does not fit the prototype. Nothing has changed then.
    """
    stacks = attach.chosen(stacks, prototypes)
    chosen = tuple(prototypes[block] for block in attach.all_blocks(stacks))
    layers = keras_internals.flatten_layers(owner)
    places = {id(layer): i for i, layer in enumerate(layers)}
    # On loading, the class names show whether the code has changed since.
    named = [
        [[places[id(block)], type(block).__name__] for block in stack.blocks]
        for stack in stacks
    ]
    shapes = checked_shapes(stacks)
    recipe = Recipe(chosen, granularity, named=named, shapes=shapes)
    return _convert(owner, stacks, recipe)


def checked_shapes(stacks):
    """Return the shapes of the inputs of all blocks, each once, as lists.

    Raises:
        ValueError: if a block is not built, is converted already, is not a
            layer of floats, or does not return the shape of its input.
    """
    pairs = [(stack.row, b) for stack in stacks for b in unique(stack.blocks)]
    return [list(_checked_shape(row, block)) for row, block in pairs]


def convert(owner, recipe, classes=None):
    """Convert a plain model by a recipe, in place.

    Args:
        owner: The model.
        recipe: The `Recipe`.
        classes: List of `(model, class)`: the owner and a task over it, each
            with the class that it gets. By default the owner alone, with the
            `laurel_class` of its class.

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
    """Change models in place or, if that fails, leave them unchanged.

    Args:
        owner: The model that saves the recipe.
        recipe: An object with `get_config` and `has_history`.
        classes: As `convert` takes them.
        put_in: Function without arguments that changes the layers.
        take_out: Function of a layer that undoes the change.

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
    """Provide fresh optimizers, and undo the changes if the body raises."""
    before = [(x, type(x), getattr(x, "optimizer", None)) for x in models]
    # Before any change: an optimizer with a schedule of the user's own may not
    # be made again from its config.
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
    """Undo `convert` and drop the LAuReL layers.

    Args:
        models: List of the owner and a task over it.
    """
    optimizers_to_set = fresh_optimizers(models)
    for model in models:
        for layer in keras_internals.flatten_layers(model):
            connection.detach(layer)
        model.__class__ = type(model)._laurel_base
        model.__dict__.pop("_laurel_recipe", None)
    set_optimizers(optimizers_to_set)


def fresh_optimizers(models):
    """Return `(model, optimizer)` for each model.

    The optimizers are not built, so they have no slots for variables. It is
    `None` for a model without one.
    """
    made = []
    for model in models:
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            optimizer = optimizers.fresh_optimizer(optimizer)
            optimizer = optimizers.prepare_optimizer(optimizer)
        made.append((model, optimizer))
    return made


def set_optimizers(pairs):
    """Set optimizers, and drop functions compiled with other variables."""
    for model, optimizer in pairs:
        keras_internals.forget_compiled(model)
        if optimizer is not None:
            model.optimizer = optimizer


class LaurelOwner(PickledAsSaved):
    """Mixin for models with converted blocks.

    The config consists of the config of the plain model and the recipe. While
    the former is made, the blocks have their plain classes, whose configs do
    not have LAuReL.
    """

    _laurel_registered_name = "LaurelBlocks"

    def get_config(self):
        if "_laurel_recipe" not in vars(self):
            raise ValueError(
                f"{self.name!r} must have the recipe of its conversion. "
                f"Received: {self.name!r} is a clone of a converted model, "
                "which Keras made without it. Copy the model with "
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
                "load it into the plain model, then convert the model."
            ) from error

    def export_to_transformers(self, path):
        """Raise, since KerasHub's exporter would leave LAuReL layers out."""
        raise ValueError(
            f"{self.name!r} has LAuReL connections, for which Hugging Face "
            "Transformers has no architecture. Received: "
            f"path={str(path)!r}. Export it for inference with "
            '`model.export(path, format="onnx")` (see docs/export.md for the '
            "formats), or save it for Keras with `model.save_to_preset` or "
            "`model.save`. `keras_laurel.remove_laurel` returns a plain model "
            "to export, without the LAuReL weights."
        )

    def _check_quantize_args(self, mode, compute_dtype):
        # This method is overridden instead of `quantize`, since Keras stores
        # the `quantize` of the original class on the instance.
        recipe = getattr(self, "backbone", self)._laurel_recipe
        if mode in ("gptq", "awq") and recipe.has_history:
            raise ValueError(
                "Argument `mode` must not be 'gptq' or 'awq' for a model with "
                f"previous activations. Received: mode={mode!r}, which "
                "calibrates one block at a time, without those of the blocks "
                "before it. Quantize before `laurelize`, or use 'int8'."
            )
        super()._check_quantize_args(mode, compute_dtype)


def register(mixin):
    """Register a class of owners under its name.

    All converted classes made with it share this name, which keeps naming
    `mixin`, so that a fresh process can load a model before it has made the
    converted class.
    """
    _register(mixin, mixin)


def _register(cls, mixin):
    name = mixin._laurel_registered_name
    keras.saving.register_keras_serializable("keras_laurel", name)(cls)


register(LaurelOwner)


@functools.cache
def laurel_class(base, mixin=LaurelOwner):
    """Return the subclass of `base`, with its name, that saves the recipe."""
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
    """Serialize a plain model as Keras does, without its compile config."""
    config = dict(keras.saving.serialize_keras_object(model))
    config.pop("compile_config", None)
    return config


def named_stacks(owner, blocks):
    """Return the stacks of blocks that a user names.

    Args:
        owner: The model or layer that holds the blocks, at any depth.
        blocks: List of layers in the order they run, each listed as often as
            it runs. Or a list of such lists, for stacks that share no
            history.

    Raises:
        ValueError: if these are not layers inside `owner`.
    """
    if not isinstance(owner, keras.layers.Layer):
        raise ValueError(
            "Argument `model` must be a `keras.Model` or a layer. Received: "
            f"model={owner!r}, of type {type(owner).__name__}."
        )
    if not isinstance(blocks, (list, tuple)) or not len(blocks):
        raise ValueError(
            f"Argument `blocks` must be a list of layers of {owner.name!r} in "
            f"the order they run. Received: blocks={blocks!r}. Pass a list "
            "also for one layer: `blocks=[layer]`."
        )
    are_lists = [isinstance(block, (list, tuple)) for block in blocks]
    stacks = list(map(list, blocks)) if all(are_lists) else [list(blocks)]
    inside = {id(x) for x in keras_internals.flatten_layers(owner)}
    for block in (block for stack in stacks for block in stack):
        if not isinstance(block, keras.layers.Layer) or id(block) not in inside:
            raise ValueError(
                f"Argument `blocks` must hold layers inside {owner.name!r}. "
                f"Received: {block!r}, which is not one. Take the blocks from "
                "the same model object, such as `blocks=model.blocks`."
            )
    found = [Stack(registry.NAMED, stack) for stack in stacks if stack]
    once = [id(b) for stack in found for b in unique(stack.blocks)]
    if len(once) > len(set(once)):
        raise ValueError(
            "Argument `blocks` must have each layer in one of its lists only. "
            "Received: a layer in two of its lists. List it in one of them, "
            "as often as it runs."
        )
    return found


def _checked_shape(row, block):
    """Return the shape of a block's input, which its output must have too."""
    kind = f"The block {block.name!r} of class {type(block).__name__}"
    if isinstance(block, (Laurel, connection.LaurelBlock)):
        raise ValueError(
            f"{kind} must be without LAuReL. Received: a block that is "
            "converted already, or a LAuReL layer. Leave it out, or start "
            "from a model without LAuReL layers, which "
            "`keras_laurel.remove_laurel` returns."
        )
    if not block.built:
        raise ValueError(
            f"{kind} must be built. Received: a block that is not built. Call "
            "the model on an example batch first."
        )
    if not keras.backend.is_float_dtype(block.compute_dtype):
        raise ValueError(
            f"{kind} must compute in floats, as a connection does. Received: "
            f"a block that computes in {block.compute_dtype}. Leave it out."
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
                    f"{kind} must have a first input and output of floats, "
                    "as a connection has. Received: a block with one of dtype "
                    f"{tensor.dtype}. Leave it out."
                )
    return shapes[0] if shapes else attach.shape_of(block)


def _stacks_of_places(owner, named):
    """Return the saved stacks of a model that was made from its config."""
    layers = keras_internals.flatten_layers(owner)
    stacks = []
    for places in named:
        blocks = []
        for place, class_name in places:
            block = layers[place] if place < len(layers) else None
            if type(block).__name__ != class_name:
                raise ValueError(
                    f"Layer {place} of {owner.name!r} must be of class "
                    f"{class_name}, as when it was saved with a connection "
                    f"around that layer. Received: {_named(block)}. The code "
                    "of the model has changed since it was saved. Load it "
                    "with the code as it was then."
                )
            blocks.append(block)
        stacks.append(Stack(registry.NAMED, blocks))
    return stacks


def _named(block):
    if block is None:
        return "a model with fewer layers"
    return f"a layer of class {type(block).__name__}"
