"""Write, resume and read the CSV file of a `LaurelLogger`."""

import csv
import os
from pathlib import Path

KEYS = ("step", "epoch", "connection", "layer", "variant")


class LogFile:
    """A CSV file with a row for each connection at each step.

    Args:
        path: The file. Missing folders are created.
        connections: Integer, the number of rows per step.
        quantities: Names of the columns after `KEYS`.
    """

    def __init__(self, path, connections, quantities):
        self.path = Path(path)
        self.connections = connections
        self.columns = [*KEYS, *quantities]

    def resume_from(self, step):
        """Keep the rows up to `step`, or start the file.

        Returns:
            The last step that was kept, or `None`.

        Raises:
            ValueError: if the file is no log, or if rows are to be kept and
                it is the log of another model. Nothing is written then.
        """
        kept = self._kept(step)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A run that is killed here leaves the former file whole.
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
        with self.path.open(newline="", errors="replace") as file:
            header = file.readline()
        # An empty file has no header.
        if header:
            self._check(header.rstrip().split(","), step)
        if not step:
            return []
        rows = _whole_steps(list(_whole_lines(self.path)), self.connections)
        return [row for row in rows if int(row["step"]) <= step]

    def _check(self, found, step):
        if not set(KEYS) <= set(found):
            raise ValueError(
                "Argument `path` must be a new file, or the log of a "
                f"`LaurelLogger`. Received: {str(self.path)!r}, which begins "
                f"with {','.join(found)[:80]!r} and would be replaced. Pass "
                "another path, or remove the file."
            )
        # At step 0 any log is replaced.
        if step and found != self.columns:
            raise ValueError(
                "Argument `path` must be a new file, or the log of the same "
                f"model. Received: {str(self.path)!r}, which has the columns "
                f"{found}, while this run has {self.columns}. It was written "
                "for another model or without `inputs`. Pass another path, or "
                "remove the file."
            )


def read_log(path):
    """Return the rows of a log as dicts, without empty cells.

    Raises:
        ValueError: if `path` cannot be read, or is not a log.
    """
    try:
        rows = list(_whole_lines(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            "A log must be a CSV file of a "
            "`keras_laurel.learned.LaurelLogger`. "
            f"Received: {str(path)!r}, which cannot be read: {error}. Give "
            "the `path` of a logger that has run."
        ) from error
    if not rows or not set(KEYS) <= set(rows[0]):
        raise ValueError(
            "A log must be a CSV file of a "
            "`keras_laurel.learned.LaurelLogger`. "
            f"Received: {str(path)!r}, which has no rows of a logger. Give "
            "the `path` of a logger that has run."
        )
    connections = sum(row["step"] == rows[0]["step"] for row in rows)
    return [_typed(row) for row in _whole_steps(rows, connections)]


def _whole_lines(path):
    """Read all rows except an incomplete last one, left by a killed run."""
    lines, _, _ = Path(path).read_text().rpartition("\n")
    return csv.DictReader(lines.splitlines())


def _whole_steps(rows, connections):
    """Return the rows without those of an incomplete last step."""
    return rows[: len(rows) // connections * connections]


def _typed(row):
    types = {"layer": str, "variant": str}
    types.update({"step": int, "epoch": int, "connection": int})
    return {k: types.get(k, float)(v) for k, v in row.items() if v}
