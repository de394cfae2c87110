"""Which opened layers are blocks: they carry the stream through."""

from keras_laurel.conversion.keras_internals import flatten_layers


def carrying_blocks(model, survey):
    """The layers that hand on their input with something added to it, in the
    order they run, one that runs several times as often as it does.

    A layer that holds such layers, and adds nothing itself, is none.

    Raises:
        ValueError: if there are none.
    """
    insides = {id(x.layer): x for x in survey.insides} if survey else {}
    blocks = [
        layer
        for layer in (survey.runs if survey else ())
        if id(layer) in insides and insides[id(layer)].carries_stream
    ]
    if not blocks:
        raise ValueError(
            f"`granularity` got 'block' or 'application' for {model.name!r}, "
            "none of whose layers computes y = x + f(x) of its input. Use "
            "`granularity='sublayer'`, or name the blocks with `blocks=[...]`."
        )
    return blocks


def sites_of_blocks(sites, survey, stacks):
    """Of sites inside layers those that belong to known blocks.

    Each stack of blocks has a history of its own.

    They stand in the `call` of a block or in those of the layers in it, as of
    an attention that is given the input of the block, and adds it.

    Args:
        sites: List of `ResidualSite`s.
        survey: The `Survey` that they are of.
        stacks: List of `Stack`s.
    """
    insides = {id(x.layer): x for x in survey.insides}
    chosen = set()
    for number, stack in enumerate(stacks):
        for block in stack.blocks:
            layers = [block, *flatten_layers(block)]
            chosen |= {id(x) for x in layers}
            for inside in filter(None, (insides.get(id(x)) for x in layers)):
                inside.stack = number
    return [site for site in sites if id(site.node[0]) in chosen]
