"""Hooks of mkdocs: pages and files from outside of docs/.

The examples become guides, some Markdown files of the repository become pages,
and what a page links to is brought into the site. The files themselves keep
links that work in the repository.
"""

import json
import logging
import posixpath
import re
from pathlib import Path

import tutobooks
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
# Where files of the repository stand in the site.
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/README.md": "experiments.md",
    "examples/README.md": "guides/index.md",
    "README.md": "index.md",
}
COPIED = (".png", ".json")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(```.*?```)", re.S)

log = logging.getLogger("mkdocs.hooks.repository_pages")
guides = {
    f"examples/{path.name}": f"guides/{path.stem}.md"
    for path in sorted((ROOT / "examples").glob("*.py"))
}
places = {**PAGES, **guides}
origins = {
    place: source
    for source, place in places.items()
    if not (ROOT / "docs" / place).exists()
}


def on_files(files, config):
    """Add the pages that are made of files outside of docs/."""
    for source, place in PAGES.items():
        if files.get_file_from_path(place) is None:
            text = (ROOT / source).read_text("utf-8")
            files.append(File.generated(config, place, content=text))
    for source, place in guides.items():
        _add_guide(files, config, ROOT / source, place)
    return files


def _add_guide(files, config, path, place):
    stem = place.removesuffix(".md")
    script = path.read_text("utf-8")
    outputs = ROOT / "docs" / "outputs" / f"{path.stem}.json"
    recorded = json.loads(outputs.read_text("utf-8"))
    page = tutobooks.render_page(script, path.stem, recorded)
    notebook = tutobooks.render_notebook(script, recorded)
    contents = {place: page, f"{stem}.ipynb": notebook, f"{stem}.py": script}
    for name, content in contents.items():
        files.append(File.generated(config, name, content=content))


def on_page_markdown(markdown, page, config, files):
    """Let the links of a page lead to where things stand in the site."""
    parts = CODE.split(markdown)
    place = page.file.src_uri

    def lead(match):
        return _led(match, place, config, files)

    # Every other part is a fenced block of code.
    parts[::2] = [LINK.sub(lead, part) for part in parts[::2]]
    return "".join(parts)


def _led(match, place, config, files):
    """Return a link as it is to stand in the site."""
    mark, text, target = match.groups()
    path, hash_sign, anchor = target.partition("#")
    if ":" in path or not path:
        return match[0]
    source = origins.get(place, f"docs/{place}")
    # A guide's own notebook lies beside its page, not beside its script.
    if files.get_file_from_path(_join(place, path)) and place in origins:
        return match[0]
    wanted = _join(source, path)
    if not (ROOT / wanted).exists():
        log.warning("%s links to %s, which is not there", source, target)
        return match[0]
    found = _place(wanted, config, files)
    if found is None:
        # The site does not show the program's source files.
        return text
    relative = posixpath.relpath(found, posixpath.dirname(place) or ".")
    return f"{mark}[{text}]({relative}{hash_sign}{anchor})"


def _join(source, path):
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def _place(wanted, config, files):
    """Return where a file of the repository stands in the site, or None."""
    if wanted in places:
        return places[wanted]
    if wanted.startswith("docs/"):
        return wanted.removeprefix("docs/")
    if not wanted.endswith(COPIED):
        return None
    if files.get_file_from_path(wanted) is None:
        content = (ROOT / wanted).read_bytes()
        files.append(File.generated(config, wanted, content=content))
    return wanted
