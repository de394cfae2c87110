"""What the functions for several devices refuse."""

import keras


def check_built(model):
    """Raises for a model whose weights are not known."""
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"`model` got {model!r}; it needs a `keras.Model` that is built, "
            "whose weights are known. Build it by `model.build(input_shape)`, "
            "or by a call on one input."
        )


def check_type(name, value, expected):
    """Raises where `value` is not of a class of `keras.distribution`."""
    if not isinstance(value, expected):
        raise ValueError(
            f"`{name}` got {value!r}; it needs a "
            f"`keras.distribution.{expected.__name__}`."
        )


def check_distribution(distribution):
    # Keras does not export the class that all distributions are of.
    if distribution and not hasattr(distribution, "get_variable_layout"):
        raise ValueError(
            f"`distribution` got {distribution!r}; it needs a distribution, "
            "as `keras_laurel.distribution.make_distribution` returns, or None."
        )
