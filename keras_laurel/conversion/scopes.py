"""Check that new variables will lie on the same devices as the model's."""

import math

import keras


def check_scope(model):
    """Raise outside the distribution scope in which `model` was made.

    Raises:
        ValueError: if LAuReL weights, made now, would lie on other devices
            than the weights of `model`. A training step could not use both.
    """
    if not model.weights:
        return
    # In a scope that only records shapes, reading a weight creates it, so
    # the smallest one is read.
    smallest = min(model.weights, key=lambda w: math.prod(w.shape))
    if keras.config.backend() == "tensorflow":
        _check_strategy(model, smallest.value)
    else:
        _check_devices(model, smallest.value)


def _check_strategy(model, value):
    import tensorflow as tf

    made_in = getattr(value, "distribute_strategy", None)
    made_in = made_in if hasattr(value, "values") else None
    active = (
        tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    )
    if made_in is active or (made_in is None and not _has_replicas(active)):
        return
    scope = "in the scope of " + _named(made_in) if made_in else "in no scope"
    now = "in that of " + _named(active) if active else "outside of it"
    raise ValueError(
        "Argument `model` must be made in the scope in which `laurelize` is "
        f"called. Received: {model.name!r}, which was made {scope}, while "
        f"`laurelize` is called {now}. Training could not use its weights and "
        "LAuReL's together. Call `laurelize` where the model was made: `with "
        "strategy.scope(): model = laurelize(model, layer)`."
    )


def _has_replicas(strategy):
    return strategy is not None and strategy.num_replicas_in_sync > 1


def _named(strategy):
    return f"a {type(strategy).__name__.removesuffix('V1')}"


def _check_devices(model, value):
    devices = len(getattr(getattr(value, "sharding", None), "device_set", ()))
    distribution = keras.distribution.distribution()
    if distribution is None:
        if devices > 1:
            raise ValueError(
                "Argument `model` must lie on the devices of the active "
                f"distribution. Received: {model.name!r} on {devices} devices, "
                "while no distribution is active, so LAuReL weights would lie "
                "on one device. Call `laurelize` where the model was made: "
                "after `keras.distribution.set_distribution(...)`, or in its "
                "`scope()`."
            )
        return
    active = distribution.device_mesh.devices.size
    if devices and devices != active:
        raise ValueError(
            "Argument `model` must lie on the devices of the active "
            f"distribution. Received: {model.name!r} on {devices} device(s), "
            f"while the active distribution has {active}, where LAuReL "
            "weights would lie. Call `laurelize` outside `scope()`, or make "
            "the model in it."
        )
