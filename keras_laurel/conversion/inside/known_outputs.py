"""Record the shapes that layers return, to run each layer less often."""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.inside.values import map_leaves
from keras_laurel.conversion.inside.values import signature
from keras_laurel.conversion.inside.values import spec_of
from keras_laurel.conversion.inside.values import tensors_of


class KnownOutputs:
    """Shapes and dtypes that layers returned in a run, by their arguments."""

    def __init__(self):
        self._outputs = {}

    def forget(self):
        self._outputs.clear()

    def note(self, layer, args, kwargs, outputs):
        if not (_has_masks((args, kwargs, outputs)) or _has_unknown(outputs)):
            # The layer is kept with them, so that its id stays unique: a
            # `call` may create layers that are deleted when it returns.
            known = layer, map_leaves(spec_of, outputs)
            self._outputs[_key(layer, args, kwargs)] = known

    def again(self, layer, args, kwargs, make):
        """Return tensors like the recorded outputs of a call, or `None`.

        Args:
            layer, args, kwargs: The call.
            make: Function that makes a tensor from a `KerasTensor`.
        """
        if _has_masks((args, kwargs)):
            return None
        _, specs = self._outputs.get(_key(layer, args, kwargs), (None, None))
        return map_leaves(
            lambda x: make(x) if isinstance(x, keras.KerasTensor) else x, specs
        )


def is_pure(layer):
    """Return whether a layer does the same in each run.

    A layer that is not one of Keras' own, or holds one, may have side effects,
    or return something else in training.
    """
    is_public = keras_internals.is_of_keras
    return is_public(layer) and all(
        map(is_public, keras_internals.flatten_layers(layer))
    )


def _has_unknown(outputs):
    return not all(
        isinstance(size, int) for x in tensors_of(outputs) for size in x.shape
    )


def _key(layer, args, kwargs):
    """Return the key of a call, without `training`.

    Keras may add that argument. No shape of its own layers depends on it, and
    other layers are recorded anew in each run, with its value in that run.
    """
    kwargs = {
        name: value
        for name, value in kwargs.items()
        if name != "training" and value is not None
    }
    return id(layer), signature(map_leaves(spec_of, (args, kwargs)))


def _has_masks(structure):
    return any(map(keras_internals.has_mask, tensors_of(structure)))
