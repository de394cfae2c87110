"""Models of different depths that start alike."""


def copy_shared_weights(source, target):
    """Gives `target` the weights of the layers of the same name."""
    shared = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        if layer.name in shared:
            layer.set_weights(shared[layer.name].get_weights())
