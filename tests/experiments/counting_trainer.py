"""A trainer that trains nothing: it counts its calls, waits and fails."""

import dataclasses
import os
import time
import typing


@dataclasses.dataclass(frozen=True)
class Settings:
    trainer: typing.ClassVar[str] = __name__

    factor: int = 1
    fails_at: int | None = None
    waits_at: int | None = None


def train(settings, seed, folder, machine):
    with (folder / "calls").open("a") as calls:
        calls.write("x")
    if seed == settings.fails_at:
        raise RuntimeError("no luck")
    # Whole as soon as it is there.
    (folder / "writing").write_text(str(os.getpid()))
    (folder / "writing").rename(folder / "process")
    while seed == settings.waits_at:
        time.sleep(0.1)
    return {"value": settings.factor * seed}
