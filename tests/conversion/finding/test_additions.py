"""The search for additions: its reasons, its cost and its side effects."""

import keras
import pytest
from keras import layers as L
from keras import ops
from keras.src.backend.common import global_state

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.search import find_additions
from keras_laurel.conversion.graphs.tensor_graph import TensorGraph
from tests.conversion import graphs
from tests.conversion.finding import attention

D = graphs.D


def additions(outputs, inputs):
    model = keras.Model(inputs, outputs)
    return find_additions(TensorGraph.of(model))


def tokens(length=4):
    return keras.Input((length, D))


def test_an_identity():
    x = tokens()
    h = graphs.f(x)
    (addition,) = additions(h + x, x)
    assert addition.why_not is None
    assert (addition.skip, addition.kind) == (1, "identity")
    assert addition.operands[0] is h and addition.operands[1] is x
    assert addition.start is addition.skip_tensor is x
    assert addition.terms == (x, h)
    assert not addition.is_sum
    assert [n.outputs[0] for n in addition.branch_nodes][-1] is h
    assert len(addition.branch_nodes) == 2


def test_a_projection():
    x = tokens()
    skip, h = L.Dense(3)(x), graphs.f(x, 3)
    (addition,) = additions(L.Add()([skip, h]), x)
    assert (addition.skip, addition.kind) == (0, "projection")
    assert addition.start is x
    assert addition.skip_tensor is skip


SPELLINGS = {
    "x + a + b": lambda x, a, b: x + a + b,
    "a + x + b": lambda x, a, b: a + x + b,
    "b + (x + a)": lambda x, a, b: b + (x + a),
    "Add, Add": lambda x, a, b: L.Add()([L.Add()([x, a]), b]),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_sum_of_more_is_one_addition(name):
    x = tokens()
    a, b = graphs.f(x), graphs.f(x)
    part, whole = additions(SPELLINGS[name](x, a, b), x)
    assert part.why_not == f"a part of the sum {whole.node.operation.name!r}"
    assert whole.why_not is None and whole.is_sum
    assert whole.skip is None
    assert whole.skip_tensor is whole.start is x
    assert {*map(id, whole.terms)} == {id(x), id(a), id(b)}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_one_add_of_several(order):
    x = tokens()
    terms = [x, graphs.f(x), graphs.f(x), graphs.f(x)]
    (addition,) = additions(L.Add()([terms[i] for i in order]), x)
    assert addition.is_sum
    assert addition.operands[addition.skip] is x
    assert len(addition.operands) == 4


def test_a_chain_of_three_branches():
    x = tokens()
    a, b, c = (graphs.f(x) for _ in range(3))
    first, second, whole = additions(x + a + b + c, x)
    assert None not in (first.why_not, second.why_not)
    assert len(whole.terms) == 4


def test_a_projection_of_three():
    x = tokens()
    skip = L.Dense(3)(x)
    y = skip + graphs.f(x, 3) + graphs.f(x, 3)
    _, whole = additions(y, x)
    assert (whole.kind, whole.why_not) == ("projection", None)
    assert whole.skip_tensor is skip and whole.start is x


@pytest.mark.parametrize("width", [D, 3])
def test_the_end_of_a_residual_block_is_no_sum_of_three(width):
    """The outer skip starts elsewhere than the inner."""
    x = tokens()
    skip = x if width == D else L.Dense(width)(x)
    h = L.Dense(width, "relu")(x)
    inner, outer = additions(skip + (h + graphs.f(h, width)), x)
    assert inner.why_not is outer.why_not is None
    assert inner.start is h and outer.start is x
    assert len(outer.terms) == 2


def test_a_sum_with_something_from_elsewhere_is_left_out():
    x, c = tokens(), tokens()
    (addition,) = additions(L.Add()([x, graphs.f(x), c]), [x, c])
    assert addition.why_not


def test_what_is_left_out_can_be_converted_where_shapes_allow():
    x = tokens()
    a, b = graphs.f(x), graphs.f(x)
    (parallel,) = additions(a + b, x)
    assert parallel.why_not
    assert parallel.skip == 0 and parallel.skip_tensor is a
    assert parallel.kind == "identity"
    assert parallel.branch_nodes[-1].outputs[0] is b


def test_what_cannot_be_converted_has_no_skip():
    x = keras.Input((4, 4, D))
    pooled = L.Dense(D)(L.GlobalAveragePooling2D(keepdims=True)(x))
    y = [x + pooled, x + 1.0, graphs.f(x) * 1.0 + ops.ones((4, 4, D)), x - x]
    found = additions(y, x)
    assert [a.skip for a in found] == [None] * 4
    assert sorted(a.why_not for a in found) == sorted(
        [
            "shapes (None, 4, 4, 8) and (None, 1, 1, 8)",
            "one operand is a constant",
            "one operand is a constant",
            "a difference, not a sum",
        ]
    )


def test_a_number_less_a_tensor_is_no_addition():
    x = tokens()
    assert additions((1.0 - graphs.f(x)) / 2.0, x) == []


def test_additions_of_a_traced_call():
    """A graph without a model, on tensors that nothing computes."""
    x = keras.KerasTensor((None, 4, D))
    layer = L.Dense(D, "relu")
    y = layer(x) + x
    graph = TensorGraph(keras_internals.nodes_behind([y]), [y])
    (addition,) = find_additions(graph)
    assert (addition.skip, addition.kind) == (1, "identity")
    assert graph.position(x) == 0 and graph.producer(x) is None


def stack(blocks, block):
    x = inputs = keras.Input((16, attention.WIDTH))
    for _ in range(blocks):
        x = block(x)
    return keras.Model(inputs, x)


def two_branches(x):
    return x + attention.mlp(x) + attention.mlp(L.LayerNormalization()(x))


def projected(x):
    return L.Dense(x.shape[-1])(x) + attention.mlp(x)


def own_layers(x):
    return x + attention.Scale()(attention.mlp(x))


@pytest.mark.parametrize("block", [two_branches, projected, own_layers])
def test_the_work_grows_with_the_number_of_blocks(block):
    visited = []
    for blocks in (10, 40):
        graph = TensorGraph.of(stack(blocks, block))
        find_additions(graph)
        visited.append(graph.visited / blocks)
    assert visited[1] < 1.2 * visited[0]


@keras.saving.register_keras_serializable(package="tests")
class RunsOnSymbols(L.Layer):
    """Fails where it is run on data."""

    looked_at = False

    def __init__(self, **kwargs):
        super().__init__(activity_regularizer="l2", **kwargs)
        self.dense = L.Dense(D, activity_regularizer="l2")
        self.count = 0

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.kernel = self.add_weight(shape=(D, D))

    def call(self, x):
        if self.looked_at and not isinstance(x, keras.KerasTensor):
            raise AssertionError("The layer was run on data.")
        self.add_loss(ops.sum(x))
        return self.dense(ops.matmul(x, self.kernel))


def test_no_layer_is_run_on_data_and_none_is_changed():
    x = keras.Input((None, D))
    layer = RunsOnSymbols()
    y = layer(x) + L.BatchNormalization()(RunsOnSymbols()(x))
    y = y + layer(y)
    model = keras.Model(x, L.Dense(3)(y))
    model(ops.ones((2, 4, D)))
    before = state(model)
    RunsOnSymbols.looked_at = True
    try:
        found = find_additions(TensorGraph.of(model))
    finally:
        RunsOnSymbols.looked_at = False
    assert len(found) == 2 and found[1].why_not is None
    assert state(model) == before


def test_the_function_of_a_lambda_is_not_run_on_large_images():
    """PyTorch has no symbolic form of `ops.repeat`, so Keras would run it."""
    sizes = []

    def twice(x):
        sizes.append(tuple(x.shape))
        return ops.repeat(ops.repeat(x, 2, axis=1), 2, axis=2)

    x = keras.Input((None, None, 3))
    h = L.Lambda(twice)(x)
    h = h + L.Conv2D(3, 3, padding="same")(h)
    model = keras.Model(x, h)
    sizes.clear()
    (addition,) = find_additions(TensorGraph.of(model))
    assert addition.why_not is None
    assert all(None in size or max(size) < 100 for size in sizes)


def state(model):
    """Losses, recorded calls, and the name that Keras makes up next."""
    losses = [float(ops.convert_to_numpy(loss)) for loss in model.losses]
    calls = [
        (len(layer._inbound_nodes), len(layer._outbound_nodes))
        for layer in keras_internals.flatten_layers(model)
    ]
    names = dict(global_state.get_global_attribute("object_name_uids"))
    names.pop("keras_tensor")  # in no name that anyone sees
    return losses, calls, names
