"""Run an example cell by cell, and keep what each cell prints.

`python docs/tools/record_outputs.py NAME` writes docs/outputs/NAME.json, which
the guides show, unless it has the outputs of this code already. `make guides`
does so for all of examples/.
"""

import contextlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import tutobooks

ROOT = Path(__file__).parents[2]
# A line that was written over, as progress bars are, and escapes of colours.
OVERWRITTEN = re.compile(r"[^\n]*(?:\r(?!\n)|\x08)")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def run(path):
    """Return what each code cell of a script prints, as strings."""
    scope, outputs = {"__name__": "__main__"}, []
    for cell in tutobooks.parsed_code_cells(path.read_text("utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(cell, path.name, "exec"), scope)
        text = ESCAPES.sub("", printed.getvalue())
        outputs.append(OVERWRITTEN.sub("", text))
    return outputs


def main():
    if len(sys.argv) != 2:
        sys.exit("Usage: python docs/tools/record_outputs.py NAME")
    script = ROOT / "examples" / f"{Path(sys.argv[1]).stem}.py"
    path = ROOT / "docs" / "outputs" / script.with_suffix(".json").name
    fingerprint = tutobooks.fingerprint(script.read_text("utf-8"))
    if path.exists() and json.loads(path.read_text())["fingerprint"] == (
        fingerprint
    ):
        return
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        outputs = run(script)
        os.chdir(ROOT)
    recorded = {"fingerprint": fingerprint, "outputs": outputs}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
