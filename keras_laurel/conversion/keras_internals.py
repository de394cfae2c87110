"""The only module of conversion that uses private parts of Keras.

Keras has public ways to build a graph and to list its operations, but none to
walk its calls, or to add to a layer that is built. These private parts are
used; `tests/conversion/test_keras_internals.py` fails if one of them changes:

- the class `Functional`, which `keras.Model(inputs, outputs)` returns;
- `functional_like_constructor`, which decides if its config has the graph;
- `Sequential._functional`, the graph of its list of layers;
- `Functional._nodes_by_depth`, its calls in the order Keras runs them;
- `Operation._inbound_nodes`, all calls of an operation; `layer.input` and
  `layer.output` belong to the first;
- `KerasTensor._keras_history`, the operation that made a tensor, and the
  index of that call in `_inbound_nodes`;
- `Operation._outbound_nodes`, the calls that read an operation's outputs;
- `Function._nodes`, the calls of a model by operation and index, from which
  its config is made;
- `object_name_uids`, the counters in the names that Keras generates;
- `SymbolicArguments._flat_arguments`, the arguments of a call;
- `Layer._flatten_layers()`, all layers inside a layer;
- `Layer._tracker`, which refuses new sublayers once a layer is built;
- the attributes in which a model keeps its training state
  (`TRAINING_STATE`), its settings as a layer (`LAYER_SETTINGS`) and its
  compiled functions, with the variables they were traced with
  (`COMPILED_FUNCTIONS`);
- `current_call_ctx`, which holds the outermost call that is running and its
  `training`, and the mask on a tensor;
- `Layer._inbound_nodes`, the calls of a layer in graphs, and
  `backend.compute_output_spec`, which runs a function on shapes.
"""

import contextlib
import functools
import gc
import inspect

import keras
from keras.src import backend
from keras.src.backend.common import global_state
from keras.src.backend.common import masking
from keras.src.models.functional import Functional
from keras.src.models.functional import functional_like_constructor
from keras.src.ops.function import Function
from keras.src.ops.function import make_node_key
from keras.src.ops.node import KerasHistory


def is_functional(model):
    """Return whether `model` is a functional model.

    A `Sequential` is not one: it holds its graph in an attribute.
    """
    return isinstance(model, Functional)


def nodes(model):
    """Return the calls of a functional model in the order they run.

    Each call comes after those it depends on. The order depends only on the
    graph, so it is the same after saving and loading.
    """
    by_depth = model._nodes_by_depth
    return [n for depth in sorted(by_depth)[::-1] for n in by_depth[depth]]


def node_inputs(node):
    """Return the tensors that a call reads, in the order of its arguments."""
    return node.arguments.keras_tensors


def values(node):
    """Return the tensors that a call reads, except masks and weights.

    Keras adds the mask of its input to the keyword arguments of a call.
    """
    left_out = {id(t) for t in _weights(node)} | {
        id(t)
        for name, value in node.arguments.kwargs.items()
        if name.endswith("mask")
        for t in keras.tree.flatten(value)
    }
    return [
        t
        for t in node_inputs(node)
        if id(t) not in left_out and t.dtype != "bool"
    ]


def _weights(node):
    """Return the weights of a `trace.Call`; a node of Keras has none."""
    return getattr(node, "weights", ())


def constants(node):
    """Return the arrays and weights among the arguments of a call."""
    arrays = [
        x
        for x in node.arguments._flat_arguments
        if hasattr(x, "shape") and not isinstance(x, keras.KerasTensor)
    ]
    return [*arrays, *_weights(node)]


def is_array(constant):
    """Return whether one of the `constants` of a call is never trained."""
    return not isinstance(constant, (keras.Variable, keras.KerasTensor))


def functional(model):
    """Return the graph of a functional or sequential model.

    It is `None` for a sequential model that is not built.
    """
    return model._functional if is_sequential(model) else model


def dtype_of(tensor):
    """Return the dtype of a tensor of any backend, as Keras names it."""
    return keras.backend.standardize_dtype(tensor.dtype)


def autocast(layer):
    """Return the scope in which a layer reads its weights in its call."""
    return backend.AutocastScope(
        layer.compute_dtype if layer.autocast else None
    )


@contextlib.contextmanager
def forgotten_calls(layer):
    """Undo what symbolic calls in this scope record on `layer`.

    Keras records each call on the layers that are called, since
    `layer.output` is read from there, and counts the names it generates.
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


_VERSION = tuple(int(part) for part in keras.version().split(".")[:2])


def add_activity_loss(layer, output):
    """Add the loss that `Layer.__call__` adds for an `activity_regularizer`."""
    if layer.activity_regularizer is not None:
        loss = layer.activity_regularizer(output)
        # Keras divides this loss by the batch size since 3.14.
        if _VERSION >= (3, 14):
            batch_size = keras.ops.cast(keras.ops.shape(output)[0], loss.dtype)
            loss = keras.ops.divide_no_nan(loss, batch_size)
        layer.add_loss(loss)


@contextlib.contextmanager
def keeping_losses(layer):
    """Restore the losses of a layer's last call, which others would clear."""
    layers = [layer, *flatten_layers(layer)]
    before = [(list(x._losses), set(x._loss_ids)) for x in layers]
    try:
        yield
    finally:
        for x, (losses, ids) in zip(layers, before):
            x._losses[:] = losses
            x._loss_ids.clear()
            x._loss_ids.update(ids)


def nodes_behind(outputs):
    """Return the calls that lead to `outputs`.

    Each call comes after those it depends on.
    """
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


def producer(tensor):
    """Return the call that made a tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def is_addition(node):
    """Return whether a call is one of `keras.layers.Add` or of `+`."""
    operation = node.operation
    # A subclass of `Add` may add in another way: its `call` is opened.
    if isinstance(operation, keras.layers.Layer):
        return type(operation) is keras.layers.Add
    # The class behind `+` and `keras.ops.add` is not exported by Keras.
    return type(operation).__name__ == "Add"


def call_again(node, operation, tensors):
    """Call `operation` as `node` did, on `tensors[id(old)]` for each input."""
    args, kwargs = node.arguments.fill_in(tensors)
    return operation(*args, **kwargs)


def output_spec(node, tensors):
    """Return the outputs of `call_again` as `KerasTensor`s without a graph."""
    args, kwargs = node.arguments.fill_in(tensors)
    return node.operation.compute_output_spec(*args, **kwargs)


@contextlib.contextmanager
def new_calls_first(model):
    """Put the calls made in this scope before the earlier ones.

    `layer.input` and `layer.output` belong to the layer's first call. Users
    make feature extractors and new heads from them, which after conversion
    must belong to the new network. Keras identifies a call by its index among
    the calls of its operation, so this function updates the index in the
    tensors and models that share the layers. They run and are saved as before.

    If the body raises, its calls are undone.

    Args:
        model: The model whose operations, nested ones included, are called.

    Yields:
        `NewCalls`.
    """
    calls = NewCalls(_operations_inside(model))
    try:
        yield calls
    # An interrupt by the user must leave no calls either.
    except BaseException:
        calls.take_back()
        raise
    calls.put_first()


class NewCalls:
    """The calls of some operations since this object was made.

    Args:
        operations: List of operations.
    """

    def __init__(self, operations):
        self._before = [
            (x, len(x._inbound_nodes), len(x._outbound_nodes))
            for x in operations
        ]
        self._place = {}

    def note(self, node, operation):
        """Note that the last call of `operation` replaces `node`.

        If a layer has several new calls, `put_first` orders them as the calls
        that they replace.
        """
        if operation is node.operation:
            place = operation._inbound_nodes.index(node)
            self._place[operation._inbound_nodes[-1]] = place

    def take_back(self):
        for operation, inbound, outbound in self._before:
            operation._inbound_nodes = operation._inbound_nodes[:inbound]
            operation._outbound_nodes = operation._outbound_nodes[:outbound]

    def put_first(self):
        old_places, orders = set(), []
        for operation, count, _ in self._before:
            old, new = _split(operation._inbound_nodes, count)
            if old and new:
                new.sort(key=lambda node: self._place.get(node, count))
                orders.append((operation, new + old))
                old_places |= {
                    make_node_key(operation, i) for i in range(len(old + new))
                }
        # The models are found before any call moves, since their `_nodes` have
        # the old indices.
        models = [m for m in _all_models() if m._nodes & old_places]
        for operation, order in orders:
            _reorder(operation, order)
        for model in models:
            model._nodes = {_node_key(node) for node in nodes(model)}


def _split(items, count):
    return list(items[:count]), list(items[count:])


def _reorder(operation, order):
    """Put all calls of an operation into this order."""
    before = list(operation._inbound_nodes)
    operation._inbound_nodes = order
    for place, node in enumerate(order):
        for tensor in node.outputs:
            history = getattr(tensor, "_keras_history", None)
            if history and history.operation is operation:
                # Each call sets the history of its outputs, so a tensor that
                # several calls return belongs to the last one.
                if before[history.node_index] is node:
                    tensor._keras_history = KerasHistory(
                        operation, place, history.tensor_index
                    )


def _node_key(node):
    place = node.operation._inbound_nodes.index(node)
    return make_node_key(node.operation, place)


def _all_models():
    """Return every model with a graph in this process.

    Keras has no list of the models that share a layer: a backbone does not
    know the classifier that was made from its `output`. So the garbage
    collector's list of objects is searched.
    """
    return [
        x
        for x in gc.get_objects()
        # `isinstance` would ask for `x.__class__`, and that may run code.
        if issubclass(type(x), Function) and "_nodes" in vars(x)
    ]


def _operations_inside(model):
    found = {id(model): model}
    for layer in [model, *flatten_layers(model)]:
        found[id(layer)] = layer
        graph = layer._functional if is_sequential(layer) else layer
        if is_functional(graph):
            found |= {id(x): x for x in (graph, *graph.operations)}
    return list(found.values())


def fresh_input(tensor):
    """Return a new `keras.Input` with the options of the one at `tensor`."""
    layer = tensor._keras_history.operation
    return type(layer).from_config(layer.get_config()).output


def initialize(model, *graph, name):
    """Initialize `model`, of a functional or sequential class, with a graph.

    Args:
        model: The object that `__new__` of its class returned.
        *graph: Inputs and outputs, or the list of layers.
        name: String.
    """
    # The constructor of a user's class would make a graph of its own.
    base = keras.Sequential if is_sequential(model) else Functional
    base.__init__(model, *graph, name=name)


def config_has_graph(model):
    """Return whether the config of `model` has its whole graph.

    Other configs have the arguments from which a constructor makes the graph.
    """
    cls = type(model)
    if is_sequential(model):
        return cls.get_config is keras.Sequential.get_config
    # Before 3.15 Keras takes any constructor without positional arguments for
    # that of a functional model.
    spec = inspect.getfullargspec(cls.__init__)
    takes_graph = bool(spec.varargs or spec.args[1:])
    return takes_graph and functional_like_constructor(cls)


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
    """Return the attributes that the class of `model`, or its user, set."""
    # A plain model shows which attributes this version of Keras sets on this
    # backend.
    x, layer = keras.Input((1,)), keras.layers.Identity()
    sequential = is_sequential(model)
    plain = (
        keras.Sequential([x, layer]) if sequential else keras.Model(x, layer(x))
    )
    known = _attributes(plain).keys() | TRAINING_STATE
    return {
        name: value
        for name, value in _attributes(model).items()
        if name not in known
    }


def _attributes(model):
    """Return all attributes; PyTorch keeps modules in a separate dict."""
    return {**model.__dict__, **model.__dict__.get("_modules", {})}


def attributes_with_layers(layer):
    """Return the attributes that the class of a layer set.

    Those that Keras or PyTorch set are left out.
    """
    known = _plain_attributes()
    return {
        name: value
        for name, value in _attributes(layer).items()
        if name not in known
    }


@functools.cache
def _plain_attributes():
    return _attributes(keras.layers.Layer()).keys() | _KERAS_LISTS


# In these attributes Keras lists layers that other attributes hold already.
_KERAS_LISTS = frozenset({"_functional", "_operations_by_depth", "_operations"})


def copy_layer_settings(model, result):
    for name in LAYER_SETTINGS:
        result.__dict__[name] = getattr(model, name)


def become(model, other):
    """Turn `model` into `other` in place, for all who hold or call it."""
    # Graphs that call `model` find their calls by index in these lists.
    calls = {
        name: model.__dict__[name]
        for name in ("_inbound_nodes", "_outbound_nodes")
    }
    model.__class__ = type(other)
    model.__dict__.clear()
    model.__dict__.update({**other.__dict__, **calls})


def flatten_layers(layer):
    """Return all layers inside `layer`, each once, without itself."""
    return list(
        {id(x): x for x in layer._flatten_layers(include_self=False)}.values()
    )


def is_sequential(model):
    return isinstance(model, keras.Sequential)


def has_graph(model):
    """Return whether `model` is functional or sequential."""
    return is_functional(model) or is_sequential(model)


def config_has_layers(layer):
    """Return whether the config of `layer` has all the layers inside it."""
    if has_graph(layer):
        return config_has_graph(layer)
    return is_of_keras(layer)


def is_of_keras(layer):
    """Return whether the class of `layer` is one of Keras' own layers.

    Some of them are not exported, such as the cell of a `ConvLSTM2D`.
    """
    kind = type(layer)
    is_exported = getattr(keras.layers, kind.__name__, None) is kind
    return is_exported or kind.__module__.startswith("keras.src.layers.")


COMPILED_FUNCTIONS = (
    "train_function",
    "test_function",
    "predict_function",
    "generate_function",
)


def add_sublayer(layer, name, sublayer):
    """Set an attribute of a layer, built or not, to another layer.

    In a frozen layer it is frozen too. KerasHub's `enable_lora` marks blocks
    as frozen that it goes on to train in part, so that alone does not count.
    """
    if not (layer.trainable or any(v.trainable for v in layer.variables)):
        sublayer.trainable = False
    was_locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        setattr(layer, name, sublayer)
    finally:
        if was_locked:
            layer._tracker.lock()


def remove_sublayer(layer, name):
    """Undo `add_sublayer`."""
    layer._tracker.untrack(getattr(layer, name))
    delattr(layer, name)


@contextlib.contextmanager
def without_sublayers(layer, sublayers):
    """Hide layers set by `add_sublayer` from `layer.layers` in this scope."""
    hidden, before = set(map(id, sublayers)), list(layer._layers)
    layer._layers[:] = [x for x in before if id(x) not in hidden]
    try:
        yield
    finally:
        layer._layers[:] = before


def build_inside(layer, sublayer, shapes):
    """Build `sublayer` with variable paths as if `layer` had built it."""
    path = layer.path or layer.name
    with contextlib.ExitStack() as scopes:
        # Keras refuses a name scope with a slash in its name.
        for part in path.split("/"):
            scopes.enter_context(keras.name_scope(part))
        sublayer.build(shapes)


def forget_compiled(model):
    """Drop compiled functions that were traced without the new variables."""
    for name in COMPILED_FUNCTIONS:
        if getattr(model, name, None) is not None:
            setattr(model, name, None)


def outer_call(layer):
    """Return the outermost call of a model or layer that is running now.

    It is `None` if `layer` itself is called outermost. Each call has an
    object of its own.
    """
    call = global_state.get_global_attribute("current_call_ctx")
    return None if call is None or call.entry_layer is layer else call


@contextlib.contextmanager
def unseen_by_outer_call():
    """Restore what calls in this scope change for the outermost one.

    Keras keeps the last `training` there, for all layers that are called next.
    PyTorch draws its random numbers also where Keras runs a layer for its
    shapes only.
    """
    call = global_state.get_global_attribute("current_call_ctx")
    before = None if call is None else dict(vars(call))
    try:
        with _same_random_state():
            yield
    finally:
        if call is not None:
            vars(call).clear()
            vars(call).update(before)


def _same_random_state():
    if keras.config.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    # PyTorch warns if there are several devices and none is named.
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()))


def is_rematerialized(layer):
    """Return whether the layer was made in a `keras.RematScope`."""
    return layer._remat_mode is not None


@contextlib.contextmanager
def not_rematerialized(layer):
    """Turn rematerialization off in this scope, which only finds shapes.

    With it JAX would trace Python flags among the arguments.
    """
    mode, layer._remat_mode = layer._remat_mode, None
    try:
        yield
    finally:
        layer._remat_mode = mode


def keep_mask(result, tensor):
    """Copy the Keras mask of `tensor` to `result`."""
    mask = masking.get_keras_mask(tensor)
    if mask is not None:
        masking.set_keras_mask(result, mask)
    return result


def has_mask(tensor):
    """Return whether `tensor` has a Keras mask."""
    return masking.get_keras_mask(tensor) is not None


def call_specs(layer, first):
    """Return the inputs and outputs of the known calls of `layer`.

    They are read from graphs or, if it is in none, found by running its
    `call` on the shape with which it was built.

    Args:
        layer: A built layer.
        first: Function `first(args, kwargs)` that returns the tensors of
            interest among the arguments of a call.

    Returns:
        List of `(arguments, outputs)`, empty if nothing is known.
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
    except Exception:  # The layer's own code may raise anything.
        return []
    return [([x], keras.tree.flatten(y))]


def _is_shape(shape):
    return isinstance(shape, (tuple, list)) and all(
        isinstance(size, (int, type(None))) for size in shape
    )
