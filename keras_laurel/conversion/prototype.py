"""Copies of the layer that `laurelize` is given, one for each connection."""

import keras


def copy_of(prototype, number, name, dtype_policy, **changes):
    """A copy by its config, to be built.

    Args:
        prototype: The `Laurel` layer.
        number: Integer, which of the connections it is for.
        name: String, the name of the copy.
        dtype_policy: The `DTypePolicy` of the copy. LAuReL weights stay
            floats where it is quantized.
        **changes: Other options of the layer to change.

    Raises:
        ValueError: if the config of `prototype` does not make another one, or
            has a setting that `changes` would replace by another.
    """
    if dtype_policy.quantization_mode is not None:
        dtype_policy = plain_policy(
            dtype_policy.variable_dtype, dtype_policy.compute_dtype
        )
    dtype = keras.dtype_policies.serialize(dtype_policy)
    # At most two draws for each activation: A, and B where a norm follows.
    draws = 2 * min(max(prototype.most_activations, 1), 1000)
    _check_one_regularizer(prototype, name, changes)
    changes = {**changes, "name": name, "dtype": dtype}
    try:
        config = _with_another_seed(prototype.get_config(), number * draws)
        return type(prototype).from_config({**config, **changes})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`layer` got {prototype!r}, which its config does not make "
            "again, as each connection needs, and a saved model. Give it an "
            "`a_initializer` of `keras.initializers`, or one that is "
            "registered; a class of your own needs a `get_config` with all "
            "arguments of its constructor, and `**kwargs` for those of "
            "`keras_laurel.Laurel`."
        ) from error


def plain_policy(variable_dtype, compute_dtype):
    """The `DTypePolicy` of these dtypes that quantizes nothing."""
    is_mixed = variable_dtype == "float32" and compute_dtype in _NARROW
    name = f"mixed_{compute_dtype}" if is_mixed else compute_dtype
    return keras.dtype_policies.get(name)


_NARROW = ("float16", "bfloat16")


def _check_one_regularizer(prototype, name, changes):
    if "activity_regularizer" in changes and prototype.activity_regularizer:
        raise ValueError(
            f"`layer` got {prototype!r} with an `activity_regularizer`, and "
            f"the addition of {name!r} has one of its own, which the LAuReL "
            "layer in its place takes on. Leave out that of `layer`, or the "
            "site with `sites=[...]`."
        )


def _with_another_seed(config, step):
    """Initializers made with one seed draw the same: no two copies may."""
    initializer = config.get("a_initializer", {})
    options = initializer.get("config")
    seed = options.get("seed") if isinstance(options, dict) else None
    if not isinstance(seed, int):
        return config
    options = {**options, "seed": seed + step}
    return {**config, "a_initializer": {**initializer, "config": options}}
