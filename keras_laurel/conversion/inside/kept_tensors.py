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
        A function of a layer, `root` or one inside it, that returns a dict of
        these attributes by name.
    """
    layers = [root, *keras_internals.flatten_layers(root)] if root else []
    before = {id(layer): dict(vars(layer)) for layer in layers}

    def kept(layer):
        return _new_tensors(layer, before.get(id(layer)))

    try:
        yield kept
    finally:
        for layer in layers:
            for name in kept(layer):
                if name in before[id(layer)]:
                    vars(layer)[name] = before[id(layer)][name]
                else:
                    del vars(layer)[name]


def _new_tensors(layer, before):
    if before is None:  # The layer was made in this scope.
        return {}
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
