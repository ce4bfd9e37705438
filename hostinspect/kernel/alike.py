"""Messages of netlink that are alike: what one of them has taught is used for the next, without taking it apart.

The links of a thousand containers, their addresses and their routes are the same messages but for an index, a name, an
address, and statistics that nobody asks for. A *shape* is such a message with these places left open: one of the same
length that is the same everywhere else has the same attributes at the same offsets, so all that is left is to read what
stands in the places. The same is true of all that a namespace answers, in one datagram.

A shape is made of a message that was read in the plain way, and of its record. What the places are is a table of each
family (`hostinspect.kernel.rtnetlink`); tests/unit/test_alike.py holds that both ways say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from struct import Struct as Layout
from struct import calcsize
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from hostinspect.kernel.met import Met
from hostinspect.kernel.netlink import attribute_list


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


class Span(Struct, frozen=True):
    """Bytes that are not the same in all messages of a shape: a place of the record of this number, or open."""

    start: int
    end: int
    place: Place | None = None
    record: int = 0


class Shape(Struct, frozen=True):
    """What is the same everywhere, where messages differ, and the records that are to be completed."""

    spans: Sequence[Span]
    same: Callable[[bytes | memoryview], tuple[Any, ...]]  # of bytes of this length, what is outside of the spans
    expected: tuple[Any, ...]
    places: Callable[[bytes | memoryview], tuple[Any, ...]]  # what stands in them
    fields: tuple[tuple[int, str, Callable[[Any], Any] | None], ...]  # of which record each is, which, and how spelled
    copies: tuple[Callable[[], Any], ...]  # of the records

    def records(self, values: tuple[Any, ...], netns: int) -> list[Any]:
        """Those of the namespace, with these in the places."""
        found = []
        for copy in self.copies:
            found.append(record := copy())
            force_setattr(record, "netns", netns)  # ours alone until we return
        for (number, field, spell), value in zip(self.fields, values):  # noqa: B905 - strict is twice the price
            force_setattr(found[number], field, spell(value) if spell else value)
        return found


class Shapes:
    """The shapes that were met, by length."""

    __slots__ = ("_met", "known")

    def __init__(self) -> None:
        self.known: dict[int, list[Shape]] = {}
        self._met = Met()

    def find(self, raw: bytes | memoryview) -> Shape | None:
        """The shape that it has."""
        for shape in self.known.get(len(raw), ()):
            if shape.same(raw) == shape.expected:
                return shape
        return None

    def is_to_learn(self, length: int) -> bool:
        """Whether to make a shape of what has this length, and none yet."""
        return self._met.is_to_learn(length)

    def learn(self, raw: bytes, spans: Iterable[Span], copies: Iterable[Callable[[], Any]]) -> None:
        """Know from now on what is like `raw`, from which these records were read."""
        self.known.setdefault(len(raw), []).append(_shape(raw, spans, copies))


def _shape(raw: bytes, spans: Iterable[Span], copies: Iterable[Callable[[], Any]]) -> Shape:
    spans = sorted(spans, key=lambda span: span.start)
    same, of_places, at = "=", "=", 0
    fields = []
    for span in spans:
        same += f"{span.start - at}s{span.end - span.start}x"
        of_places += f"{span.start - at}x"
        if span.place is None:
            of_places += f"{span.end - span.start}x"
        else:
            of_places += f"{span.end - span.start}s" if span.place.code == "s" else span.place.code
            fields.append((span.record, span.place.field, span.place.spell))
        at = span.end
    parts = Layout(f"{same}{len(raw) - at}s").unpack
    return Shape(
        spans=spans,
        same=parts,
        expected=parts(raw),
        places=Layout(f"{of_places}{len(raw) - at}x").unpack,
        fields=tuple(fields),
        copies=tuple(copies),
    )


def spans(body: bytes, at: int, end: int, attributes: Attributes) -> Iterator[Span]:
    """Those of the attributes of a message from `at` to `end`.

    Raises ValueError where a length leads out of there, or a type is there twice.
    """
    found = attribute_list(body[:end], at)
    if len({kind for kind, _ in found}) != len(found):
        raise ValueError("an attribute is there twice")
    for kind, payload in found:
        start, stop = at + 4, at + 4 + len(payload)
        part = attributes.by_type.get(kind, attributes.others)
        if isinstance(part, Attributes):
            yield from spans(body, start, stop, part)
        elif isinstance(part, Place):
            if payload and (part.code == "s" or calcsize(f"={part.code}") == len(payload)):
                yield Span(start, stop, part)
        elif part is OPEN:
            yield Span(start, stop)
        at += 4 + len(payload) + 3 & ~3
