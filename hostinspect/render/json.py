"""An answer as JSON: as it is, indented, in an order that does not change."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hostinspect.topology import Node

_NOT_PLAIN = r"[^\n\x20-\x7e]"


def render_json(answer: Node | list[dict[str, Any]]) -> bytes:
    r"""JSON as RFC 8259 has it, in UTF-8, two spaces deep, ending in a newline.

    JSON itself escapes the C0 control characters only. DEL, the C1 controls and what reorders text on a screen become
    `\uXXXX` here too: the same value for a program, and nothing a terminal would obey.
    """
    return msgspec.json.format(_plain(msgspec.json.encode(answer)), indent=2) + b"\n"


def render_json_line(answer: Node) -> bytes:
    """The same in one line, for a program that reads one answer after another (JSON Lines)."""
    return _plain(msgspec.json.encode(answer)) + b"\n"


def _plain(document: bytes) -> bytes:
    if document.isascii() and b"\x7f" not in document:
        return document
    return re.sub(_NOT_PLAIN, _escaped, document.decode()).encode()


def _escaped(match: re.Match[str]) -> str:
    """Only within strings can such a character stand, so the escape always means the character."""
    character = match[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
