"""Which opened layers are blocks: they carry the stream through."""


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
