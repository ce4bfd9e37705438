"""Text from the host, made safe to look at.

Names, paths, labels and command names are chosen by whoever runs containers on the host. On a terminal some of them
could move the cursor, recolour the screen, or reorder what is read. Everything a person reads goes through `safe`.
"""

from __future__ import annotations

import re

_RUN_OF_SPACES = r"(?<= ) +"
_NOT_ASCII = r"[^\x00-\x7f]"

# What our own words are drawn with, and how that reads where only ASCII is safe.
_ASCII = str.maketrans({"↔": "<->", "→": "->", "·": "-", "…": "...", "–": "-", "×": "x"})


def safe(text: str, *, ascii_only: bool = False) -> str:
    r"""`text` on one line, with nothing in it that a terminal would obey.

    Control characters, line breaks, bidirectional and invisible formatting, lone surrogates and every space but the
    plain one become escapes; so does all but the first of several spaces, which could pass for a column of ours.

    >>> safe("web\x1b[31m\u202e1")
    'web\\x1b[31m\\u202e1'
    >>> safe("a → ö", ascii_only=True)
    'a -> \\xf6'
    """
    if ascii_only and not text.isascii():
        text = re.sub(_NOT_ASCII, _escape_match, text.translate(_ASCII))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escape(c) for c in text)
    if "  " in text:
        text = re.sub(_RUN_OF_SPACES, lambda run: r"\x20" * len(run[0]), text)
    return text


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _escape_match(match: re.Match[str]) -> str:
    return _escape(match[0])
