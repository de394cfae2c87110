"""What each device will keep of a model, before it keeps anything."""

import keras

from keras_laurel.distribution import plan_memory


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
    with keras.StatelessScope(initialize_variables=False):
        model = build()
    # Or the next scope that ends would give them their values after all.
    keras.utils.clear_session()
    plan = plan_memory(model, devices.distribution, optimizer_slots)
    return f"Plan of {name}. {plan if devices.count > 1 else plan.total_line}"
