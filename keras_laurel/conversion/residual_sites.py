"""Find the residual connections of models, without changing anything."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_laurel.checks import check_batch
from keras_laurel.checks import check_model
from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.blocks import owner
from keras_laurel.conversion.blocks.attach import check_blocks
from keras_laurel.conversion.blocks.sites import block_sites
from keras_laurel.conversion.function_code import has_addition
from keras_laurel.conversion.graphs.insides import is_opaque
from keras_laurel.conversion.graphs.insides import own_call
from keras_laurel.conversion.graphs.insides import runs_graph
from keras_laurel.conversion.graphs.search import calls_in_order
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.graphs.search import search_one
from keras_laurel.conversion.hub import adopt
from keras_laurel.conversion.inside.blocks import carrying_blocks
from keras_laurel.conversion.inside.blocks import note_stacks
from keras_laurel.conversion.inside.callers import Callers
from keras_laurel.conversion.inside.convert import sites_inside
from keras_laurel.conversion.inside.layer_paths import layer_paths
from keras_laurel.conversion.inside.survey import Survey
from keras_laurel.conversion.inside.survey import survey_inside
from keras_laurel.conversion.other_methods import calls_add
from keras_laurel.conversion.other_methods import other_methods
from keras_laurel.conversion.sites import LeftOut
from keras_laurel.conversion.sites import ResidualSites


def residual_sites(
    model: keras.Model,
    inputs: Any = None,
    granularity: str | None = None,
) -> ResidualSites:
    """Return the residual additions of a model, in the order they run.

    A residual addition (`keras.layers.Add`, `keras.ops.add` or `+`) adds a
    branch to the tensor from which the branch starts. They are found in the
    graph of the model, in the models nested in it, and in the `call` of your
    own layers and models, which is run once on symbolic tensors. Other
    additions are left out, and listed with the reason.

    For a KerasHub transformer, a task over one, and a model whose class is
    known from `register_blocks`, the sites are the blocks, each with its
    additions inside.

    Args:
        model: A `keras.Model`: functional, sequential or subclassed.
        inputs: An example of the inputs of a subclassed model: a batch, or
            `keras.Input`s. It is needed if the model is not built, or if
            inputs cannot be guessed.
        granularity: The granularity that you pass to `laurelize`. `"block"`
            returns the blocks, `"sublayer"` the additions. By default the
            sites of a model whose blocks are known, such as a KerasHub
            transformer, are the blocks, and those of others the additions.

    Returns:
        A list of `ResidualSite`, to look at or to filter, that prints as a
        table. Its attribute `left_out` lists the other additions, and the
        methods of your classes that add outside of `call`.

    Raises:
        ValueError: if `model` is not a `keras.Model`, cannot be run on
            `inputs`, has no blocks with `granularity="block"`, or is a
            KerasHub transformer that `laurelize` does not support.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> sites = keras_laurel.residual_sites(model)
    >>> len(sites), sites[0].kind
    (16, 'projection')
    """
    check_granularity(granularity)
    found = survey_model(model, inputs, granularity)
    return ResidualSites(found.sites, found.left_out)


def search(model):
    """Return `(sites, rejected)` of a model.

    `rejected` is a list of `(name, reason)` for the other additions.
    """
    found = survey_model(model)
    return found.sites, [(x.where, x.reason) for x in found.left_out]


@dataclasses.dataclass(frozen=True)
class ModelSurvey:
    """The result of searching a model.

    Attributes:
        sites: List of `ResidualSite`.
        left_out: List of `LeftOut`.
        inside: The `Survey` of the insides of layers, or `None` if there are
            no layers to look into.
        nested: List of functional models that the model runs and that are not
            in its graph.
        stacks: List of `Stack`s if the sites are blocks, otherwise `None`.
    """

    sites: list
    left_out: list
    inside: Survey | None = None
    nested: Sequence = ()
    stacks: list | None = None


GRANULARITIES = (None, "block", "sublayer", "application")


def check_granularity(granularity):
    if granularity not in GRANULARITIES:
        raise ValueError(
            f"Argument `granularity` must be one of {GRANULARITIES}. "
            f"Received: granularity={granularity!r}."
        )


def survey_model(model, inputs=None, granularity=None, blocks=None):
    """Return the `ModelSurvey` of a model, for arguments of `laurelize`."""
    if blocks is None:
        check_model("model", model)
    check_batch("inputs", inputs)
    with (
        keras_internals.keeping_losses(model),
        keras_internals.unseen_by_outer_call(),
    ):
        found = _survey(model, inputs, granularity, blocks)
    methods = other_methods(model, found.sites, found.stacks)
    return dataclasses.replace(found, left_out=[*found.left_out, *methods])


def _survey(model, inputs, granularity, blocks):
    if blocks is not None:
        stacks = owner.named_stacks(model, blocks)
        if granularity == "sublayer":
            return _inside_blocks(model, stacks, inputs)
        return _of_blocks(model, stacks)
    adopt.check_supported(model)
    if adopt.is_known(model):
        stacks = adopt.stacks_of(model)
        if granularity == "sublayer":
            part = adopt.part_with_row(model)
            return _inside_blocks(part, stacks, inputs)
        return _of_blocks(model, stacks)
    graphs = functional_models(model)
    inside, failure = _inside(model, graphs, inputs)
    found = _additions(model, graphs, inside, failure)
    if granularity in ("block", "application"):
        stacks = owner.named_stacks(model, carrying_blocks(model, inside))
        blocks = _of_blocks(model, stacks, inside)
        others = _outside_of_blocks(found.sites, stacks)
        return dataclasses.replace(blocks, left_out=others)
    return found


def _additions(model, graphs, inside, failure):
    """Return the `ModelSurvey` of the additions in graphs and layers.

    Args:
        model: The model.
        graphs: List of its functional models.
        inside: The `Survey` of its layers, or `None`.
        failure: List of `LeftOut`, if the survey failed.
    """
    seen = {id(graph) for graph in graphs}
    nested = [g for g in inside.graphs if id(g) not in seen] if inside else []
    callers = inside.callers if inside else Callers.of_graph(model)
    sites, left_out = [], list(failure)
    for functional in [*graphs, *nested]:
        known = inside.in_graphs.get(id(functional), {}) if inside else {}
        found, rejected = search_one(functional, known, callers)
        path = inside.paths.get(id(functional)) if inside else None
        if path and functional in nested:
            found = [_at(path, site) for site in found]
            rejected = [(f"{path}/{name}", why) for name, why in rejected]
        sites += found
        left_out += [LeftOut(why, name) for name, why in rejected]
    if inside:
        found, rejected = sites_inside(inside)
        sites += found
        left_out += rejected
        left_out += _failures(model, inside)
        left_out += _not_run(model, inside, [*graphs, *nested])
    left_out += _beside_graphs(model)
    order = inside.order if inside else calls_in_order(model)
    place = {node: i for i, node in enumerate(order)}
    sites.sort(key=lambda site: place.get(site.node, -1))
    return ModelSurvey(_unique_by_name(sites), left_out, inside, nested)


def _outside_of_blocks(sites, stacks):
    blocks = [block for stack in stacks for block in stack.blocks]
    inside = {
        id(x)
        for block in blocks
        for x in (block, *keras_internals.flatten_layers(block))
    }
    calls = {
        node
        for block in blocks
        for graph in functional_models(block)
        for node in keras_internals.nodes(graph)
    }
    return [
        LeftOut("not in a block", site.name)
        for site in sites
        if site.node not in calls
        and not (site.is_inside and id(site.node[0]) in inside)
    ]


def _of_blocks(model, stacks, inside=None):
    paths = inside.paths if inside else None
    return ModelSurvey(
        block_sites(stacks, model.name, paths), [], inside, stacks=stacks
    )


def _inside_blocks(model, stacks, inputs):
    """Return the additions inside the blocks of a model as sites.

    Its other additions are left out.
    """
    check_blocks(stacks, by_call_only=True)
    inside = survey_inside(model, inputs)
    note_stacks(inside, stacks)
    known = {x.layer for x in inside.insides if x.stack is not None}
    found, left_out = sites_inside(inside)
    sites = [site for site in found if site.node[0] in known]
    left_out += [
        LeftOut(f"not in the stream of the blocks of {model.name!r}", x.name, x)
        for x in found
        if x not in sites
    ]
    for graph in functional_models(model):
        in_graph, rejected = search_one(graph)
        left_out += [LeftOut("not in a block", x.name) for x in in_graph]
        left_out += [LeftOut(why, name) for name, why in rejected]
    left_out += _failures(model, inside)
    return ModelSurvey(_unique_by_name(sites), left_out, inside)


def _failures(model, inside):
    return [
        LeftOut(
            f"its `call` cannot be looked into: {why}. If it returns x + f(x), "
            "name it in `blocks=[...]`",
            f"{path or model.name} ({type(layer).__name__})",
        )
        for path, (layer, why) in inside.failures.items()
    ]


def _not_run(model, inside, graphs):
    """Return a `LeftOut` for each layer that adds and was not run.

    Args:
        model: The model.
        inside: Its `Survey`.
        graphs: List of the functional models whose additions are known.
    """
    layers = keras_internals.flatten_layers(model)
    # Keras' layers run some of their sublayers, such as the cells of RNNs, out
    # of sight.
    ran_by_keras = {
        id(x)
        for layer in layers
        if keras_internals.is_of_keras(layer)
        for x in keras_internals.flatten_layers(layer)
    }
    ran = {*inside.called, *ran_by_keras, *map(id, graphs)}
    left_out = []
    for layer in layers:
        if id(layer) in ran:
            continue
        path = inside.paths.get(id(layer), layer.name)
        where = f"{path} ({type(layer).__name__})"
        if is_opaque(layer) and calls_add(layer):
            reason = f"{_NOT_RUN} layer, whose `call` adds: {_CONVERT_ALONE}"
            left_out.append(LeftOut(f"{reason} the layer by itself", where))
        elif keras_internals.is_functional(layer) and runs_graph(layer):
            reason = f"{_NOT_RUN} model: {_CONVERT_ALONE} the model by itself"
            found, _ = search_one(layer)
            left_out += [LeftOut(reason, f"{where}: {x.name}") for x in found]
    return left_out


_NOT_RUN = "the example inputs do not lead to this"
_CONVERT_ALONE = "convert with `inputs=` that do, or convert"


def _beside_graphs(model):
    """Return a `LeftOut` for each `call` of a model with a graph that adds.

    A functional model that does not run its graph is looked into instead.
    """
    paths, left_out = layer_paths(model), []
    for layer in (model, *keras_internals.flatten_layers(model)):
        if not keras_internals.has_graph(layer) or is_opaque(layer):
            continue
        call = own_call(layer)
        if call and has_addition(call):
            code, kind = call.__code__, type(layer).__name__
            place = f"{code.co_filename}:{code.co_firstlineno}, in {kind}.call"
            left_out.append(
                LeftOut(
                    "the `call` of its class adds outside of the graph that "
                    "Keras makes of its layers: put a LAuReL layer there",
                    f"{paths.get(id(layer)) or layer.name}: {place}",
                )
            )
    return left_out


def _at(path, site):
    return dataclasses.replace(site, name=f"{path}/{site.name}")


def _inside(model, graphs, inputs):
    """Return the `Survey` of a model's layers, and a list of `LeftOut`.

    The list is empty unless the survey fails for a model that has a graph
    too, in which sites may still be found.
    """
    layers = keras_internals.flatten_layers(model)
    seen = {id(graph) for graph in graphs}
    hidden = [
        layer
        for layer in (model, *layers)
        if is_opaque(layer)
        or (keras_internals.is_functional(layer) and id(layer) not in seen)
    ]
    if not hidden:
        return None, []
    try:
        return survey_inside(model, inputs), []
    except ValueError as error:
        # Otherwise the sites in the graphs are still of use.
        if not graphs:
            raise
        names = sorted({type(layer).__name__ for layer in hidden})
        return None, [LeftOut(str(error), ", ".join(names))]


def _unique_by_name(sites):
    """Add the model's name to site names that are not unique."""
    names = [site.name for site in sites]
    return [
        dataclasses.replace(site, name=f"{site.model}_{site.name}")
        if names.count(site.name) > 1
        else site
        for site in sites
    ]
