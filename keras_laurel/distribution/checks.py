"""Checks of the arguments of functions for several devices."""

import keras


def check_built(model):
    """Raise if a model's weights are not known."""
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            "Argument `model` must be a `keras.Model` that is built, whose "
            f"weights are known. Received: model={model!r}. Build it with "
            "`model.build(input_shape)`, or by a call on one input."
        )


def check_type(name, value, expected):
    """Raise if `value` is not of this class of `keras.distribution`."""
    if not isinstance(value, expected):
        raise ValueError(
            f"Argument `{name}` must be a "
            f"`keras.distribution.{expected.__name__}`. Received: "
            f"{name}={value!r}."
        )


def check_distribution(distribution):
    # Keras does not export the base class of all distributions.
    if distribution and not hasattr(distribution, "get_variable_layout"):
        raise ValueError(
            "Argument `distribution` must be a distribution or None. Received: "
            f"distribution={distribution!r}. Make one with "
            "`keras_laurel.distribution.make_distribution`."
        )
