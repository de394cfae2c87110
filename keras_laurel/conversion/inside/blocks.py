"""Find the layers that are blocks: they add to the stream and return it."""

import keras

from keras_laurel.conversion.inside.across_layers import given_to
from keras_laurel.conversion.keras_internals import flatten_layers

_PASSING = (
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.Dropout,
    keras.layers.Identity,
)


def carrying_blocks(model, survey):
    """Return the layers that return their input with something added to it.

    They are in the order they run, each as often as it runs. If such layers
    are inside one another, only the outermost is returned, whose f(x) contains
    the others. A layer that contains blocks but adds nothing itself is not a
    block.

    Raises:
        ValueError: if there are none.
    """
    if survey and survey.blocks:
        return survey.blocks
    raise ValueError(
        "Argument `granularity` must be None or 'sublayer' for a model "
        "without known blocks. Received: 'block' or 'application' for "
        f"{model.name!r}, none of whose layers computes y = x + f(x) from its "
        "input. Use `granularity='sublayer'`, or name the blocks with "
        "`blocks=[...]`."
    )


def find_blocks(root, skips):
    """Return the layers of `carrying_blocks` in the order of their calls.

    Args:
        root: The `Observed` call of the model.
        skips: Dict of skips by the calls that compute residual sums.
    """
    blocks = []
    for call in root.inside:
        carries, adds = _follow_stream(call, skips)
        is_block = carries and adds
        blocks += [call.layer] if is_block else find_blocks(call, skips)
    return blocks


def _follow_stream(call, skips):
    """Follow the residual stream through a call of a layer.

    Returns:
        `(carries, adds)`. `carries` is true if a chain of residual additions
        leads from the first input to an output of the same shape. Norms may
        be between them, as in a transformer that normalises after it adds,
        and so may layers that carry the stream themselves. `adds` is true if
        one of these additions is in the layer's own `call`.
    """
    trace = call.trace
    if trace is None or not trace.inputs or not trace.output_tensors:
        return False, False
    x, y = trace.inputs[0], trace.output_tensors[0]
    if tuple(x.shape) != tuple(y.shape):
        return False, False
    made_by = {id(t): step for step in trace.calls for t in step.outputs}
    inner_calls, _ = call.inner_calls(trace.calls)
    adds = False
    while y is not x:
        step = made_by[id(y)]
        tensors = step.arguments.keras_tensors
        if y is not step.outputs[0]:
            return False, False
        if step in skips:
            y, adds = skips[step], True
        elif len(tensors) == 1 and isinstance(step.operation, _PASSING):
            (y,) = tensors
        elif step in inner_calls and _carries(inner_calls[step], skips):
            y = given_to(step, True)[0]
        else:
            return False, False
    return True, adds


def _carries(call, skips):
    carries, _ = _follow_stream(call, skips)
    return carries


def note_stacks(survey, stacks):
    """Store in each `Inside` of a known block the number of its stack.

    Additions are in the `call` of a block or in those of the layers in it,
    such as an attention layer that adds its input itself. Each stack has its
    own history.

    Args:
        survey: The `Survey` of the model.
        stacks: List of `Stack`s.
    """
    numbers = {
        id(layer): number
        for number, stack in enumerate(stacks)
        for block in stack.blocks
        for layer in (block, *flatten_layers(block))
    }
    for inside in survey.insides:
        inside.stack = numbers.get(id(inside.layer))
