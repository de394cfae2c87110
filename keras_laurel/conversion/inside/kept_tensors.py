"""Tensors that the `call` of a layer keeps in attributes.

Attention layers do, for example, to show their scores. While a layer runs on
symbolic tensors, these would replace the tensors of its last real run.
"""

import contextlib

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.inside.values import flatten
from keras_laurel.conversion.inside.values import is_tensor_like


@contextlib.contextmanager
def keeping_tensors(root):
    """Restore the attributes of layers that are set to tensors in this scope.

    Those that a layer sets when it is built stay, unless they are symbolic.

    Args:
        root: A layer, or `None`.

    Yields:
        A function that returns a dict of these attributes: by the `id` of the
        layer, in `root` or `root` itself, then by name.
    """
    layers = [root, *keras_internals.flatten_layers(root)] if root else []
    before = [dict(vars(layer)) for layer in layers]

    def kept():
        pairs = zip(layers, before)
        found = {id(layer): _new_tensors(layer, old) for layer, old in pairs}
        return {key: names for key, names in found.items() if names}

    try:
        yield kept
    finally:
        for layer, old in zip(layers, before):
            for name in _new_tensors(layer, old):
                if name in old:
                    vars(layer)[name] = old[name]
                else:
                    del vars(layer)[name]


def _new_tensors(layer, before):
    is_kept = _is_tensor if before["built"] else _is_symbolic
    return {
        name: value
        for name, value in vars(layer).items()
        if value is not before.get(name) and any(map(is_kept, flatten(value)))
    }


def _is_tensor(x):
    return is_tensor_like(x) and not isinstance(x, keras.Variable)


def _is_symbolic(x):
    return isinstance(x, keras.KerasTensor)
