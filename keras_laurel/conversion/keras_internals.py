"""The one place that reads what Keras keeps private.

Keras has public ways to build a graph and to list its operations, but none to
walk its calls, or to add to a layer that is built. These private things are
used, pinned by `tests/conversion/test_keras_internals.py`:

- the class `Functional`, which `keras.Model(inputs, outputs)` returns;
- `functional_like_constructor`, by which its config has the graph or not;
- `Sequential._functional`, the graph of its list of layers;
- `Functional._nodes_by_depth`, its calls in the order Keras runs them;
- `KerasTensor._keras_history`, the operation that made a tensor;
- `Operation._inbound_nodes` and `_outbound_nodes`, the calls recorded on it;
- `object_name_uids`, the counters of the names that Keras makes up;
- `SymbolicArguments._flat_arguments`, what stands in a call;
- `Layer._flatten_layers()`, all layers inside a layer;
- `Layer._tracker`, which refuses new sublayers once a layer is built;
- the attributes in which a model keeps its training state
  (`TRAINING_STATE`), its settings as a layer (`LAYER_SETTINGS`) and its
  compiled functions, with the variables they were traced with
  (`COMPILED_FUNCTIONS`).
"""

import contextlib

import keras
from keras.src.backend.common import global_state
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


def values(node):
    """The tensors of a call that are no masks.

    Keras adds the mask of a masked stream to the keywords of a call.
    """
    masks = {
        id(t)
        for name, value in node.arguments.kwargs.items()
        if name.endswith("mask")
        for t in keras.tree.flatten(value)
    }
    return [
        t for t in node_inputs(node) if id(t) not in masks and t.dtype != "bool"
    ]


def constants(node):
    """The arrays and variables that stand in a call as they are."""
    return [
        x
        for x in node.arguments._flat_arguments
        if hasattr(x, "shape") and not isinstance(x, keras.KerasTensor)
    ]


def functional(model):
    """The graph of a functional or sequential model; `None` without one."""
    return model._functional if is_sequential(model) else model


@contextlib.contextmanager
def forgotten_calls(layer):
    """Take back what symbolic calls in here leave on `layer`.

    Keras records each call on the layers that are called, from which
    `layer.output` is read, and counts the names it makes up.
    """
    layers = [layer, *flatten_layers(layer)]
    before = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in layers]
    names = global_state.get_global_attribute("object_name_uids")
    kept_names = None if names is None else dict(names)
    try:
        yield
    finally:
        for x, (inbound, outbound) in zip(layers, before):
            del x._inbound_nodes[inbound:]
            del x._outbound_nodes[outbound:]
        if names is not None:
            names.clear()
            names.update(kept_names)


def nodes_behind(outputs):
    """The calls that lead to `outputs`, each after those it depends on."""
    found = {}

    def visit(tensor):
        waiting = [(tensor, False)]
        while waiting:
            tensor, ready = waiting.pop()
            history = getattr(tensor, "_keras_history", None)
            if history is None or history.operation is None:
                continue
            node = history.operation._inbound_nodes[history.node_index]
            if node in found:
                continue
            if ready:
                found[node] = None
            else:
                waiting.append((tensor, True))
                waiting += [(t, False) for t in node_inputs(node)]

    for output in outputs:
        visit(output)
    return list(found)


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
