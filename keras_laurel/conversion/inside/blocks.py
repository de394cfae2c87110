"""Which opened layers are blocks: they add to the stream and hand it on."""

import keras

from keras_laurel.conversion.inside.merges import given_to
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
    """The layers that hand on their input with something added to it, in the
    order they run, one that runs several times as often as it does.

    Of such layers inside one another the outermost: its f(x) holds the others.
    A layer that holds them, and adds nothing itself, is none.

    Raises:
        ValueError: if there are none.
    """
    if survey and survey.blocks:
        return survey.blocks
    raise ValueError(
        f"`granularity` got 'block' or 'application' for {model.name!r}, "
        "none of whose layers computes y = x + f(x) of its input. Use "
        "`granularity='sublayer'`, or name the blocks with `blocks=[...]`."
    )


def find_blocks(root, skips):
    """The layers of `carrying_blocks` in the order of their calls.

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
    """Whether residual additions lead, one after the other, from the first
    input of a layer to what it returns, of one shape; and whether any of them
    stands in its own `call`.

    Norms may stand between, as in a transformer that normalises after it adds,
    and layers that do the same.
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
    """Note of what is inside known blocks which stack that belongs to.

    Additions stand in the `call` of a block or in those of the layers in it,
    as of an attention that is given the input of the block, and adds it. Each
    stack has a history of its own.

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
