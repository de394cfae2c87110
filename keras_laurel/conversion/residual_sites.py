"""Find the residual connections of models. Nothing is changed."""

import dataclasses

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.graphs.search import search_one
from keras_laurel.conversion.hub import adopt


def residual_sites(model):
    """The residual connections of a model, in the order they run.

    Finds `keras.layers.Add` layers and `+` operations that add a branch to
    the tensor it starts from, in the model and in the functional and
    sequential models nested in it. Additions that are no residual connection
    are left out: sums of parallel branches, of a constant, of position
    embeddings, of three and more operands, and sums across resolutions as in
    feature pyramids and U-nets.

    Of a KerasHub transformer, or a task over one, and of a model whose class
    is known by `register_blocks`, these are its blocks, each with its
    additions inside.

    Args:
        model: A functional or sequential `keras.Model`.

    Returns:
        List of `ResidualSite`, to look at or to filter. It is empty where
        there are none.

    Raises:
        ValueError: if `model` has no graph to search, or is a KerasHub
            transformer that `laurelize` does not support.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> sites = keras_laurel.residual_sites(model)
    >>> len(sites), sites[0].kind
    (16, 'projection')
    """
    found, _ = search(model)
    return found


def search(model):
    """`(sites, rejected)`; `rejected` tells of each other addition why not."""
    check_has_graph(model)
    adopt.check_supported(model)
    if adopt.is_known(model):
        return adopt.block_sites(model), []
    found, rejected = [], []
    for functional in functional_models(model):
        sites, reasons = search_one(functional)
        found += sites
        rejected += reasons
    return _unique_by_name(found), rejected


def check_has_graph(model):
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"`model` got {type(model).__name__}; it needs a `keras.Model`."
        )
    if not (keras_internals.has_graph(model) or adopt.is_known(model)):
        raise ValueError(
            f"`model` got {model.name!r} of class {type(model).__name__}, "
            "which has no graph of layers to search. Build it as "
            "`keras.Model(inputs, outputs)`, or put a LAuReL layer where its "
            "`call` adds."
        )


def _unique_by_name(sites):
    """Put the model's name before a name that several models use."""
    names = [site.name for site in sites]
    return [
        dataclasses.replace(site, name=f"{site.model}_{site.name}")
        if names.count(site.name) > 1
        else site
        for site in sites
    ]
