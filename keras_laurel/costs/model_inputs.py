"""The inputs of a model with all their sizes, without values."""

import keras

from keras_laurel.conversion import keras_internals


def sized_inputs(model, batch_size, sequence_length):
    """Return a structure of `keras.KerasTensor` as inputs of `model`.

    Undefined sizes are replaced by `batch_size` and, in the second axis of
    inputs of rank 2 or 3, by `sequence_length`.

    Raises:
        ValueError: if the inputs of `model` are not known, if a size is left
            undefined, or if a given size contradicts the model.
    """
    inputs = _inputs(model)
    flat = keras.tree.flatten(inputs)
    if sequence_length and not any(_has_length(x) for x in flat):
        raise ValueError(
            "Argument `sequence_length` must be None for a model without "
            "undefined lengths. Received: "
            f"sequence_length={sequence_length}, and the inputs of "
            f"{model.name!r} have the shapes {[tuple(x.shape) for x in flat]}, "
            "in which no length is undefined. Leave it out."
        )
    sized = [_sized(x, batch_size, sequence_length, model) for x in flat]
    return keras.tree.pack_sequence_as(inputs, sized)


def _inputs(model):
    if keras_internals.is_functional(model):
        return model.input
    if keras_internals.is_sequential(model) and model.built:
        return model.inputs[0]
    shapes = (model.get_build_config() or {}).get("input_shape")
    if not shapes:
        raise ValueError(
            "Argument `model` must have known input shapes. Received: "
            f"{model.name!r}, whose input shapes are not known. Build it with "
            "`model.build(input_shape)`, or by a call on one input; or give "
            "it a graph with `keras.Model(inputs, outputs)`."
        )
    return keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor(shape, model.input_dtype), shapes
    )


def _has_length(x):
    return len(x.shape) in (2, 3) and x.shape[1] is None


def _sized(x, batch_size, sequence_length, model):
    batch, *sizes = x.shape
    if batch not in (None, batch_size):
        raise ValueError(
            "Argument `batch_size` must be the model's own if it has one. "
            f"Received: batch_size={batch_size}, and {model.name!r} takes "
            f"batches of {batch}. Pass `batch_size={batch}`."
        )
    if _has_length(x):
        sizes[0] = sequence_length
    if None in sizes:
        raise ValueError(
            "Argument `model` must have inputs of defined sizes. Received: "
            f"{model.name!r}, whose input {x.name!r} has the shape "
            f"{tuple(x.shape)}, with undefined sizes. {_remedy(x)}"
        )
    return keras.KerasTensor((batch_size, *sizes), x.dtype, name=x.name)


def _remedy(x):
    if _has_length(x):
        return "Pass `sequence_length`."
    return (
        "Make the model with a defined size, such as "
        "`input_shape=(224, 224, 3)`; or measure `keras.Model(x, model(x))` "
        "for an `x = keras.Input(...)` of a defined size."
    )
