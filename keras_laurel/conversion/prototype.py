"""Copies of the layer given to `laurelize`, one for each connection."""

import keras


def copy_of(prototype, number, name, dtype_policy, **changes):
    """Return an unbuilt copy of a layer, made from its config.

    Args:
        prototype: The `Laurel` layer.
        number: Integer, the index of the connection.
        name: String, the name of the copy.
        dtype_policy: The `DTypePolicy` of the copy. LAuReL weights stay
            floats if it is a quantized one.
        **changes: Other options of the layer to change.

    Raises:
        ValueError: if `prototype` cannot be made again from its config, or
            has a setting that `changes` would overwrite.
    """
    if dtype_policy.quantization_mode is not None:
        dtype_policy = plain_policy(
            dtype_policy.variable_dtype, dtype_policy.compute_dtype
        )
    dtype = keras.dtype_policies.serialize(dtype_policy)
    # The number of seeds that one layer uses: at most two draws for each
    # activation, A, and B if a norm follows.
    # With `num_activations="all"` the number of activations is infinite.
    draws = 2 * min(max(prototype.most_activations, 1), 1000)
    _check_one_regularizer(prototype, name, changes)
    changes = {**changes, "name": name, "dtype": dtype}
    try:
        config = _with_another_seed(prototype.get_config(), number * draws)
        return type(prototype).from_config({**config, **changes})
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Argument `layer` must be a layer that can be made again from its "
            "config, for each connection and for saving. Received: "
            f"layer={prototype!r}. Give it an `a_initializer` of "
            "`keras.initializers`, or one that is registered; your own class "
            "needs a `get_config` with all arguments of its constructor, and "
            "`**kwargs` for those of `keras_laurel.Laurel`."
        ) from error


def plain_policy(variable_dtype, compute_dtype):
    """Return the `DTypePolicy` of these dtypes without quantization."""
    is_mixed = variable_dtype == "float32" and compute_dtype in _NARROW
    name = f"mixed_{compute_dtype}" if is_mixed else compute_dtype
    return keras.dtype_policies.get(name)


_NARROW = ("float16", "bfloat16")


def _check_one_regularizer(prototype, name, changes):
    if "activity_regularizer" in changes and prototype.activity_regularizer:
        raise ValueError(
            "Argument `layer` must be without an `activity_regularizer` if "
            "an addition has one, which the LAuReL layer then takes over. "
            f"Received: layer={prototype!r}, and the addition of {name!r} has "
            "one of its own. Leave out that of `layer`, or leave out the site "
            "with `sites=[...]`."
        )


def _with_another_seed(config, step):
    """Return the config with another seed, so that each copy draws anew."""
    initializer = config.get("a_initializer", {})
    options = initializer.get("config")
    seed = options.get("seed") if isinstance(options, dict) else None
    if not isinstance(seed, int):
        return config
    options = {**options, "seed": seed + step}
    return {**config, "a_initializer": {**initializer, "config": options}}
