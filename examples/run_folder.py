"""The folder of a run: whose numbers it holds, and which are finished.

A folder remembers the options that its numbers were made with. The same
command continues it; another one must not mix its numbers with them. Every
file appears under its name only when it is complete.
"""

import dataclasses
import json
import os
from pathlib import Path

from settings import describe_differences


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The files of one run below `path`."""

    path: Path

    def __getitem__(self, name):
        return self.path / name

    def claim(self, config):
        """Writes the options of a new run; raises if another run is here."""
        self.check(config)
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self["config.json"], config)

    def check(self, config):
        """Raises a ValueError that names the options that differ."""
        before = read_json(self["config.json"]) or config
        now = json.loads(json.dumps(config))
        differences = describe_differences(before, now)
        if differences:
            raise ValueError(
                f"{self.path} holds a run with other options: "
                f"{differences}. Expected the same command, which "
                "continues that run. Choose another `--output`, or delete the "
                "folder."
            )

    def trial(self, variant, index):
        return self["trials"] / f"{variant}_{index + 1}"

    def result(self, variant, index):
        """The result of a finished trial, or None."""
        return read_json(self.trial(variant, index) / "result.json")

    def finish(self, result, variant, index):
        folder = self.trial(variant, index)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "result.json", result)


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else None


def write_json(path, value):
    text = json.dumps(value, indent=2, ensure_ascii=False)
    write_whole(path, lambda partial: partial.write_text(text + "\n"))


def write_whole(path, write):
    """Writes under another name first, so `path` is never half a file."""
    partial = path.with_name(f"partial_{path.name}")
    write(partial)
    os.replace(partial, path)
