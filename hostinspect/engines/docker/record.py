"""What the readers of Docker's records share: strict decoding, with errors in words, and Go's spellings of nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, TypeVar

import msgspec

from hostinspect.facts import RecordedPort
from hostinspect.kernel.text import kept

T = TypeVar("T")

# A number of Go's int32 or uint32: larger ones are nobody's pid, port or prefix, and would not fit into a snapshot.
Number = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 32)]

# What is read at most. A busy host has hundreds of containers; far beyond that somebody fills our memory.
MAX_ENTRIES = 65_536  # directories of containers/, volumes/, layerdb/mounts; keys of a database
MAX_FILE = 8 << 20  # bytes of one JSON file; a config.v2.json of 100 mounts and labels has 50 KiB

DAMAGED = "stop the engine and restore the file from a backup, or remove the object and create it again"


class RecordError(Exception):
    """A record is not what the engine writes. `str()` says where and why, for a person."""


class Note(Protocol):
    """Told of what could not be read: what, why (in words, or as the host said it), what to do about it."""

    def __call__(self, subject: str, why: str | OSError, remedy: str | None = None) -> None: ...


def at_most(found: Sequence[T], things: str, subject: str, note: Note) -> Sequence[T]:
    """As many of them as are read; that there are more is noted."""
    if len(found) > MAX_ENTRIES:
        note(subject, f"{len(found)} {things}, the first {MAX_ENTRIES} are read")
    return found[:MAX_ENTRIES]


def decode(decoder: msgspec.json.Decoder[T], content: bytes | str) -> T:
    """`content` decoded strictly. Raises `RecordError` for all that a hostile file can hold."""
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise RecordError(f"not the JSON that the engine writes: {error}") from None
    except RecursionError:
        raise RecordError("JSON nested deeper than any that the engine writes") from None


def pairs(mapping: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """A Go map, as a sorted tuple."""
    return tuple(sorted(mapping.items())) if mapping else ()


def timestamp(text: str | None) -> str | None:
    """An RFC 3339 time, or None for Go's zero time (year 1): never."""
    return None if not text or text.startswith("0001-") else text


def split_prefix(address: str | None) -> tuple[str | None, int | None]:
    """`"172.17.0.2/16"` as address and prefix length; Go's `"<nil>"` and `""` are no address.

    >>> split_prefix("172.17.0.2/16"), split_prefix("fd00::1"), split_prefix("<nil>")
    (('172.17.0.2', 16), ('fd00::1', None), (None, None))
    """
    if not address or address == "<nil>":
        return None, None
    host, slash, length = address.partition("/")
    if not slash:
        return host, None
    if not length.isascii() or not length.isdigit() or len(length) > 3:
        raise RecordError(f"{address!r} is no address with a prefix")
    return host, int(length)


def split_port(port: str) -> tuple[int, str]:
    """`"80/tcp"` as number and protocol; a bare number is TCP, as for Docker.

    >>> split_port("53/udp"), split_port("80")
    ((53, 'udp'), (80, 'tcp'))
    """
    number, _, proto = port.partition("/")
    return port_number(number), proto or "tcp"


def port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise RecordError(f"{text!r} is no port number")
    return int(text)


def port(proto: str, container_port: int, host_ip: str, start: int, end: int) -> RecordedPort:
    """A binding; `start` 0 is the engine's choice, `end` other than `start` its choice from a range."""
    return RecordedPort(
        proto=kept(proto),
        container_port=container_port,
        host_ip=kept(host_ip),
        host_port=start or None,
        host_port_end=end if start and end > start else None,
    )
