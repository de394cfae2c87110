"""What a call is given: tensors, and all else."""

import keras


def is_tensor_like(x):
    return hasattr(x, "shape") and hasattr(x, "dtype")


def signature(structure):
    """What tells one way to call a layer from another.

    Of tensors it has shapes and dtypes, of all else the value. Equal for the
    calls that run the same code with tensors of the same kinds.
    """
    if is_tensor_like(structure):
        shape = tuple(
            d if isinstance(d, int) else None for d in structure.shape
        )
        return "tensor", shape, str(structure.dtype)
    if isinstance(structure, dict):
        items = ((k, signature(v)) for k, v in structure.items())
        return (type(structure), *items)
    if isinstance(structure, (list, tuple)):
        return (type(structure), *(signature(x) for x in structure))
    try:
        hash(structure)
    except TypeError:
        return "object", id(structure)
    return type(structure), structure


def tensors_of(structure):
    """The tensors of a structure, in the order of `keras.tree.flatten`."""
    return [x for x in keras.tree.flatten(structure) if is_tensor_like(x)]
