"""Which opened layers are blocks: they carry the stream through."""


def carrying_blocks(model, found):
    """The layers that hand on their input with something added to it.

    A layer that holds such layers, and adds nothing itself, is none.

    Raises:
        ValueError: if there are none.
    """
    insides = found.inside.insides if found.inside else []
    blocks = [inside.layer for inside in insides if inside.carries_stream]
    if not blocks:
        raise ValueError(
            f"`granularity='block'` got {model.name!r}, none of whose layers "
            "computes y = x + f(x) of its input. Use `granularity='sublayer'`, "
            "or name the blocks with `blocks=[...]`."
        )
    return blocks
