"""The one place that reads what Keras keeps private.

Keras has public ways to build a graph and to list its operations, but none to
walk its calls, or to add to a layer that is built. These private things are
used, pinned by `tests/conversion/test_keras_internals.py`:

- the class `Functional`, which `keras.Model(inputs, outputs)` returns;
- `functional_like_constructor`, by which its config has the graph or not;
- `Functional._nodes_by_depth`, its calls in the order Keras runs them;
- `KerasTensor._keras_history`, the operation that made a tensor;
- `Layer._flatten_layers()`, all layers inside a layer;
- `Layer._tracker`, which refuses new sublayers once a layer is built;
- the attributes in which a model keeps its training state
  (`TRAINING_STATE`), its settings as a layer (`LAYER_SETTINGS`) and its
  compiled functions, with the variables they were traced with
  (`COMPILED_FUNCTIONS`);
- `current_call_ctx`, by which Keras knows its outermost call, and the mask on
  a tensor;
- `Layer._inbound_nodes`, the calls of a layer in graphs, and
  `backend.compute_output_spec`, which runs a function on shapes.
"""

import contextlib

import keras
from keras.src import backend
from keras.src.backend.common import global_state
from keras.src.backend.common import masking
from keras.src.models.functional import Functional
from keras.src.models.functional import functional_like_constructor


def is_functional(model):
    """Whether `model` has a graph of its own (a `Sequential` has not)."""
    return isinstance(model, Functional)


def nodes(model):
    """The calls of a functional model, each after the calls it depends on.

    The order follows from the graph alone: it is the same after saving and
    loading.
    """
    by_depth = model._nodes_by_depth
    return [n for depth in sorted(by_depth)[::-1] for n in by_depth[depth]]


def node_inputs(node):
    """The tensors a call reads, in the order of its arguments."""
    return node.arguments.keras_tensors


def call_again(node, operation, tensors):
    """Call `operation` as `node` did, on `tensors[id(old)]` for each input."""
    args, kwargs = node.arguments.fill_in(tensors)
    return operation(*args, **kwargs)


def fresh_input(tensor):
    """A new `keras.Input` with every option of the one that made `tensor`."""
    layer = tensor._keras_history.operation
    return type(layer).from_config(layer.get_config()).output


def initialize(model, *graph, name):
    """Give `model`, of any functional or sequential class, this graph.

    Args:
        model: What `__new__` of its class returned.
        *graph: Inputs and outputs, or the list of layers.
        name: String.
    """
    base = keras.Sequential if is_sequential(model) else Functional
    base.__init__(model, *graph, name=name)


def config_has_graph(model):
    """Whether the config of `model` has all its layers, and what they are
    called on, rather than arguments from which a constructor makes them."""
    cls = type(model)
    if is_sequential(model):
        return cls.get_config is keras.Sequential.get_config
    return functional_like_constructor(cls)


TRAINING_STATE = frozenset(
    {
        "history",
        "optimizer",
        "stop_evaluating",
        "stop_predicting",
        "stop_training",
        "_compile_config",
        "_compiled_trainable_state",
        "_eval_epoch_iterator",
        "_jax_state",
    }
)
LAYER_SETTINGS = ("_dtype_policy", "_trainable", "_auto_config")


def own_attributes(model):
    """What the class of `model`, or its user, keeps on it."""
    x, layer = keras.Input((1,)), keras.layers.Identity()
    sequential = is_sequential(model)
    plain = keras.Sequential([x, layer]) if sequential else keras.Model(x, x)
    known = _attributes(plain).keys() | TRAINING_STATE
    return {
        name: value
        for name, value in _attributes(model).items()
        if name not in known
    }


def _attributes(model):
    """PyTorch keeps the attributes that are modules apart."""
    return {**model.__dict__, **model.__dict__.get("_modules", {})}


def copy_layer_settings(model, result):
    for name in LAYER_SETTINGS:
        result.__dict__[name] = getattr(model, name)


def flatten_layers(layer):
    """All layers inside `layer`, itself left out, each once."""
    return list(
        {id(x): x for x in layer._flatten_layers(include_self=False)}.values()
    )


def is_sequential(model):
    return isinstance(model, keras.Sequential)


def has_graph(model):
    """Whether what `model` computes is in its graph or its list of layers."""
    return is_functional(model) or is_sequential(model)


def is_public_layer(layer):
    """Whether the class of `layer` is one of `keras.layers`."""
    name = type(layer).__name__
    return getattr(keras.layers, name, None) is type(layer)


COMPILED_FUNCTIONS = (
    "train_function",
    "test_function",
    "predict_function",
    "generate_function",
)


def add_sublayer(layer, name, sublayer):
    """Set an attribute of a layer, built or not, to a layer."""
    was_locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        setattr(layer, name, sublayer)
    finally:
        if was_locked:
            layer._tracker.lock()


def build_inside(layer, sublayer, shapes):
    """Build `sublayer` with the variable paths it has inside `layer`."""
    path = layer.path or layer.name
    with contextlib.ExitStack() as scopes:
        for part in path.split("/"):
            scopes.enter_context(keras.name_scope(part))
        sublayer.build(shapes)


def forget_compiled(model):
    """Drop what was traced before `model` had its new variables."""
    for name in COMPILED_FUNCTIONS:
        if getattr(model, name, None) is not None:
            setattr(model, name, None)


def outer_call(layer):
    """The call of a model or layer in which `layer` is running now.

    `None` where it is called by itself. Two calls are never one object.
    """
    call = global_state.get_global_attribute("current_call_ctx")
    return None if call is None or call.entry_layer is layer else call


def keep_mask(result, tensor):
    """Put on `result` the mask that Keras has put on `tensor`."""
    mask = masking.get_keras_mask(tensor)
    if mask is not None:
        masking.set_keras_mask(result, mask)
    return result


def call_specs(layer, first):
    """What `layer` is called on and returns, where a graph or tracing says.

    Args:
        layer: A built layer.
        first: `first(args, kwargs)` takes the tensors of interest from the
            arguments of a call.

    Returns:
        List of `(arguments, outputs)`; it is empty where Keras does not know.
    """
    calls = [
        (first(node.arguments.args, node.arguments.kwargs), node.outputs)
        for node in layer._inbound_nodes
    ]
    shapes = layer.get_build_config() or {}
    if calls or not _is_shape(shapes.get("input_shape")):
        return calls
    x = keras.KerasTensor(shapes["input_shape"], layer.compute_dtype)
    try:
        y = backend.compute_output_spec(layer.call, x)
    except Exception:  # Whatever the layer's own code raises.
        return []
    return [([x], keras.tree.flatten(y))]


def _is_shape(shape):
    return isinstance(shape, (tuple, list)) and all(
        isinstance(size, (int, type(None))) for size in shape
    )
