"""The arguments of a call: structures of tensors and other values."""

import keras


def is_tensor_like(x):
    return hasattr(x, "shape") and hasattr(x, "dtype")


def shape_of(x):
    """Return the shape of a tensor, with `None` for unknown sizes."""
    return tuple(d if isinstance(d, int) else None for d in x.shape)


def spec_of(x):
    """Return a `KerasTensor` like a tensor, and other values as they are."""
    if not is_tensor_like(x):
        return x
    dtype = keras.backend.standardize_dtype(x.dtype)
    return keras.KerasTensor(tuple(x.shape), dtype)


def signature(structure):
    """Return a hashable key for arguments of a layer.

    It has the shapes and dtypes of tensors and the values of other arguments.
    It is equal for calls that run the same code on tensors of the same shapes
    and dtypes.
    """
    if is_tensor_like(structure):
        shape = shape_of(structure)
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


def flatten(structure):
    """Return the leaves of tuples, lists and dicts, including `None`.

    This is written in Python, since PyTorch can compile it, and not
    `keras.tree`.
    """
    if isinstance(structure, dict):
        structure = structure.values()
    elif not isinstance(structure, (list, tuple)):
        return [structure]
    return [leaf for part in structure for leaf in flatten(part)]


def flatten_as(structure, like):
    """Return the leaves of a structure in the order that `like` has them.

    On PyTorch a functional model returns a dict with its keys sorted, and on
    symbolic tensors one with those of its definition.
    """
    if isinstance(like, dict) and isinstance(structure, dict):
        pairs = [(structure[key], like[key]) for key in like]
    elif isinstance(like, (list, tuple)) and isinstance(
        structure, (list, tuple)
    ):
        pairs = zip(structure, like)
    else:
        return [structure]
    return [leaf for x, y in pairs for leaf in flatten_as(x, y)]


def map_leaves(function, structure):
    """Return a structure in which `function` is applied to each leaf."""
    if isinstance(structure, dict):
        items = structure.items()
        made = {k: map_leaves(function, x) for k, x in items}
        return made if type(structure) is dict else type(structure)(made)
    if not isinstance(structure, (list, tuple)):
        return function(structure)
    made = [map_leaves(function, x) for x in structure]
    if hasattr(structure, "_fields"):
        return type(structure)(*made)
    return tuple(made) if isinstance(structure, tuple) else made


def tensors_of(structure):
    """Return the tensors of a structure, in the order of `flatten`."""
    return [x for x in flatten(structure) if is_tensor_like(x)]
