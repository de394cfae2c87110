"""Hand-written LAuReL in KerasHub's own blocks: what conversion must equal.

Nothing of keras_laurel computes here. At sublayer granularity the source of a
block's call is taken and each of its two additions replaced by the equation,
on backend tensors; around a block the equation is computed in NumPy and
float64 from what the plain block returned.
"""

import ast
import contextlib
import inspect
import sys
import textwrap
import types

import keras
import numpy as np
from keras import ops

import keras_laurel
from tests.conversion.models import outputs
from tests.layers import reference

# An addition as a block has it, and how it reads as `connect(skip, f)`.
ADDITIONS = {
    "x + residual": "connect(residual, x)",
    "residual + x": "connect(residual, x)",
    **{
        f"residual + {f}": f"connect(residual, {f})"
        for f in (
            "attention",
            "gated",
            "attn_out",
            "ff_out",
            "self_attn_out",
            "cross_attn_out",
            "self.dropout_layer(feedforward_output)",
        )
    },
    **{
        f"x + {f}": f"connect(x, {f})"
        for f in (
            "attention_output",
            "self.dropout_layer(attention_output)",
            "self.dropout_layer(feedroward_output)",
        )
    },
    **{
        f"{f} + residual": f"connect(residual, {f})"
        for f in ("x_self_attn", "x_cross_attn", "x_ff")
    },
    "x + attention_residual": "connect(attention_residual, x)",
    "x + ff_residual": "connect(ff_residual, x)",
    "feedforward_output + attention_output + residual": (
        "connect(residual, feedforward_output + attention_output)"
    ),
    "x + attention": "connect(x, attention)",
    "x + attention_x": "connect(attention_x, x)",
    "ops.add(residual, attn_output)": "connect(residual, attn_output)",
    "ops.add(residual, hidden_states)": "connect(residual, hidden_states)",
    "x + inputs": "connect(inputs, x)",
    "ops.add(x, inputs)": "connect(inputs, x)",
    "ops.add(x, y)": "connect(x, y)",
    "ops.add(residual, x)": "connect(residual, x)",
    "residual + hidden_states": "connect(residual, hidden_states)",
    "residual + self.dropout(hidden_states, training=training)": (
        "connect(residual, self.dropout(hidden_states, training=training))"
    ),
    "x + y": "connect(x, y)",
    "x + hidden_states": "connect(hidden_states, x)",
    "ops.add(self.drop_path(x, training=training), inputs)": (
        "connect(inputs, self.drop_path(x, training=training))"
    ),
    "ops.add(self.drop_path(x, training=training), hidden_states)": (
        "connect(hidden_states, self.drop_path(x, training=training))"
    ),
    "self.drop_path(hidden_states, training=training) + residual": (
        "connect(residual, self.drop_path(hidden_states, training=training))"
    ),
    # DeiT adds inside this layer.
    "self.output_layer(y, x)": (
        "connect(x, type(self.output_layer)._laurel_plain_class.call("
        "self.output_layer, y, x) - x)"
    ),
    "ops.cast(x, xx.dtype) + xx": "connect(ops.cast(x, xx.dtype), xx)",
    "x + xx": "connect(x, xx)",
    "x + self.ffn(xx, not_generation_mode=not_generation_mode)": (
        "connect(x, self.ffn(xx, not_generation_mode=not_generation_mode))"
    ),
}
# The methods of blocks that compute something themselves.
ENTRY_POINTS = ("call", "generate_call")
# Families whose blocks are not rewritten: their additions stand in functions,
# or in layers inside.
AROUND_BLOCKS_ONLY = ("BLIP2", "BLIP2T5", "FNet", "PARSeq", "XLNet")


def rewrites(family):
    """Return whether a family's inner additions can be written by hand."""
    return family.name not in AROUND_BLOCKS_ONLY


# Of an encoder-decoder; no model here has it.
NEVER_TRUE = ("has_cross_attention",)


@contextlib.contextmanager
def by_hand(model, family, granularity, equation=None):
    """Let the blocks of a converted model compute what they should.

    Args:
        model: The converted backbone or task.
        family: Its row in `rows`.
        granularity: That of the conversion.
        equation: `on_tensors` or `in_numpy`, which knows all options; by
            default the first inside blocks and the second around them.
    """
    if equation is None:
        equation = in_numpy if granularity == "block" else on_tensors
    stacks = [
        [block for block in stack if keras_laurel.laurel_layers(block)]
        for stack in family.block_lists(getattr(model, "backbone", model))
    ]
    replaced = []
    connections = []
    try:
        for blocks in stacks:
            layers = [y for x in blocks for y in keras_laurel.laurel_layers(x)]
            connections.append(Connections(layers, equation))
            for block in blocks:
                for name in entry_points(block):
                    function = _rewritten(
                        block, name, granularity, connections[-1]
                    )
                    setattr(block, name, types.MethodType(function, block))
                    replaced.append((block, name))
        yield _Calls(connections)
    finally:
        for block, name in replaced:
            block.__dict__.pop(name, None)


def entry_points(block):
    return [name for name in ENTRY_POINTS if hasattr(block, name)]


class _Calls:
    """The actual and expected numbers of runs of the equation in all stacks."""

    def __init__(self, connections):
        self._connections = connections

    @property
    def calls(self):
        return sum(x.calls for x in self._connections)

    @property
    def expected(self):
        return sum(len(x.layers) for x in self._connections)


class Connections:
    """The equation at each connection, with the skips of those before it.

    Args:
        layers: The LAuReL layers, for their options and numbers.
        equation: What computes one connection.
    """

    def __init__(self, layers, equation):
        self.layers = layers
        self.equation = equation
        self.skips = []
        self.calls = 0

    def __call__(self, skip, fx):
        layer = self.layers[len(self.skips)]
        activations = [skip, *self.skips]
        if layer.num_activations or layer.rank:
            activations = activations[: max(layer.num_activations, 1)]
        self.skips.insert(0, skip)
        if len(self.skips) == len(self.layers):
            self.skips = []
        self.calls += 1
        return self.equation(layer, fx, activations)


def on_tensors(layer, fx, activations):
    """Equation (6) or what is left of it, term by term, in `keras.ops`."""
    w = {v.name: ops.convert_to_tensor(v) for v in layer.weights}
    alpha = beta = layer.scale
    if layer.residual_weights == "softmax":
        exp = ops.exp(w["laurel_residual_weights"])
        alpha, beta = 2 * layer.scale * exp / ops.sum(exp)
    total = activations[0]
    for j, x in enumerate(activations):
        if layer.rank:
            a = w["laurel_a"][j]
            b = w["laurel_b"][j * layer.rank : (j + 1) * layer.rank]
            x = ops.matmul(ops.matmul(x, a), b)
        elif not layer.num_activations:
            break
        if layer.num_activations:
            x = x * w["laurel_gamma"][j]
        total = total + x
    return alpha * fx + beta * total


def in_numpy(layer, fx, activations):
    """The same in float64, with the reference of the layers' tests."""
    skip, *previous = map(_array, activations)
    out = reference.laurel(layer, [skip, _array(fx), *previous])
    return ops.convert_to_tensor(out.astype("float32"))


def _rewritten(block, name, granularity, connections):
    original = inspect.unwrap(getattr(type(block), name))
    if granularity == "block":
        return _around(original, connections)
    expected = len(keras_laurel.laurel_layers(block))
    never_true = NEVER_TRUE if expected == 2 else ()
    source = inspect.getsource(original)
    source, count = replace_additions(source, never_true)
    assert count >= expected, f"{count}, not {expected} additions in:\n{source}"
    names = {**vars(sys.modules[original.__module__])}
    names["connect"] = connections
    exec(source, names)
    return names[name]


def replace_additions(source, never_true=NEVER_TRUE):
    """`source` with its residual additions written as `connect(skip, f)`.

    Returns:
        The new source and the number of additions.
    """
    tree = ast.parse(textwrap.dedent(source))
    tree = _WithoutDeadBranches(never_true).visit(tree)
    replaced = 0
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.Return)) and node.value:
            new = ADDITIONS.get(ast.unparse(node.value))
            if new:
                node.value = ast.parse(new, mode="eval").body
                replaced += 1
    return ast.unparse(tree), replaced


class _WithoutDeadBranches(ast.NodeTransformer):
    def __init__(self, never_true):
        self.never_true = never_true

    def visit_If(self, node):
        self.generic_visit(node)
        if ast.unparse(node.test) in self.never_true:
            return node.orelse or None
        return node


def _around(original, connections):
    """Run the plain block, then the equation on its input and output."""

    def method(self, *args, **kwargs):
        output = original(self, *args, **kwargs)
        (x_name, *_) = list(inspect.signature(original).parameters)[1:]
        x = keras.tree.flatten(args[0] if args else kwargs[x_name])[0]
        if getattr(self, "use_initial_norm", False):  # Of RWKV7.
            x = self.ln0(x)
        y = output[0] if isinstance(output, tuple) else output
        if connections.equation is in_numpy:
            x, y = _array(x), _array(y)
        out = connections(x, y - x)
        return (out, *output[1:]) if isinstance(output, tuple) else out

    return method


def _array(x):
    return np.asarray(ops.convert_to_numpy(x), "float64")


def difference(actual, expected):
    """The largest difference, relative to the largest number."""
    return np.abs(actual - expected).max() / np.abs(expected).max()


def rounding(model, x):
    """Return how far rounding moves the outputs of a model.

    That is their `difference` after each number in its weights has moved, up
    or down, to the next one of float32. The weights stay moved.
    """
    before = outputs(model, x)[0]
    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        value = ops.convert_to_numpy(weight)
        ends = rng.choice(np.array([-np.inf, np.inf], "float32"), value.shape)
        weight.assign(np.nextafter(value, ends))
    return difference(outputs(model, x)[0], before)


def parseq_by_hand(model, family, x):
    """Outputs with the equation on both streams of PARSeq's decoder."""
    blocks = family.block_lists(getattr(model, "backbone", model))[0]
    connections = {
        name: Connections(
            [block.laurel_residual for block in blocks], on_tensors
        )
        for name in ("query", "content")
    }

    def around(block):
        plain = type(block)._laurel_base.call

        def call(query, content, *args, **kwargs):
            y, z = plain(block, query, content, *args, **kwargs)
            y = connections["query"](query, y - query)
            if z is not content:
                z = connections["content"](content, z - content)
            return y, z

        return call

    for block in blocks:
        object.__setattr__(block, "call", around(block))
    return outputs(model, x)[0]
