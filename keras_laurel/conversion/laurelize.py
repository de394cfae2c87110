"""The one verb: turn residual additions into LAuReL layers."""

import collections.abc

import keras

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
    model,
    layer,
    sites=None,
    granularity=None,
    blocks=None,
    inputs=None,
    verbose=True,
):
    """Put a LAuReL layer at the residual additions of a model.

    The result computes what `model` computes until it is trained: bit for bit
    where it runs op by op, to rounding where it is compiled. It shares the
    layers and variables of `model`, nothing is copied; use the result from
    then on. Where additions stand in the graph of a functional model the
    result is a new model, which is not compiled. Where they stand in the
    `call` of layers, or around blocks, those are converted in place: the
    result is `model` itself, and stays compiled, with a fresh optimizer of the
    same settings. Call `prepare_optimizer` before you compile; a converted
    task of KerasHub does so in its `compile`.

    A layer that is converted in place keeps the name of its class, its
    variables with their paths, and its sublayers. Its `call` runs once for
    each new kind of arguments, on symbolic tensors, and from then on as a
    graph. Python code in it, such as `print`, does not run again.

    Layers with previous activations (`num_activations` > 1) get the skips of
    earlier sites of the same shape, newest first, and fewer where there are
    not so many: stages of a convolutional network differ. A transformer has
    one stream, and `num_activations` above its length is refused.

    Each LAuReL layer carries the name of its `ResidualSite`, and the dtype
    policy of the addition whose place it takes. What was frozen, the model
    too, stays frozen.

    Where the blocks of a model are, its owner can say: for one model with
    `blocks`, for a class of models with `keras_laurel.register_blocks`.

    Args:
        model: A `keras.Model`: functional, sequential, subclassed, or a
            backbone or task of KerasHub.
        layer: A LAuReL layer, the prototype: each site gets a copy by its
            config, `axis` adapted where the model is channels_first, and
            another seed where its `a_initializer` has an integer one. Or a
            function of a `ResidualSite` that returns the prototype for it, or
            `None` to leave it out.
        sites: List of `ResidualSite` from `residual_sites(model)`, with the
            same `granularity`, or `None` for all of them. Entries of its
            `left_out` that have a `site` are taken too: you may know better.
        granularity: `"sublayer"` for a connection at each addition;
            `"block"` for one around each block, as in the paper's language
            models: the default for models whose blocks are known, such as
            KerasHub transformers, and `"sublayer"` for others;
            `"application"` for one around each time that a block runs, where
            it runs several times in a pass, as in ALBERT.
        blocks: List of layers inside `model`, each of which computes
            `y = x + f(x)` of its first argument, in the order they run; one
            that runs several times stands there as often. Each gets a
            connection around it. Of a model of several stacks, such as an
            encoder and a decoder, a list of such lists: each has previous
            activations of its own.
        inputs: What a subclassed model is called on: a batch, or
            `keras.Input`s; a tuple for a `call` of several arguments. Needed
            where the model is not built, or cannot be run on a guess.
        verbose: Whether to print how many additions were converted and how
            many left out.

    Returns:
        A model.

    Raises:
        ValueError: if no residual addition was found; if `model` has LAuReL
            layers already, or is of a KerasHub class that is not supported;
            if `layer` is no LAuReL layer, does not fit a site or cannot be
            copied by its config; if `sites` is no list, empty or not of this
            model; outside the scope of `tf.distribute` or
            `keras.distribution` that the model was made in. Nothing has
            changed then.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> model = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=16))
    Converted 16 residual additions to LaurelLR; left out 0 other additions.
    >>> len(keras_laurel.laurel_layers(model))
    16
    """
    _check_arguments(layer, sites, granularity, blocks)
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
    return _reported(result, verbose)


def laurel_layers(model):
    """Return the LAuReL layers of a model, nested ones included.

    Args:
        model: Any `keras.Model` or layer, converted or built with LAuReL
            layers.

    Returns:
        List of layers, in the order the model holds them; those inside
        converted layers in the order they run. Its length is their number,
        `sum(x.count_params() for x in ...)` the parameters they add.

    Raises:
        ValueError: if `model` is neither.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            f"`model` got {type(model).__name__}; it needs a `keras.Model`."
        )
    layers = (model, *keras_internals.flatten_layers(model))
    inside = set(map(id, layers))
    found = {id(x): x for layer in layers for x in _laurels_of(layer)}
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
            f"`layer` got {layer!r}; it needs a LAuReL layer, such as "
            "`keras_laurel.LaurelLR(rank=16)`, or a function that returns one "
            "for a site."
        )
    check_granularity(granularity)
    if sites is not None and blocks is not None:
        raise ValueError(
            "`laurelize` got `sites` and `blocks`; it needs one of them: "
            "sites that were found, or blocks that you name."
        )


def _is_function(layer):
    return callable(layer) and not isinstance(layer, (keras.layers.Layer, type))


def _check_not_converted(model):
    present = laurel_layers(model)
    if present:
        raise ValueError(
            f"`model` got {model.name!r}, which has {len(present)} LAuReL "
            f"layers already, the first {present[0].name!r}. A model is "
            "converted once: start from the model without them, which "
            "`keras_laurel.remove_laurel` gives back. For different layers at "
            "different places pass a function of the site as `layer`."
        )


def _prototypes(layer, sites):
    """`(site, prototype)` for each site that is to have one."""
    if isinstance(layer, Laurel):
        return [(site, layer) for site in sites]
    pairs = [(site, layer(site)) for site in sites]
    for site, prototype in pairs:
        if prototype is not None and not isinstance(prototype, Laurel):
            raise ValueError(
                f"`layer` returned {prototype!r} for {site!r}; it needs to "
                "return a LAuReL layer, or None to leave the site out."
            )
    pairs = [(site, prototype) for site, prototype in pairs if prototype]
    if not pairs:
        raise ValueError(
            "`layer` returned None for every site, so nothing would change."
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
    optimizers = owner.fresh_optimizers([model]) if not replacements else []
    result = rebuild.rebuild(model, replacements) if replacements else model
    if found.inside:
        found.inside.rename(
            zip(functional_models(model), functional_models(result))
        )
    attach_all(result, planned, found.inside, nested)
    owner.set_optimizers(optimizers)
    return result


def _reported(model, verbose, found=None):
    """`model`, once a line says what was done."""
    if not verbose:
        return model
    layers = laurel_layers(model)
    names = " and ".join(sorted({type(layer).__name__ for layer in layers}))
    if found is None:
        print(f"Put {_count(len(layers), f'{names} connection')} into blocks.")
        return model
    why = " `residual_sites(model).left_out` says why."
    print(
        f"Converted {_count(len(layers), 'residual addition')} to {names}; "
        f"left out {_count(len(found.left_out), 'other addition')}."
        + (why if found.left_out else "")
    )
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
    if not isinstance(sites, collections.abc.Iterable):
        raise ValueError(
            f"`sites` got {sites!r}; it needs a list of sites from "
            "`residual_sites(model)`, also for one: `sites=[site]`."
        )
    sites = [x.site if isinstance(x, LeftOut) else x for x in sites]
    if not sites:
        raise ValueError(
            "`sites` is empty, so nothing would change. Pass sites from "
            "`residual_sites(model)`, or None for all of them."
        )
    possible = {x.site for x in found.left_out if x.site} | {*found.sites}
    for site in sites:
        if not isinstance(site, ResidualSite) or site not in possible:
            raise ValueError(
                f"`sites` got {site!r}, which is no residual site of "
                f"{model.name!r}. Take it from `residual_sites(model)` of "
                "this very model."
            )
    return sites


def _nothing_found(model, left_out):
    lines = [
        f"`model` got {model.name!r}, in which no residual addition was found."
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
