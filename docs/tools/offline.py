"""A hook of mkdocs: the built pages load nothing from elsewhere."""

import logging
import re
from pathlib import Path

LOADED = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?"
    r"""(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""",
    re.I,
)

log = logging.getLogger("mkdocs.hooks.offline")


def on_post_build(config):
    """Warn, which is an error under `--strict`."""
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        for address in LOADED.findall(page.read_text("utf-8")):
            log.warning("%s loads %s", page.name, address)
