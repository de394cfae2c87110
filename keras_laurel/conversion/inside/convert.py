"""Put LAuReL layers at additions inside layers, in place."""

import re

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.stream import ResidualStream
from keras_laurel.conversion.graphs import layer_options
from keras_laurel.conversion.inside.connection import Connection
from keras_laurel.conversion.prototype import copy_of
from keras_laurel.conversion.prototype import plain_policy
from keras_laurel.conversion.sites import LeftOut
from keras_laurel.conversion.sites import ResidualSite


def sites_inside(survey):
    """Return `(sites, left_out)` of the additions inside layers.

    There is a `ResidualSite` for each residual addition, in the order they
    run, and a `LeftOut` for each other addition.
    """
    sites, left_out, numbers = [], [], {}
    for inside, key in survey.in_order():
        addition = inside.additions[key]
        if addition.why_not is None:
            numbers[inside] = numbers.get(inside, 0) + 1
            name = _name(inside, addition, f"residual_{numbers[inside]}")
            sites.append(_site(inside, addition, name))
        else:
            left_out.append(_left_out(inside, addition))
    for inside in survey.insides:
        left_out += [_hidden(inside, x) for x in inside.hidden.values()]
    return sites, left_out


def _name(inside, addition, otherwise):
    operation = addition.node.operation
    has_name = isinstance(operation, keras.layers.Layer)
    if has_name and not re.fullmatch(r"add(_\d+)?", operation.name):
        otherwise = operation.name
    return f"{inside.path}/{otherwise}" if inside.path else otherwise


def _site(inside, addition, name):
    return ResidualSite(
        name=name,
        kind=addition.kind or "identity",
        skip=addition.skip,
        input_shape=_for_any_batch(_start(addition)),
        output_shape=_for_any_batch(addition.node.outputs[0]),
        model=type(inside.layer).__name__,
        node=(inside.layer, addition.node.key),
        branch_nodes=tuple(addition.branch_nodes),
        where=addition.node.where,
        skip_tensor=addition.skip_tensor,
        is_sum=addition.is_sum,
    )


def _left_out(inside, addition):
    site = None
    if addition.skip is not None:
        number = list(inside.additions).index(addition.node.key) + 1
        name = _name(inside, addition, f"addition_{number}")
        site = _site(inside, addition, name)
    return LeftOut(
        reason=addition.why_not,
        where=f"{inside.path or 'the model'}: {addition.node.where}",
        site=site,
    )


def _hidden(inside, call):
    operation = getattr(call.operation, "operation", call.operation)
    name = type(operation).__name__
    return LeftOut(
        reason=f"it stands in a function that `{name}` runs, which cannot be "
        "looked into",
        where=f"{inside.path or 'the model'}: {call.where}",
    )


def _for_any_batch(tensor):
    return (None, *tuple(tensor.shape)[1:])


def plan(survey, pairs):
    """Plan the connections of each layer, without changing anything.

    Args:
        survey: The `Survey`.
        pairs: List of `(site, prototype)`, for sites inside layers.

    Returns:
        Dict of dicts of `Connection`s, by `Inside` and key.

    Raises:
        ValueError: if a layer does not fit a site, or reads a history in a
            layer that runs several times per pass.
    """
    chosen = {site.node: (site, prototype) for site, prototype in pairs}
    steps = [
        (inside, key)
        for inside, key in survey.in_order()
        if (inside.layer, key) in chosen
    ]
    streams = _streams(survey.order, steps, chosen)
    planned = {}
    for number, (inside, key) in enumerate(steps):
        site, prototype = chosen[inside.layer, key]
        addition = inside.additions[key]
        stream, place = streams[inside.layer, key]
        earlier = len(stream.earlier(place))
        layer = _built(inside, site, addition, prototype, number, earlier)
        stream.layers[place] = layer
        shape = _for_any_batch(addition.skip_tensor)
        for key, other in inside.additions.items():
            if inside.key_of(key) == addition.node.key:
                planned.setdefault(inside, {})[key] = Connection(
                    layer, other.skip, stream, place, shape
                )
    return planned


def _streams(order, steps, chosen):
    """Return the `ResidualStream` of each connection, and its index there.

    They are by `ResidualSite.node`. As in graphs, a connection reads the skips
    from which its own skip is computed, if they have its shape. Connections
    that read one another share a stream; two towers have two streams.
    """
    skips = {
        (inside.layer, key): inside.additions[key].skip_tensor
        for inside, key in steps
    }
    stacks = {(inside.layer, key): inside.stack for inside, key in steps}
    reads = any(prototype.has_history for _, prototype in chosen.values())
    earlier, groups = {}, {}
    for node in skips:
        earlier[node] = _earlier(order, skips, node, stacks) if reads else []
        groups[node] = [node]
        for other in earlier[node]:
            if groups[other] is not groups[node]:
                together = groups[other] + groups[node]
                groups.update(dict.fromkeys(together, together))
    streams = {}
    for group in {id(group): group for group in groups.values()}.values():
        group = sorted(group, key=list(skips).index)
        number = {node: i for i, node in enumerate(group)}
        found = [[number[x] for x in earlier[node]] for node in group]
        all_before = [list(range(i)) for i in range(len(group))]
        stream = ResidualStream(
            [None] * len(group), earlier=None if found == all_before else found
        )
        streams.update({node: (stream, number[node]) for node in group})
    return streams


def _earlier(order, skips, node, stacks):
    """Return the connections whose skips a connection may read.

    If several have the same skip, only the first is returned.
    """
    found = {}
    for other in order.leading_to(node):
        tensor = skips.get(other)
        if (
            tensor is not None
            and _kind(tensor) == _kind(skips[node])
            and stacks[other] == stacks[node]
        ):
            found.setdefault(order.skip_of(other), other)
    return list(found.values())


def _kind(tensor):
    return tuple(tensor.shape), tensor.dtype


def _built(inside, site, addition, prototype, number, earlier):
    layer = copy_of(
        prototype,
        number,
        f"laurel_{site.name.rpartition('/')[2]}",
        _policy(inside.layer),
        axis=inside.axes[site.node[1]]
        if prototype.axis == -1
        else prototype.axis,
        **_how_it_stood(inside, site),
    )
    if layer.has_history and inside.times > 1:
        raise ValueError(
            "Argument `layer` must not read previous activations in a layer "
            "that runs several times per pass, where each run has another "
            "history. Received: "
            f"num_activations={layer.num_activations}, and {inside.path!r} "
            f"runs {inside.times} times in one pass. Use a layer without "
            "previous activations, or leave the sites in it out."
        )
    activations = max(len(layer.reads(earlier)), 1)
    shape = _for_any_batch(addition.skip_tensor)
    try:
        keras_internals.build_inside(
            inside.layer, layer, [shape] * (1 + activations)
        )
    except ValueError as error:
        raise ValueError(
            f"Argument `layer` does not fit the site {site!r}: {error} Or "
            "leave the site out with `sites=[...]`."
        ) from error
    return layer


def _policy(layer):
    return plain_policy(layer.variable_dtype, layer.compute_dtype)


def _how_it_stood(inside, site):
    node = inside.additions[site.node[1]].node
    options = layer_options.how_it_stood(node, site.skip_tensor, site.is_sum)
    # `Laurel.combine` bypasses the mask handling of a layer's `__call__`;
    # `Connection` passes masks on by itself.
    return {k: v for k, v in options.items() if k != "drops_mask"}


def _start(addition):
    known = addition.start is not None
    return addition.start if known else addition.skip_tensor
