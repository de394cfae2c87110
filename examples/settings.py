"""What a run is told: the part that a dataclass takes, and what differs."""

import dataclasses


def pick(settings, kind):
    """The settings, a dict, that a dataclass has a field for."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: v for name, v in settings.items() if name in names}


def describe_differences(before, now):
    """The settings that differ between two dicts as text, or an empty one."""
    return "; ".join(
        f"`{name}` is {before.get(name)!r} there, {now.get(name)!r} here"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
