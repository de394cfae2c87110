"""Sizes of models that have no memory yet."""

import math

import keras

from keras_laurel.distribution import plan_memory


def without_memory(build):
    """A model whose variables have shapes and no values."""
    with keras.StatelessScope(initialize_variables=False):
        model = build()
    # Or the next scope that ends would give them their values after all.
    keras.utils.clear_session()
    return model


def count(weights):
    return sum(math.prod(weight.shape) for weight in weights)


def describe_parameters(counts):
    """A line for each arm, such as `rw: 157,196,976 parameters, +48`.

    Args:
        counts: Dict of numbers by arm; the first is what others add to.
    """
    plain = next(iter(counts.values()))
    return "\n".join(
        f"{arm}: {number:,} parameters, {number - plain:+,} "
        f"({100 * (number - plain) / plain:+.3f} %)"
        for arm, number in counts.items()
    )


def describe_plan(name, build, devices, optimizer_slots):
    """A table of the weights of a model, their layouts and their bytes.

    Args:
        name: What to call the model.
        build: Function without arguments that makes it.
        devices: `Devices`.
        optimizer_slots: Variables of the optimizer for each weight.

    Raises:
        ValueError: If a weight cannot be divided as the distribution asks.
    """
    model = without_memory(build)
    plan = plan_memory(model, devices.distribution, optimizer_slots)
    return f"Plan of {name}. {plan if devices.count > 1 else plan.total_line}"
