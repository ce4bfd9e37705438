"""A container's changes as text: the lines of `docker diff`."""

from __future__ import annotations

from collections.abc import Iterable

from hostinspect.facts import Change
from hostinspect.render.text import safe


def render_changes(changes: Iterable[Change], *, ascii_only: bool = False) -> str:
    r"""A line each, safe to look at: `docker diff` prints line breaks and escape sequences of a name as they are.

    >>> print(render_changes([Change(kind="A", path="/a b\n")]), end="")
    A /a b\n
    """
    return "".join(f"{change.kind} {safe(change.path, ascii_only=ascii_only)}\n" for change in changes)


def render_null_separated(changes: Iterable[Change]) -> bytes:
    r"""The same as they are, each ended by a NUL, for programs.

    >>> render_null_separated([Change(kind="D", path="/\\xff", raw=b"/\xff")])
    b'D /\xff\x00'
    """
    return b"".join(
        b"%s %s\0" % (change.kind.encode(), change.raw if change.raw is not None else change.path.encode())
        for change in changes
    )
