"""Copies of the layer that `laurelize` is given, one for each connection."""

import keras


def copy_of(prototype, number, name, dtype_policy, **changes):
    """A copy by its config, to be built.

    Args:
        prototype: The `Laurel` layer.
        number: Integer, which of the connections it is for.
        name: String, the name of the copy.
        dtype_policy: The `DTypePolicy` of the copy.
        **changes: Other options of the layer to change.

    Raises:
        ValueError: if the config of `prototype` does not make another one.
    """
    dtype = keras.dtype_policies.serialize(dtype_policy)
    changes = {**changes, "name": name, "dtype": dtype}
    # At most two draws for each activation: A, and B where a norm follows.
    draws = 2 * max(prototype.num_activations, 1)
    try:
        config = _with_another_seed(prototype.get_config(), number * draws)
        return type(prototype).from_config({**config, **changes})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`layer` got {prototype!r}, which its config does not make "
            "again, as each connection needs, and a saved model. Give it an "
            "`a_initializer` of `keras.initializers`, or one that is "
            "registered; a class of your own needs a `get_config` with all "
            "arguments of its constructor."
        ) from error


def _with_another_seed(config, step):
    """Initializers made with one seed draw the same: no two copies may."""
    initializer = config.get("a_initializer", {})
    options = initializer.get("config")
    seed = options.get("seed") if isinstance(options, dict) else None
    if not isinstance(seed, int):
        return config
    options = {**options, "seed": seed + step}
    return {**config, "a_initializer": {**initializer, "config": options}}
