"""Messages of netlink that are alike: what one of them has taught is used for the next, without taking it apart.

The links of a thousand containers, their addresses and their routes are the same messages but for an index, a name, an
address, and statistics that nobody asks for. A *shape* is such a message with these places left open: one of the same
length that is the same everywhere else has the same attributes at the same offsets, so all that is left is to read what
stands in the places.

A shape is made of a message that was read in the plain way, and of its record. What the places are is a table of each
family (`hostinspect.kernel.rtnetlink`); tests/unit/test_alike.py holds that both ways say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct as Layout
from struct import calcsize
from typing import Any

from msgspec import Struct

from hostinspect.kernel.netlink import attribute_list

_OF_A_LENGTH = 8  # shapes of messages of one length, each of which is compared with them in turn
_LENGTHS = 256


class Place(Struct, frozen=True):
    """Where messages of a shape differ, and what follows for the record. A payload of another size is no place."""

    field: str
    code: str  # of struct; "s": however long it is, if it is not empty
    spell: Callable[[Any], Any] | None = None  # what is unpacked, as the field has it; None: as it is


OPEN, SAME = False, True


class Attributes(Struct, frozen=True):
    """What attributes are, by type: a place, or nested with such inside, or the same in all messages of a shape, or
    open; and what the others are.
    """

    by_type: dict[int, Place | Attributes | bool]
    others: bool = SAME


class Shape(Struct, frozen=True):
    """What is the same in all messages of a shape, where they differ, and the record that is to be completed."""

    same: Callable[[bytes], tuple[Any, ...]]  # the parts of a message of this length that are the same in all
    expected: tuple[Any, ...]
    copy: Callable[[], Any]  # of the record
    places: Callable[[bytes], tuple[Any, ...]]
    fields: tuple[tuple[str, Callable[[Any], Any] | None], ...]  # of each place


class Shapes:
    """The shapes that were met, by the length of their messages. What is met for the first time teaches nothing: most
    links of most hosts have no second of their kind.
    """

    __slots__ = ("_met", "known")

    def __init__(self) -> None:
        self.known: dict[int, list[Shape]] = {}
        self._met: dict[int, int] = {}  # how many messages of a length had no shape

    def teaches(self, length: int) -> bool:
        """Whether to make a shape of a message of this length, which has none yet."""
        met = self._met.get(length)
        if met is not None:
            self._met[length] = met + 1
            return met < _OF_A_LENGTH
        if len(self._met) < _LENGTHS:
            self._met[length] = 0
        return False

    def learn(self, length: int, shape: Shape) -> None:
        """Know it from now on."""
        self.known.setdefault(length, []).append(shape)


def make(
    body: bytes, record: Struct, header: tuple[tuple[int, Place], ...], size: int, attributes: Attributes
) -> Shape | None:
    """The shape of a message that makes `record`; None where its places cannot be told for certain.

    `header` are the places in its header of `size` bytes, by their offsets.
    """
    places: list[tuple[int, int, Place | None]] = [(at, at + calcsize(f"={place.code}"), place) for at, place in header]
    try:
        places += _places(body, size, len(body), attributes)
    except ValueError:
        return None
    same, of_places, at = "=", "=", 0
    fields = []
    for start, end, place in sorted(places, key=lambda place: place[0]):
        same += f"{start - at}s{end - start}x"
        of_places += f"{start - at}x"
        if place is None:
            of_places += f"{end - start}x"
        else:
            of_places += f"{end - start}s" if place.code == "s" else place.code
            fields.append((place.field, place.spell))
        at = end
    parts = Layout(f"{same}{len(body) - at}s").unpack
    return Shape(
        same=parts,
        expected=parts(body),
        copy=record.__copy__,  # type: ignore[attr-defined]
        places=Layout(f"{of_places}{len(body) - at}x").unpack,
        fields=tuple(fields),
    )


def _places(body: bytes, at: int, end: int, attributes: Attributes) -> Iterator[tuple[int, int, Place | None]]:
    """Where the places are in the attributes from `at` to `end`: from and to, and what; None for what is open.

    Raises ValueError where a length leads out of there, or a type is there twice.
    """
    found = attribute_list(body[:end], at)
    if len({kind for kind, _ in found}) != len(found):
        raise ValueError("an attribute is there twice")
    for kind, payload in found:
        start, stop = at + 4, at + 4 + len(payload)
        part = attributes.by_type.get(kind, attributes.others)
        if isinstance(part, Attributes):
            yield from _places(body, start, stop, part)
        elif isinstance(part, Place):
            if payload and (part.code == "s" or calcsize(f"={part.code}") == len(payload)):
                yield start, stop, part
        elif part is OPEN:
            yield start, stop, None
        at += 4 + len(payload) + 3 & ~3
