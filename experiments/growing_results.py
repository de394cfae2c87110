"""A file of results to which each sitting adds runs.

The folders of runs may be gone by then, or on another machine: the file alone
says which runs are finished.
"""

from experiments.files import read_json
from experiments.files import write_json

NOTHING = {"about": {}, "rows": []}


def take_over(path, output):
    """The contents of a file of results, whose runs then count as finished."""
    file = read_json(path) or NOTHING
    for row in file["rows"]:
        folder = output / row["arm"] / f"seed_{row['seed']}"
        if not (folder / "result.json").exists():
            write_json(folder / "settings.json", row["settings"])
            write_json(folder / "result.json", row)
    return file


def check_same_data(file, about):
    """Raise if runs of a file read other data than those to be added."""
    before, now = file["about"].get("data", {}), about["data"]
    for name in before.keys() & now.keys():
        if before[name] != now[name]:
            raise ValueError(
                "Setting `results` must be a file of runs on the same data, "
                f"to add to it. Received: `{name}` with {before[name]} there, "
                f"{now[name]} here. Choose another file, or prepare the data "
                "with the versions in constraints.txt."
            )


def joined(file, about, rows):
    """The contents of a file with what this sitting added or replaced."""
    known = {(row["arm"], row["seed"]): row for row in [*file["rows"], *rows]}
    rows = list(known.values())
    data = {**file["about"].get("data", {}), **about["data"]}
    # The order in which they come first.
    devices = dict.fromkeys(row["device"] for row in rows if "device" in row)
    device = ", ".join(devices) or about["device"]
    return {"about": {**about, "data": data, "device": device}, "rows": rows}
