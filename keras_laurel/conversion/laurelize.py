"""`laurelize`, which puts LAuReL layers at residual additions."""

import collections.abc
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras

from keras_laurel.checks import check_boolean
from keras_laurel.checks import how_to_load
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks import owner
from keras_laurel.conversion.blocks.attach import check_history
from keras_laurel.conversion.graphs import rebuild
from keras_laurel.conversion.graphs.plan import plan_replacements
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.hub import adopt
from keras_laurel.conversion.inside.convert import plan
from keras_laurel.conversion.inside.saving import attach_all
from keras_laurel.conversion.residual_sites import check_granularity
from keras_laurel.conversion.residual_sites import survey_model
from keras_laurel.conversion.scopes import check_scope
from keras_laurel.conversion.sites import LeftOut
from keras_laurel.conversion.sites import ResidualSite
from keras_laurel.layers import Laurel


def laurelize(
    model: keras.Model,
    layer: Laurel | Callable[[ResidualSite], Laurel | None],
    sites: Sequence[ResidualSite | LeftOut] | None = None,
    granularity: str | None = None,
    blocks: Sequence[Any] | None = None,
    inputs: Any = None,
    verbose: bool = True,
) -> keras.Model:
    """Put a LAuReL layer at the residual additions of a model.

    Until it is trained, the result computes the same as `model`: bit for bit
    if it runs op by op, and up to rounding if it is compiled. It shares the
    layers and variables of `model`; nothing is copied. Use the result from
    then on. If the additions are in the graph of a functional model, the
    result is a new model, which is not compiled. If they are in the `call` of
    layers, or if connections go around blocks, these layers are converted in
    place: the result is `model` itself, and stays compiled, with a fresh
    optimizer of the same settings. Call `prepare_optimizer` before you
    compile; a converted KerasHub task does so in its `compile`.

    A layer that is converted in place keeps the name of its class, its
    variables with their paths, and its sublayers. Its `call` runs once for
    each new kind of arguments, on symbolic tensors, and from then on as a
    graph. Python code in it, such as `print`, does not run again.

    Layers with previous activations (`num_activations` > 1) get the skips of
    earlier sites of the same shape, newest first. They get fewer where there
    are not enough, as in the first blocks of each stage of a convolutional
    network. A transformer has one stream, and `num_activations` above its
    length is an error.

    Each LAuReL layer has the name of its `ResidualSite`, and the dtype policy
    of the addition it replaces. Frozen layers and models stay frozen.

    If the blocks of a model are not found, you can name them: for one model
    with `blocks`, for a class of models with `keras_laurel.register_blocks`.

    Args:
        model: A `keras.Model`: functional, sequential, subclassed, or a
            KerasHub backbone or task.
        layer: A LAuReL layer, the prototype. Each site gets a copy made from
            its config, with `axis` adapted if the model is channels_first,
            and with another seed if its `a_initializer` has an integer seed.
            Or a function of a `ResidualSite` that returns the prototype for
            it, or `None` to leave it out.
        sites: List of `ResidualSite` from `residual_sites(model)`, with the
            same `granularity`, or `None` for all of them. Entries of its
            `left_out` that have a `site` are accepted too.
        granularity: `"sublayer"` for a connection at each addition;
            `"block"` for one around each block, as in the paper's language
            models; `"application"` for one around each run of a block, if
            blocks run several times per pass, as in ALBERT. The default is
            `"block"` for models whose blocks are known, such as KerasHub
            transformers, and `"sublayer"` for others.
        blocks: List of layers inside `model`, each of which computes
            `y = x + f(x)` from its first argument. They are listed in the
            order they run, and as often as they run. Each gets a connection
            around it. For a model with several stacks, such as an encoder and
            a decoder, a list of such lists; each stack has its own history.
        inputs: An example of the inputs of a subclassed model: a batch, or
            `keras.Input`s; a tuple if its `call` has several arguments. It is
            needed if the model is not built, or if inputs cannot be guessed.
        verbose: Boolean. Print how many additions were converted and how
            many were left out.

    Returns:
        A model.

    Raises:
        ValueError: if no residual addition was found; if `model` has LAuReL
            layers already, or is of a KerasHub class that is not supported;
            if `layer` is not a LAuReL layer, does not fit a site or cannot be
            copied from its config; if `sites` is not a list, is empty or
            belongs to another model; or outside the scope of `tf.distribute`
            or `keras.distribution` in which the model was made. Nothing has
            changed then.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> model = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=16))
    Converted 16 residual additions to LaurelLR; left out 0 other additions.
    >>> len(keras_laurel.laurel_layers(model))
    16
    """
    _check_arguments(layer, sites, granularity, blocks)
    verbose = check_boolean("verbose", verbose)
    _check_not_converted(model)
    check_scope(model)
    found = survey_model(model, inputs, granularity, blocks)
    pairs = _prototypes(layer, _chosen(model, sites, found))
    if found.stacks is None:
        result = _convert_additions(model, pairs, found)
        return _reported(result, verbose, found)
    prototypes = {site.node: prototype for site, prototype in pairs}
    granularity = granularity or "block"
    if blocks is None and adopt.is_known(model):
        result = adopt.convert(model, prototypes, granularity)
    else:
        result = owner.attach_blocks(
            model, found.stacks, prototypes, granularity
        )
    return _reported(result, verbose, found)


def laurel_layers(model: keras.layers.Layer) -> list[Laurel]:
    """Return the LAuReL layers of a model, nested ones included.

    Args:
        model: Any `keras.Model` or layer, converted or built with LAuReL
            layers.

    Returns:
        List of layers, in the order in which the model holds them; those
        inside converted layers are in the order they run. The parameters
        they add are `sum(x.count_params() for x in laurel_layers(model))`.

    Raises:
        ValueError: if `model` is neither a model nor a layer.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            "Argument `model` must be a `keras.Model` or a layer. Received: "
            f"model={model!r}, of type {type(model).__name__}."
            f"{how_to_load(model)}"
        )
    layers = (model, *keras_internals.flatten_layers(model))
    inside = set(map(id, layers))
    found = {id(x): x for layer in layers for x in _laurels_of(layer)}
    # A stream also has the layers of blocks outside of `model`, if `model` is
    # a part of the converted one.
    return [x for key, x in found.items() if key in inside]


def _laurels_of(layer):
    opened = getattr(layer, "_laurel_opened", None)
    if opened:
        return opened.all_layers
    connection = getattr(layer, "_laurel_connection", None)
    if connection:
        return connection.stream.layers
    return [layer] if isinstance(layer, Laurel) else []


def _check_arguments(layer, sites, granularity, blocks):
    if not isinstance(layer, Laurel) and not _is_function(layer):
        raise ValueError(
            "Argument `layer` must be a LAuReL layer, or a function that "
            f"returns one for a site. Received: layer={layer!r}. Pass, for "
            "example, `keras_laurel.LaurelLR(rank=16)`."
        )
    check_granularity(granularity)
    if sites is not None and blocks is not None:
        raise ValueError(
            "Argument `sites` must be None if `blocks` is given. Received: "
            "both. Pass one of them: sites that were found, or blocks that "
            "you name."
        )


def _is_function(layer):
    return callable(layer) and not isinstance(layer, (keras.layers.Layer, type))


def _check_not_converted(model):
    present = laurel_layers(model)
    if present:
        raise ValueError(
            "Argument `model` must be without LAuReL layers. Received: "
            f"{model.name!r}, which has {len(present)} LAuReL layers already, "
            f"the first {present[0].name!r}. Remove them first with "
            "`keras_laurel.remove_laurel`. For different layers at different "
            "sites, pass a function of the site as `layer`."
        )


def _prototypes(layer, sites):
    """Return `(site, prototype)` for each site that gets a connection."""
    if isinstance(layer, Laurel):
        return [(site, layer) for site in sites]
    pairs = [(site, layer(site)) for site in sites]
    for site, prototype in pairs:
        if prototype is not None and not isinstance(prototype, Laurel):
            raise ValueError(
                "Argument `layer`, if it is a function, must return a LAuReL "
                f"layer or None. Received: {prototype!r} for {site!r}. Return "
                "None to leave the site out."
            )
    pairs = [(site, prototype) for site, prototype in pairs if prototype]
    if not pairs:
        raise ValueError(
            "Argument `layer`, if it is a function, must return a LAuReL layer "
            "for at least one site. Received: None for every site, so nothing "
            "would change. Return a layer for at least one of those that "
            "`residual_sites(model)` lists."
        )
    return pairs


def _convert_additions(model, pairs, found):
    if not adopt.has_own_classes(model):
        return _convert(model, pairs, found)
    prototypes = [prototype for _, prototype in pairs]
    planned = plan(found.inside, pairs)
    streams = {x.stream for xs in planned.values() for x in xs.values()}
    check_history(model, prototypes, [len(x.layers) for x in streams])
    return adopt.convert_inside(model, planned, found.inside)


def _convert(model, pairs, found):
    in_layers = [pair for pair in pairs if pair[0].is_inside]
    in_graphs = [pair for pair in pairs if not pair[0].is_inside]
    sites = [site for site, _ in in_graphs]
    prototypes = [prototype for _, prototype in in_graphs]
    replacements = plan_replacements(model, sites, prototypes)
    nested = [
        (graph, plan_replacements(graph, sites, prototypes))
        for graph in found.nested
    ]
    nested = [(graph, planned) for graph, planned in nested if planned]
    planned = plan(found.inside, in_layers) if in_layers else {}
    # A rebuilt model is new and not compiled. For one that is changed in place
    # the optimizer is made first, since that may fail.
    optimizers = owner.fresh_optimizers([model]) if not replacements else []
    result = rebuild.rebuild(model, replacements) if replacements else model
    if found.inside:
        found.inside.rename(
            zip(functional_models(model), functional_models(result))
        )
    attach_all(result, planned, found.inside, nested)
    owner.set_optimizers(optimizers)
    return result


def _reported(model, verbose, found):
    """Print what was done if `verbose`, and return `model`."""
    if not verbose:
        return model
    layers = laurel_layers(model)
    names = " and ".join(sorted({type(layer).__name__ for layer in layers}))
    methods = [f"`{x.method}`" for x in found.left_out if x.method]
    if found.stacks is None:
        left_out = len(found.left_out) - len(methods)
        line = (
            f"Converted {_count(len(layers), 'residual addition')} to {names}; "
            f"left out {_count(left_out, 'other addition')}."
        )
    else:
        left_out = len(found.left_out) - len(methods)
        blocks = {id(b): b for stack in found.stacks for b in stack.blocks}
        count = sum(hasattr(b, "_laurel_connection") for b in blocks.values())
        line = f"Converted {_count(count, 'block')} to {names}"
        # With granularity="application" a block has one for each of its runs.
        line += f", {len(layers)} connections" if len(layers) > count else ""
        if left_out:
            line += f"; left out {_count(left_out, 'other addition')}"
        line += "."
    if methods:
        line += f" Methods that add without LAuReL: {', '.join(methods)}."
    if found.left_out:
        line += " `residual_sites(model).left_out` says why."
    print(line)
    return model


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _chosen(model, sites, found):
    if sites is not None:
        return _checked(sites, model, found)
    if not found.sites:
        raise ValueError(_nothing_found(model, found.left_out))
    return found.sites


def _checked(sites, model, found):
    if not isinstance(sites, collections.abc.Iterable) or (
        isinstance(sites, str)
    ):
        raise ValueError(
            "Argument `sites` must be a list of sites from "
            f"`residual_sites(model)`. Received: sites={sites!r}. Pass a list "
            "also for one site: `sites=[site]`, or leave it out for all sites."
        )
    sites = [x.site if isinstance(x, LeftOut) else x for x in sites]
    if not sites:
        raise ValueError(
            "Argument `sites` must not be empty, since nothing would change. "
            "Received: an empty list. Pass sites from "
            "`residual_sites(model)`, or None for all of them."
        )
    # The sites come from an earlier search; those of equal nodes are equal.
    possible = {x.site for x in found.left_out if x.site} | {*found.sites}
    for site in sites:
        if not isinstance(site, ResidualSite) or site not in possible:
            raise ValueError(
                f"Argument `sites` must hold residual sites of {model.name!r}. "
                f"Received: {site!r}, which is not one. Take the sites from "
                "`residual_sites(model)` of the same model object."
            )
    return sites


def _nothing_found(model, left_out):
    lines = [
        "Argument `model` must have residual additions. Received: "
        f"{model.name!r}, in which no residual addition was found."
    ]
    lines += [f"Left out: {x.where}: {x.reason}." for x in left_out[:5]]
    if len(left_out) > 5:
        lines.append(f"And {len(left_out) - 5} more additions.")
    lines.append(
        "Name the blocks that compute `x + f(x)` with `blocks=[...]`, or put "
        "a LAuReL layer where the model adds, "
        "`keras_laurel.LaurelLR()([x, fx])`."
    )
    return "\n".join(lines)
