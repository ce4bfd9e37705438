"""An answer as JSON: as it is, indented, in an order that does not change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from hostinspect.topology import Node, Topology

_MANY = 100  # things in a list: more are made text of in parts
_NOT_PLAIN = r"[^\n\x20-\x7e]"


def render_json(answer: Node | list[dict[str, Any]]) -> bytes:
    r"""JSON as RFC 8259 has it, in UTF-8, two spaces deep, ending in a newline.

    JSON itself escapes the C0 control characters only. DEL, the C1 controls and what reorders text on a screen become
    `\uXXXX` here too: the same value for a program, and nothing a terminal would obey.
    """
    return _indented(answer) + b"\n"


def render_json_in_parts(topology: Topology) -> Iterator[bytes]:
    """The same of a report, piece by piece: of a large host it is tens of megabytes, twice while it is indented."""
    lists = {name: getattr(topology, name) for name in topology.__struct_fields__}
    long = {name: things for name, things in lists.items() if isinstance(things, tuple) and len(things) > _MANY}
    rest = render_json(replace(topology, **dict.fromkeys(long, ())))
    for name, things in long.items():
        begin, end = f'\n  "{name}": ['.encode(), b"\n  "
        before, _, rest = rest.partition(begin + b"]")  # so deep are the members of the report alone
        yield before + begin
        for start in range(0, len(things), _MANY):
            part = _indented({name: things[start : start + _MANY]})  # {, begin, things, end, and }
            yield (b"," if start else b"") + part[1 + len(begin) : -len(end) - 3]
        yield end + b"]"
    yield rest


def render_json_line(answer: Node) -> bytes:
    """The same in one line, for a program that reads one answer after another (JSON Lines)."""
    return _plain(msgspec.json.encode(answer)) + b"\n"


def _indented(answer: Any) -> bytes:
    return msgspec.json.format(_plain(msgspec.json.encode(answer)), indent=2)


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
