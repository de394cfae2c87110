"""A griffe extension: doctests of docstrings become blocks of code.

In Markdown the prompt `>>>` would be a quotation of a quotation.
"""

import re

from griffe import Extension

DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?=.*\S).*)*", re.M)


class FencedDoctests(Extension):
    """Put a fence around each doctest."""

    def on_object(self, *, obj, **kwargs):
        """Rewrite the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(_fenced, obj.docstring.value)


def _fenced(match):
    indent = match[1]
    return f"{indent}```pycon\n{match[0]}\n{indent}```"
