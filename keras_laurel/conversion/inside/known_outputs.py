"""Record the shapes that layers return, to run each layer less often."""

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.inside.values import is_tensor_like
from keras_laurel.conversion.inside.values import map_leaves
from keras_laurel.conversion.inside.values import signature
from keras_laurel.conversion.inside.values import tensors_of

# These layers make masks, which Keras attaches to their outputs.
_MASKING = keras.layers.Embedding, keras.layers.Masking


class KnownOutputs:
    """Shapes and dtypes that layers returned in a run, by their arguments."""

    def __init__(self):
        self._outputs = {}
        # The layer is kept with the answer, so that its id stays unique: a
        # `call` may create layers that are deleted when it returns.
        self._is_pure = {}

    def note(self, layer, args, kwargs, outputs):
        if not (_has_masks((args, kwargs, outputs)) or _has_unknown(outputs)):
            self.is_pure(layer)
            specs = map_leaves(_spec, outputs)
            self._outputs[_key(layer, args, kwargs)] = specs

    def again(self, layer, args, kwargs, make):
        """Return tensors like the recorded outputs of a call, or `None`.

        Args:
            layer, args, kwargs: The call.
            make: Function that makes a tensor from a `KerasTensor`.
        """
        if _has_masks((args, kwargs)):
            return None
        specs = self._outputs.get(_key(layer, args, kwargs))
        return map_leaves(
            lambda x: make(x) if isinstance(x, keras.KerasTensor) else x, specs
        )

    def is_pure(self, layer):
        """Return whether a layer does the same in each run.

        A layer that is not one of Keras' own, or holds one, may have side
        effects, or return something else in training.
        """
        if id(layer) not in self._is_pure:
            self._is_pure[id(layer)] = layer, _is_pure(layer)
        return self._is_pure[id(layer)][1]


def _is_pure(layer):
    layers = layer, *keras_internals.flatten_layers(layer)
    return all(
        keras_internals.is_public_layer(x) and not isinstance(x, _MASKING)
        for x in layers
    )


def _has_unknown(outputs):
    return not all(
        isinstance(size, int) for x in tensors_of(outputs) for size in x.shape
    )


def _spec(x):
    if not is_tensor_like(x):
        return x
    dtype = keras.backend.standardize_dtype(x.dtype)
    return keras.KerasTensor(tuple(x.shape), dtype)


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
    return id(layer), signature(map_leaves(_spec, (args, kwargs)))


def _has_masks(structure):
    return any(map(keras_internals.has_mask, tensors_of(structure)))
