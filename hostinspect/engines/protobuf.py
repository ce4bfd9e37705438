"""Protobuf's wire format (protobuf.dev, "Encoding"): what swarmkit writes its records in."""

from __future__ import annotations

from hostinspect.kernel.text import text

TYPE_CHECKING = False
if TYPE_CHECKING:  # names are completed with next to nothing loaded (`hostinspect.cli.names`)
    from collections.abc import Iterator

Field = tuple[int, "int | bytes"]  # number, and varint or bytes


class ProtobufError(Exception):
    """Bytes that are no message. `str()` says why, for a person."""


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a protobuf message in order, nested messages and strings as bytes. Raises `ProtobufError`.

    >>> list(fields(bytes.fromhex("0a026869 1801")))
    [(1, b'hi'), (3, 1)]
    """
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = _varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ProtobufError(f"not protobuf: wire type {wire_type}")
        if position + length > end:
            raise ProtobufError("not protobuf: a field ends outside of its message")
        yield number, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A base-128 number, least significant group first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ProtobufError("not protobuf: a number has no end")


class Message:
    """A message whose fields are looked up by number; the last one wins, as protobuf says."""

    def __init__(self, content: bytes) -> None:
        self._fields = list(fields(content))

    def every(self, number: int) -> Iterator[bytes]:
        return (value for found, value in self._fields if found == number and isinstance(value, bytes))

    def message(self, number: int) -> Message:
        return Message(next(reversed(list(self.every(number))), b""))

    def string(self, number: int) -> str:
        return text(next(reversed(list(self.every(number))), b""))

    def number(self, number: int) -> int:
        return next((value for found, value in reversed(self._fields) if found == number and isinstance(value, int)), 0)

    def strings(self, number: int) -> dict[str, str]:
        """A map<string, string>."""
        entries = (Message(entry) for entry in self.every(number))
        return {entry.string(1): entry.string(2) for entry in entries}
