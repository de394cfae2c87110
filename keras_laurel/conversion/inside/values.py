"""What a call is given: tensors, and all else."""


def is_tensor_like(x):
    return hasattr(x, "shape") and hasattr(x, "dtype")


def shape_of(x):
    """The shape of a tensor, `None` for each size that is not known."""
    return tuple(d if isinstance(d, int) else None for d in x.shape)


def signature(structure):
    """What tells one way to call a layer from another.

    Of tensors it has shapes and dtypes, of all else the value. Equal for the
    calls that run the same code with tensors of the same kinds.
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
    """The leaves of tuples, lists and dicts, `None` among them.

    In Python, and not by `keras.tree`: PyTorch compiles it.
    """
    if isinstance(structure, dict):
        structure = structure.values()
    elif not isinstance(structure, (list, tuple)):
        return [structure]
    return [leaf for part in structure for leaf in flatten(part)]


def map_leaves(function, structure):
    """A structure of what `function` makes of each leaf."""
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
    """The tensors of a structure, in the order of `flatten`."""
    return [x for x in flatten(structure) if is_tensor_like(x)]
