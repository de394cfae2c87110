"""The paths of the layers inside a layer, made of attribute names."""

import keras

from keras_laurel.conversion import keras_internals


def layer_paths(root):
    """Return paths such as `"encoder/blocks_3"`, by the `id` of the layer.

    Each layer has the path by which it is first reached. In a functional or
    sequential model, and in a wrapper, the names of the layers are used.
    """
    paths = {id(root): ""}
    waiting = [root]
    while waiting:
        layer = waiting.pop(0)
        for name, child in _children(layer):
            if id(child) not in paths:
                above = paths[id(layer)]
                paths[id(child)] = f"{above}/{name}" if above else name
                waiting.append(child)
    for layer in keras_internals.flatten_layers(root):
        paths.setdefault(id(layer), layer.name)
    return paths


def _children(layer):
    if keras_internals.has_graph(layer):
        for child in layer.layers:
            yield child.name, child
    if isinstance(layer, keras.layers.Wrapper):
        yield layer.layer.name, layer.layer
    for name, value in keras_internals.attributes_with_layers(layer).items():
        if not name.startswith("_self_"):  # TensorFlow's
            yield from layers_in(value, name)


def layers_in(value, name):
    """Yield `(path, layer)` of the layers in nested lists and dicts."""
    if isinstance(value, keras.layers.Layer):
        yield name, value
    elif isinstance(value, dict):
        for key, x in value.items():
            yield from layers_in(x, f"{name}_{key}")
    elif isinstance(value, (list, tuple)):
        for i, x in enumerate(value):
            yield from layers_in(x, f"{name}_{i}")
