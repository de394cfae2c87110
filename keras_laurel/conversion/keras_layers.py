"""The one place that reads what Keras keeps private of a built layer.

- `Layer._tracker`, which refuses new sublayers once a layer is built;
- the compiled functions of a `Model` and of a KerasHub `CausalLM`, which hold
  the variables they were traced with (`COMPILED_FUNCTIONS`).

Both are pinned by `tests/conversion/test_keras_layers.py`.
"""

import contextlib

import keras

COMPILED_FUNCTIONS = (
    "train_function",
    "test_function",
    "predict_function",
    "generate_function",
)


def add_sublayer(layer, name, sublayer):
    """Set an attribute of a built layer to a layer."""
    layer._tracker.unlock()
    try:
        setattr(layer, name, sublayer)
    finally:
        layer._tracker.lock()


def build_inside(layer, sublayer, shapes):
    """Build `sublayer` with the variable paths it has inside `layer`."""
    with contextlib.ExitStack() as scopes:
        for part in layer.path.split("/"):
            scopes.enter_context(keras.name_scope(part))
        sublayer.build(shapes)


def forget_compiled(model):
    """Drop what was traced before `model` had its new variables."""
    for name in COMPILED_FUNCTIONS:
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
