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
        """The rows of whole steps: a run may be killed as it writes one."""
        if not self.path.exists():
            return []
        header, *rows = self.path.read_text().splitlines(keepends=True)
        self._check(header)
        if rows and not rows[-1].endswith("\n"):
            rows.pop()
        rows = list(csv.DictReader([header, *rows]))
        rows = rows[: len(rows) // self.connections * self.connections]
        return [row for row in rows if int(row["step"]) <= step]

    def _check(self, header):
        found = next(csv.reader([header]))
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
        ValueError: if `path` is no such file.
    """
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(KEYS) <= set(rows[0]):
        raise ValueError(
            f"Got {str(path)!r}, which has no rows of a "
            "`keras_laurel.LaurelLogger`. Give the `path` of one that has run."
        )
    return [_typed(row) for row in rows]


def _typed(row):
    types = {"layer": str, "variant": str}
    types.update({"step": int, "epoch": int, "connection": int})
    return {k: types.get(k, float)(v) for k, v in row.items() if v}
