"""Tutobooks, scripts with prose in `\"\"\"` cells, as pages and notebooks."""

import ast
import hashlib
import itertools
import json
import re

# A notebook is taken elsewhere, where the pictures of a page are not.
PICTURE = re.compile(r"\n*!\[[^\]]*\]\([^)]*\)")


def read_cells(source):
    """Return the cells of a script, `("markdown" or "code", text)`, in order.

    The first one is the header.
    """
    lines, cells, start = source.splitlines(), [], 0
    for node in ast.parse(source).body:
        if not _is_prose(node):
            continue
        cells.append(("code", "\n".join(lines[start : node.lineno - 1])))
        cells.append(("markdown", node.value.value))
        start = node.end_lineno
    cells.append(("code", "\n".join(lines[start:])))
    return [(kind, text.strip("\n")) for kind, text in cells if text.strip()]


def code_cells(source):
    return [text for kind, text in read_cells(source) if kind == "code"]


def parsed_code_cells(source):
    """Return the code cells as syntax trees, with their lines in the script."""
    groups = itertools.groupby(ast.parse(source).body, _is_prose)
    return [ast.Module(list(nodes), []) for prose, nodes in groups if not prose]


def fingerprint(source):
    """Return a hash of the code of a script, its prose aside."""
    code = "\0".join(code_cells(source))
    return hashlib.sha256(code.encode()).hexdigest()


def outputs_of(source, recorded):
    """Return what each code cell of a script printed, or empty strings.

    Args:
        source: The script.
        recorded: Dict with its `"fingerprint"` when it ran, and `"outputs"`.
    """
    if recorded.get("fingerprint") == fingerprint(source):
        return recorded["outputs"]
    return [""] * len(code_cells(source))


def _is_prose(node):
    is_constant = isinstance(node, ast.Expr) and isinstance(
        node.value, ast.Constant
    )
    return is_constant and isinstance(node.value.value, str)


def read_header(text):
    """Return the fields of a header and the prose below them."""
    fields, _, prose = text.partition("\n\n")
    header, name = {}, None
    for line in fields.splitlines():
        # A field may continue on further lines, which are indented.
        if not line.startswith(" "):
            name, _, line = line.partition(":")
            header[name] = ""
        header[name] = f"{header[name]} {line.strip()}".strip()
    return header, prose


def _with_title(source):
    (_, text), *cells = read_cells(source)
    header, prose = read_header(text)
    title = f"# {header['Title']}\n\n{header['Description']}"
    return header, [("markdown", f"{title}\n\n{prose}".strip()), *cells]


def render_page(source, name, recorded):
    """Return the Markdown page of a script; `name` is that of its files."""
    header, cells = _with_title(source)
    about = (
        f"*{header['Author']}, {header['Last modified']}.* "
        f"[Notebook]({name}.ipynb){{ download }} · "
        f"[Script]({name}.py){{ download }}"
    )
    outputs = iter(outputs_of(source, recorded))
    texts = []
    for kind, text in cells:
        if kind == "markdown":
            texts.append(text)
            continue
        texts.append(f"```python\n{text}\n```")
        output = next(outputs)
        if output:
            texts.append(f"```{{.text .output}}\n{output}```")
    return "\n\n".join([texts[0], about, *texts[1:]]) + "\n"


def render_notebook(source, recorded):
    """Return the Jupyter notebook of a script, as JSON."""
    _, cells = _with_title(source)
    outputs = iter(outputs_of(source, recorded))
    kernel = {"display_name": "Python 3", "language": "python"}
    notebook = {
        "cells": [_notebook_cell(*cell, outputs) for cell in cells],
        "metadata": {"kernelspec": {**kernel, "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False)


def _notebook_cell(kind, text, outputs):
    if kind == "markdown":
        text = PICTURE.sub("", text)
    cell = {
        "cell_type": kind,
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    if kind == "code":
        printed = next(outputs).splitlines(keepends=True)
        stream = {"name": "stdout", "output_type": "stream", "text": printed}
        cell["execution_count"] = None
        cell["outputs"] = [stream] if printed else []
    return cell
