"""A griffe extension: docstrings in the style of Keras, as Markdown.

Doctests become blocks of code: in Markdown their prompt `>>>` would be a
quotation of a quotation. Sections of prose get a heading of their own; griffe
takes them for notes, or for lists of one value without a name.
"""

import re
import textwrap

from griffe import Extension

DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?=.*\S).*)*", re.M)
PROSE = re.compile(
    r"^(Returns|Input shape|Output shape):\n((?:(?: +.*)?\n)*(?: +.*))", re.M
)
# What stands alone on its line, above a doctest.
EXAMPLE = re.compile(r"^(Examples?):$(?=\n\n)", re.M)


class KerasDocstrings(Extension):
    """Rewrite docstrings before they are parsed."""

    def on_object(self, *, obj, **kwargs):
        """Rewrite the docstring of one object."""
        if obj.docstring:
            text = DOCTEST.sub(_fenced, obj.docstring.value)
            text = EXAMPLE.sub(r"**\1:**", text)
            obj.docstring.value = PROSE.sub(_headed, text)


def _fenced(match):
    indent, text = match[1], match[0].replace("<BLANKLINE>", "")
    return f"{indent}```pycon\n{text}\n{indent}```"


def _headed(match):
    return f"**{match[1]}:**\n\n{textwrap.dedent(match[2])}"
