"""JSON files that are never half written, and what numbers are made with."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("keras", "keras-hub", "jax", "tensorflow", "torch", "libtpu")


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else None


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path, text):
    write_whole(path, lambda partial: partial.write_text(text, "utf-8"))


def write_whole(path, write):
    """Write under another name first, so that `path` is never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial_{path.name}")
    write(partial)
    os.replace(partial, path)


def made_with():
    """Versions and processor that numbers were made with."""
    versions = {name: version_of(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
        "cores": os.cpu_count(),
        "processor": processor(),
    }


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor():
    """Model of the processor, as far as the system says."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else ()
    names = [x.partition(":")[2] for x in lines if x.startswith("model name")]
    return names[0].strip() if names else platform.machine()
