"""The one verb: turn residual additions into LAuReL layers."""

import collections.abc
import math

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks.owner import attach_blocks
from keras_laurel.conversion.graphs import rebuild
from keras_laurel.conversion.graphs.plan import plan_replacements
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.hub import adopt
from keras_laurel.conversion.residual_sites import check_has_graph
from keras_laurel.conversion.residual_sites import search
from keras_laurel.conversion.sites import ResidualSite
from keras_laurel.layers import Laurel


def laurelize(model, layer, sites=None, granularity="block", blocks=None):
    """Put a LAuReL layer at the residual additions of a model.

    The result computes what `model` computes until it is trained: bit for bit
    where it runs op by op, to rounding where it is compiled. It shares the
    layers and variables of `model`, nothing is copied; use the result from
    then on. It is not compiled, so call its `compile`; one that is converted
    in place stays compiled, with a fresh optimizer of the same settings. A
    converted task of KerasHub calls `prepare_optimizer` in its `compile`; for
    any other model do so yourself.

    A transformer of KerasHub is converted in place, as its `enable_lora` does:
    the result is `model` itself, of a class such as `LaurelLlamaCausalLM`. Its
    variables keep their paths, so that layout maps, LoRA and quantization
    still find them. Convert the task where there is one: a plain task made of
    a converted backbone runs, trains and is saved to `.keras`, but KerasHub
    would not find the class to load its preset with.

    Layers with previous activations (`num_activations` > 1) get the skips of
    earlier sites of the same shape, newest first, and fewer where there are
    not so many: stages of a convolutional network differ. A transformer has
    one stream, and `num_activations` above its length is refused.

    Each LAuReL layer carries the name of its `ResidualSite`, and the dtype
    policy of the `Add` whose place it takes. A model of KerasCV, KerasHub or
    of a class of your own stays an instance of that class, with its
    attributes, and what was frozen, the model too, stays frozen.

    Where the blocks of a model are, its owner can say: for one model with
    `blocks`, for a class of models with `keras_laurel.register_blocks`. Both
    convert it in place.

    Since layers are shared, `layer.output` of one still is its tensor in
    `model`, and `keras.Model(result.input, layer.output)` fails. For a model of
    inner outputs give the result layers of its own first:
    `copy = keras.models.clone_model(result)` and
    `copy.set_weights(result.get_weights())`.

    Args:
        model: A functional or sequential `keras.Model`.
        layer: A LAuReL layer, the prototype: each site gets a copy by its
            config, `axis` adapted where the model is channels_first, and
            another seed where its `a_initializer` has an integer one.
        sites: List of `ResidualSite` from `residual_sites(model)`, or `None`
            for all of them.
        granularity: Of a model whose blocks are known, such as a KerasHub
            transformer, or named: `"block"` for one connection around each
            block, as in the paper's LLMs; `"sublayer"` for one at each of its
            two additions; `"application"` for one around each time that a
            block runs, where it runs several times in a pass, as in ALBERT.
        blocks: List of layers inside `model`, each of which computes
            `y = x + f(x)` of its first argument, in the order they run; one
            that runs several times stands there as often. Each gets a
            connection around it, in place. Of a model of several stacks, such
            as an encoder and a decoder, a list of such lists: each has
            previous activations of its own. The model, or layer, may be of
            any kind then.

    Returns:
        A model.

    Raises:
        ValueError: if `model` has no graph, no residual addition, or LAuReL
            layers already, or is of a KerasHub class that is not supported; if
            `layer` is no LAuReL layer, does not fit a site or cannot be copied
            by its config; if `sites` is no list, empty or not of this model;
            if it lies on several devices and no distribution is active.
            Nothing has changed then.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> model = keras_laurel.laurelize(model, keras_laurel.LaurelLR(rank=16))
    >>> len(keras_laurel.laurel_layers(model))
    16
    """
    if not isinstance(layer, Laurel):
        raise ValueError(
            f"`layer` got {layer!r}; it needs a LAuReL layer, such as "
            "`keras_laurel.LaurelLR(rank=16)`."
        )
    if blocks is not None:
        _check_blocks_alone(sites)
        _check_not_converted(model)
        _check_distribution(model)
        return attach_blocks(model, blocks, layer, granularity)
    check_has_graph(model)
    adopt.check_supported(model)
    _check_not_converted(model)
    _check_distribution(model)
    is_hub = adopt.is_known(model)
    if granularity != "block" and not is_hub:
        raise ValueError(
            f"`granularity` got {granularity!r} for {model.name!r}, which is "
            "no KerasHub transformer: each addition of its graph is a site of "
            "its own. Leave `granularity` out; `sites` chooses where."
        )
    sites = _all_sites(model) if sites is None else _checked(sites, model)
    if is_hub:
        return adopt.convert(model, layer, sites, granularity)
    return rebuild.rebuild(model, plan_replacements(model, sites, layer))


def _check_blocks_alone(sites):
    if sites is not None:
        raise ValueError(
            "`laurelize` got `sites` and `blocks`; it needs one of them: "
            "sites that were found, or blocks that you name."
        )


def laurel_layers(model):
    """The LAuReL layers of a model, nested ones included.

    Args:
        model: Any `keras.Model`, converted or built with LAuReL layers.

    Returns:
        List of layers, in the order the model holds them; those of a
        converted transformer in the order they run. Its length is their
        number, `sum(x.count_params() for x in ...)` the parameters they add.

    Raises:
        ValueError: if `model` is not a `keras.Model`.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            f"`model` got {type(model).__name__}; it needs a `keras.Model`."
        )
    found = {}
    for layer in keras_internals.flatten_layers(model):
        connection = getattr(layer, "_laurel_connection", None)
        here = connection.stream.layers if connection else [layer]
        found.update({id(x): x for x in here if isinstance(x, Laurel)})
    return list(found.values())


def _check_not_converted(model):
    present = laurel_layers(model)
    if present:
        raise ValueError(
            f"`model` got {model.name!r}, which has {len(present)} LAuReL "
            f"layers already, the first {present[0].name!r}. A model is "
            "converted once, with one kind of layer, where `sites` says: "
            "start from the model without them. For different layers at "
            "different places call them where you build the model, "
            "`keras_laurel.LaurelRW()([x, fx])`."
        )


def _check_distribution(model):
    if not model.weights:
        return
    # The smallest: in a scope without values, reading one makes it.
    smallest = min(model.weights, key=lambda w: math.prod(w.shape))
    sharding = getattr(smallest.value, "sharding", None)
    devices = len(getattr(sharding, "device_set", ()))
    if devices > 1 and keras.distribution.distribution() is None:
        raise ValueError(
            f"{model.name!r} lies on {devices} devices and no distribution "
            "is active, so that LAuReL weights would lie on one. Call "
            "`laurelize` where the model was made: after "
            "`keras.distribution.set_distribution(...)`, or in its `scope()`."
        )


def _all_sites(model):
    sites, rejected = search(model)
    if not sites:
        raise ValueError(_nothing_found(model, rejected))
    return sites


def _checked(sites, model):
    if not isinstance(sites, collections.abc.Iterable):
        raise ValueError(
            f"`sites` got {sites!r}; it needs a list of sites from "
            "`residual_sites(model)`, also for one: `sites=[site]`."
        )
    sites = list(sites)
    if not sites:
        raise ValueError(
            "`sites` is empty, so nothing would change. Pass sites from "
            "`residual_sites(model)`, or None for all of them."
        )
    nodes = _possible_nodes(model)
    for site in sites:
        if not isinstance(site, ResidualSite) or site.node not in nodes:
            raise ValueError(
                f"`sites` got {site!r}, which is no residual site of "
                f"{model.name!r}. Take it from `residual_sites(model)` of "
                "this very model."
            )
    return sites


def _possible_nodes(model):
    if adopt.is_known(model):
        return {site.node for site in adopt.block_sites(model)}
    return {
        node
        for functional_model in functional_models(model)
        for node in keras_internals.nodes(functional_model)
    }


def _nothing_found(model, rejected):
    lines = [
        f"`model` got {model.name!r}, in which no residual addition was found."
    ]
    lines += [f"Not residual: {name}: {why}." for name, why in rejected[:5]]
    if len(rejected) > 5:
        lines.append(f"And {len(rejected) - 5} more additions.")
    opaque = sorted({type(x).__name__ for x in _opaque_layers(model)})
    if opaque:
        lines.append(
            "Layers whose inside is not searched: " + ", ".join(opaque) + "."
        )
    lines.append(
        "Put a LAuReL layer where the model adds, "
        "`keras_laurel.LaurelLR()([x, fx])`."
    )
    return "\n".join(lines)


def _opaque_layers(model):
    """Layers whose `call` may add and merge: none of `keras.layers`."""
    return [
        layer
        for layer in keras_internals.flatten_layers(model)
        if not keras_internals.is_public_layer(layer)
        and not keras_internals.has_graph(layer)
    ]
