"""A container's changes as text: the lines of `docker diff`."""

from __future__ import annotations

from hostinspect.render.text import safe


def render_changes(lines: bytes, *, ascii_only: bool = False) -> str:
    r"""The lines of `hostinspect.collectors.changes.Changes`, safe to look at: `docker diff` prints line breaks and
    escape sequences of a name as they are.

    >>> print(render_changes(b"A /a b\n\0D /\xff\0"), end="")
    A /a b\n
    D /\xff
    """
    text = lines.decode("utf-8", "backslashreplace")
    if "  " not in text and (text.isascii() or not ascii_only) and text.replace("\0", "").isprintable():
        return text.replace("\0", "\n")  # as it is: nearly always
    return "".join(f"{safe(line, ascii_only=ascii_only)}\n" for line in text.split("\0")[:-1])
