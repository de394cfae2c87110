"""Example inputs of a model, on which it is run to see its calls."""

import inspect
import itertools

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.inside.values import is_tensor_like

BATCH = 2
# Tried in turn for unknown sizes, until the model runs with one.
SIZES = (24, 8, 32, 64, 128, 224, 16, 4, 2, 4096)


def examples(model, inputs=None):
    """Yield arguments to try: tuples of `KerasTensor`s of known sizes."""
    if inputs is not None:
        yield from _with_sizes(_arguments(model, inputs))
    elif keras_internals.has_graph(model):
        graph = keras_internals.functional(model)
        # A sequential model that is not built has none.
        yield from _with_sizes((graph.input,) if graph else None)
    else:
        for dtypes in _dtypes(model):
            yield from _with_sizes(_from_build(model, dtypes))


def _arguments(model, inputs):
    """Return `inputs` as a tuple of positional arguments.

    If the `call` needs several, `inputs` is a tuple or list with one for each.
    """
    parameters = list(inspect.signature(model.call).parameters.values())
    required = [
        p
        for p in parameters
        if p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD
    ]
    if len(required) > 1 and isinstance(inputs, (tuple, list)):
        return tuple(inputs)
    return (inputs,)


def _from_build(model, dtypes):
    """Return arguments of the shapes with which the model was built.

    Return `None` if these shapes are not known.
    """
    config = model.get_build_config() or {}
    shapes = config.get("shapes_dict")
    if shapes is None and "input_shape" in config:
        shapes = {"input_shape": config["input_shape"]}
    if not shapes:
        return None
    return tuple(_tensors(shape, dtypes) for shape in shapes.values())


def _tensors(shape, dtype):
    if isinstance(shape, dict):
        return {k: _tensors(v, dtype) for k, v in shape.items()}
    if _is_shape(shape):
        return keras.KerasTensor(tuple(shape), dtype)
    return type(shape)(_tensors(x, dtype) for x in shape)


def _is_shape(shape):
    return all(d is None or isinstance(d, int) for d in shape)


def _dtypes(model):
    return model.input_dtype, "int32"


def _with_sizes(args):
    if args is None:
        return
    tensors = [x for x in keras.tree.flatten(args) if is_tensor_like(x)]
    unknown = any(None in tuple(x.shape)[1:] for x in tensors)
    ways = [_one_for_all]
    if unknown and len(tensors) > 1:
        ways = [_one_each, _one_by_name, _one_for_all]
    for size in SIZES if unknown else SIZES[:1]:
        for way in ways:
            yield _known(args, size, way(args))


def _one_each(args):
    """Make unknown sizes different in each tensor."""
    return itertools.count()


def _one_by_name(args):
    """Make unknown sizes equal in tensors whose names begin alike.

    The beginning is the part before `_`, as in `encoder_token_ids`.
    """
    numbers = {}
    for names, x in keras.tree.flatten_with_path(args):
        if is_tensor_like(x):
            name = str(names[-1]).partition("_")[0]
            yield numbers.setdefault(name, len(numbers))


def _one_for_all(args):
    return itertools.repeat(0)


def _known(args, size, steps):
    def known(x):
        if not is_tensor_like(x):
            return x
        step = next(steps)
        first, *rest = tuple(x.shape) or (None,)
        if not tuple(x.shape):
            return keras.KerasTensor(
                (), keras.backend.standardize_dtype(x.dtype)
            )
        shape = [BATCH if first is None else first]
        shape += [size + step if d is None else d for d in rest]
        return keras.KerasTensor(
            tuple(shape), keras.backend.standardize_dtype(x.dtype)
        )

    return keras.tree.map_structure(known, args)
