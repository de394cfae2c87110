"""The CSV file of a `LaurelLogger`: written, gone on with, read."""

import csv
import os
from pathlib import Path

KEYS = ("step", "epoch", "connection", "layer", "variant")


class LogFile:
    """Rows of numbers, `connections` of them at each step.

    Args:
        path: The file. Missing folders are made.
        connections: Integer.
        quantities: Names of the columns after `KEYS`.
    """

    def __init__(self, path, connections, quantities):
        self.path = Path(path)
        self.connections = connections
        self.columns = [*KEYS, *quantities]

    def go_on_from(self, step):
        """Keep the rows up to `step`, or start the file.

        Returns:
            The last step that is kept, or `None`.
        """
        kept = self._kept(step) if step else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".partial")
        with partial.open("w", newline="") as file:
            self._writer(file).writeheader()
            self._writer(file).writerows(kept)
        os.replace(partial, self.path)
        return int(kept[-1]["step"]) if kept else None

    def append(self, rows):
        with self.path.open("a", newline="") as file:
            self._writer(file).writerows(rows)

    def _writer(self, file):
        return csv.DictWriter(file, self.columns, lineterminator="\n")

    def _kept(self, step):
        if not self.path.exists():
            return []
        reader = _whole_lines(self.path)
        # `None` for an empty file.
        self._check(reader.fieldnames or self.columns)
        rows = _whole_steps(list(reader), self.connections)
        return [row for row in rows if int(row["step"]) <= step]

    def _check(self, found):
        if found != self.columns:
            raise ValueError(
                f"`path` got {str(self.path)!r}, which has the columns "
                f"{found}; this run has {self.columns}. It was written for "
                "another model or without `inputs`: give another path, or "
                "remove the file."
            )


def read_log(path):
    """The rows of a log as dicts, without what a connection has not.

    Raises:
        ValueError: if `path` is no such file, or is not to be read.
    """
    try:
        rows = list(_whole_lines(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"Got {str(path)!r}, which cannot be read: {error}. Give the "
            "`path` of a `keras_laurel.LaurelLogger` that has run."
        ) from error
    if not rows or not set(KEYS) <= set(rows[0]):
        raise ValueError(
            f"Got {str(path)!r}, which has no rows of a "
            "`keras_laurel.LaurelLogger`. Give the `path` of one that has run."
        )
    connections = sum(row["step"] == rows[0]["step"] for row in rows)
    return [_typed(row) for row in _whole_steps(rows, connections)]


def _whole_lines(path):
    """All rows but the last if it was cut off, as when a run is killed."""
    lines, _, _ = Path(path).read_text().rpartition("\n")
    return csv.DictReader(lines.splitlines())


def _whole_steps(rows, connections):
    """The rows without those of a step that was being written."""
    return rows[: len(rows) // connections * connections]


def _typed(row):
    types = {"layer": str, "variant": str}
    types.update({"step": int, "epoch": int, "connection": int})
    return {k: types.get(k, float)(v) for k, v in row.items() if v}
