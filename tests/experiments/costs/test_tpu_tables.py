"""Pictures show the numbers they were drawn from."""

import json

from experiments.costs.tpu_tables import draw
from experiments.files import RESULTS
from tests.backends import once

pytestmark = once

FIELDS = {
    "scheduled cycles": ("percent_added", "cycles"),
    "bytes accessed": ("percent_added", "bytes_accessed"),
    "peak memory": ("percent_added", "peak_memory"),
    "step time, paper": ("paper_percent_step_time",),
    "peak memory, paper": ("paper_percent_memory",),
}


def value_at(row, path):
    for name in path:
        row = row[name]
    return row


def test_each_number_of_table_5_has_its_bar(tmp_path):
    table = json.loads((RESULTS / "tpu_table_5.json").read_text())
    rows = [row for row in table["rows"] if row["variant"] != "baseline"]
    figure = draw(table["rows"], "Table 5", tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")

    (axes,) = figure.axes
    assert {bars.get_label() for bars in axes.containers} == set(FIELDS)
    labels = iter(axes.texts)
    for bars in axes.containers:
        for place, (bar, row) in enumerate(zip(bars, rows, strict=True)):
            value = value_at(row, FIELDS[bars.get_label()])
            assert bar.get_height() == (value or 0)
            assert next(labels).get_text() == (
                "" if value is None else f"{value:.1f}"
            )
            assert abs(bar.get_x() + bar.get_width() / 2 - place) < 0.5
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [row["variant"] for row in rows]
